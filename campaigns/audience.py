"""Whom a campaign writes to: the query before the start, and the freezing into ledger rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from agenticos.leasing import new_token
from agenticos.sql import grown
from campaigns import ledger
from campaigns.codes import Code
from campaigns.models import Campaign, Message, Step
from leads.identities import normalise_handle
from leads.models import IcpVersion, Lead, LeadScore
from tenants import audit
from tenants.models import Tenant

CHUNK = 500


def floor(campaign: Campaign, version: IcpVersion) -> int:
    """The lowest score that is written to: the campaign's, but never below the COLD threshold."""
    return max(campaign.min_score, int(version.config["thresholds"]["cold"]))


def chosen(campaign: Campaign, version: IcpVersion) -> Any:
    """The scores of all leads of the filter's bands and lists, whatever their score and gates."""
    wanted = campaign.audience
    scores = LeadScore.objects.filter(version=version)
    if bands := wanted.get("bands"):
        scores = scores.filter(band__in=bands)
    if tag := wanted.get("tag"):
        scores = scores.filter(lead__tags__name=tag)
    if source := wanted.get("source"):
        scores = scores.filter(lead__source=source)
    return scores


def matching(campaign: Campaign, version: IcpVersion) -> Any:
    """The scores of the leads that the filter finds, eligible and high enough, best first."""
    scores = chosen(campaign, version).filter(eligible=True, total__gte=floor(campaign, version))
    return scores.order_by("-total", "lead_id")


def writable(scores: Any, tenant: Tenant, now: datetime) -> Any:
    """Of these scores, those whose lead may have a first message now."""
    scores = scores.filter(lead__suppressed_at=None)
    if tenant.contact_gap_days:
        since = now - timedelta(days=tenant.contact_gap_days)
        scores = scores.filter(
            Q(lead__first_touch_at__isnull=True) | Q(lead__first_touch_at__lt=since)
        )
    return scores


def handles(campaign: Campaign) -> list[str]:
    """The handles given by hand, normalised, each once, in the order given."""
    given = campaign.audience.get("handles", [])
    return list(dict.fromkeys(filter(None, (normalise_handle(text) for text in given))))


def prepare_chunk(campaign: Campaign, *, now: datetime) -> bool:
    """Freeze the next part of the audience into rows; True when the audience is complete.

    One transaction with its checkpoint, so a killed worker's successor goes on where it ended,
    and a row that exists already is left alone.
    """
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().get(pk=campaign.pk)
        if campaign.state != Campaign.State.PREPARING:
            return True
        if campaign.audience.get("kind") == "handles":
            complete = _prepare_handles(campaign, now)
        else:
            complete = _prepare_filter(campaign, now)
        if complete:
            _begin(campaign, now)
        else:
            campaign.save(update_fields=["prepared", "prepared_total", "prepared_lead", "limit"])
    if complete:
        grown(0, campaign.prepared, Message)
    return complete


def _prepare_filter(campaign: Campaign, now: datetime) -> bool:
    version = campaign.icp_version
    if version is None:
        return True
    room = min(CHUNK, campaign.limit - campaign.prepared)
    scores = writable(matching(campaign, version), campaign.tenant, now)
    if campaign.prepared_total is not None:
        scores = scores.filter(
            Q(total__lt=campaign.prepared_total)
            | Q(total=campaign.prepared_total, lead_id__gt=campaign.prepared_lead)
        )
    found = list(scores.values_list("total", "lead_id")[: max(room, 0)])
    _add_rows(campaign, [lead_id for _, lead_id in found], now)
    if found:
        campaign.prepared_total, campaign.prepared_lead = found[-1]
    return len(found) < CHUNK or campaign.prepared >= campaign.limit


def _prepare_handles(campaign: Campaign, now: datetime) -> bool:
    """Every handle that is a lead gets a row; the gates say later who is skipped and why."""
    wanted = handles(campaign)[campaign.prepared_lead : campaign.prepared_lead + CHUNK]
    known = dict(Lead.objects.filter(handle__in=wanted).values_list("handle", "id"))
    _add_rows(campaign, [known[handle] for handle in wanted if handle in known], now)
    campaign.prepared_lead += len(wanted)
    return len(wanted) < CHUNK


def _add_rows(campaign: Campaign, lead_ids: Sequence[int], now: datetime) -> None:
    version = (
        Step.objects.filter(campaign=campaign, number=1)
        .order_by("-version")
        .values_list("version", flat=True)
        .first()
    )
    # The campaign's row is locked, so nobody else adds rows meanwhile. A lead whose score changed
    # between two chunks may come a second time.
    there = set(
        Message.objects.filter(campaign=campaign, lead__in=lead_ids, step_number=1).values_list(
            "lead_id", flat=True
        )
    )
    rows = [
        Message(
            tenant_id=campaign.tenant_id,
            campaign=campaign,
            lead_id=lead_id,
            step_number=1,
            step_version=version or 1,
            position=campaign.prepared + place,
            key=new_token(),
            due_at=now,
            created_at=now,
            updated_at=now,
        )
        for place, lead_id in enumerate(pk for pk in lead_ids if pk not in there)
    ]
    Message.objects.bulk_create(rows)
    campaign.prepared += len(rows)
    ledger.count(campaign.pk, audience=len(rows), queued=len(rows))


def _begin(campaign: Campaign, now: datetime) -> None:
    """The audience is whole: run, or say why there is nothing to do."""
    fields = {
        "prepared": campaign.prepared,
        "prepared_total": campaign.prepared_total,
        "prepared_lead": campaign.prepared_lead,
        "claim_token": "",
        "lease_until": None,
        "lease_owner": "",
    }
    if not campaign.prepared:
        campaign.move_to(Campaign.State.FAILED, reason=Code.NOBODY_TO_WRITE_TO, **fields)
        audit.record(campaign, "campaign.failed", by=None, code=str(Code.NOBODY_TO_WRITE_TO))
        return
    campaign.move_to(Campaign.State.RUNNING, **fields)
    audit.record(campaign, "campaign.running", by=None, audience=campaign.prepared)
    ledger.wake([campaign.pk], now)
