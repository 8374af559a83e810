"""The control panel of one campaign: why it waits, its accounts, its messages, its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from agenticos import paging
from agenticos.htmx import render_page
from agenticos.models import WorkerBeat
from campaigns import codes, diagnosis
from campaigns.filters import MessageFilter
from campaigns.models import Campaign, CampaignCounts, Message
from campaigns.views.shared import counts_of
from leads.models import Icp, LeadScore
from tenants.http import TenantRequest, requires
from tenants.models import AuditEntry
from tenants.roles import can

ACTIVITY_ROWS = 20
# Older than this, a worker's sign of life is a warning: it beats every few seconds.
BEAT_IS_OLD = timedelta(seconds=30)
# The bucket to look at first when nobody has chosen one.
FIRST_BUCKETS = ("unknown", "failed", "queued", "sent", "skipped", "cancelled", "claimed")

ACTIVITY = {
    "campaign.created": gettext_lazy("Draft created"),
    "campaign.edited": gettext_lazy("Draft changed"),
    "campaign.started": gettext_lazy("Started"),
    "campaign.running": gettext_lazy("Audience frozen; sending began"),
    "campaign.paused": gettext_lazy("Paused"),
    "campaign.resumed": gettext_lazy("Resumed"),
    "campaign.stopped": gettext_lazy("Stopped for good"),
    "campaign.blocked": gettext_lazy("Blocked"),
    "campaign.failed": gettext_lazy("Failed"),
    "campaign.finished": gettext_lazy("Finished"),
    "campaign.failed_retried": gettext_lazy("Failed messages queued again"),
    "campaign.reopened": gettext_lazy("Running again for retried messages"),
}


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One line of the ledger, with what the person who looks may see of it."""

    message: Message
    score: LeadScore | None
    text: str


@requires("campaigns.view")
@require_safe
def campaign_detail(request: TenantRequest, pk: int) -> HttpResponse:
    return live_part(request, pk)


def live_part(request: TenantRequest, pk: int) -> HttpResponse:
    """The page, or its live part; each part asks the database only for what it shows."""
    campaign = get_object_or_404(
        request.tenant.campaigns.select_related("counts", "created_by", "tenant"), pk=pk
    )
    part = request.htmx.target or ""
    chosen = MessageFilter(request.GET).chosen
    context: dict[str, Any] = {
        "campaign": campaign,
        "counts": counts_of(campaign),
        "bucket": chosen or _first_bucket(counts_of(campaign)),
        "buckets": CampaignCounts.BUCKETS,
    }
    if part != "rows":
        context |= _panel(request, campaign)
    if part != "panel":
        context |= _ledger(request, campaign, context["bucket"])
        context["activity"] = _activity(campaign)
    return render_page(request, "campaigns/detail.html", context, parts=["panel", "rows"])


def _first_bucket(counts: CampaignCounts | None) -> str:
    filled = (name for name in FIRST_BUCKETS if counts and getattr(counts, name))
    return next(filled, "queued")


def _panel(request: TenantRequest, campaign: Campaign) -> dict[str, Any]:
    now = timezone.now()
    beat = WorkerBeat.objects.filter(stopped_at=None).order_by("-seen_at").first()
    first = campaign.steps.order_by("number", "-version").first()
    return {
        "diagnosis": diagnosis.diagnose(campaign, now),
        "accounts": diagnosis.accounts_of(campaign, now),
        "beat": beat,
        "beat_is_old": beat is None or beat.seen_at < now - BEAT_IS_OLD,
        "body": first.body if first and can(request.membership, "messages.view_text") else "",
    }


def _ledger(request: TenantRequest, campaign: Campaign, bucket: str) -> dict[str, Any]:
    may_read = can(request.membership, "messages.view_text")
    found = campaign.messages.filter(state=bucket).select_related("lead", "account")
    if not may_read:
        found = found.defer("text")
    page = paging.page(
        found,
        ("position", "pk"),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    scores = _scores(request, [message.lead_id for message in page.rows])
    rows = [
        MessageRow(message, scores.get(message.lead_id), message.text if may_read else "")
        for message in page.rows
    ]
    return {"page": page, "rows": rows, "may_read": may_read}


def _scores(request: TenantRequest, leads: list[int]) -> dict[int, LeadScore]:
    """The scores in force of these leads, by lead."""
    icp = Icp.objects.filter(tenant=request.tenant).first()
    if icp is None:
        return {}
    found = LeadScore.objects.filter(version_id=icp.live_id, lead_id__in=leads)
    return {score.lead_id: score for score in found.only("lead_id", "total", "band")}


def _activity(campaign: Campaign) -> list[tuple[AuditEntry, str, str]]:
    """The newest entries about the campaign: the entry, its words, the sentence of its code."""
    entries = AuditEntry.objects.filter(
        object_type=campaign._meta.label_lower, object_id=campaign.pk
    ).order_by("-pk")[:ACTIVITY_ROWS]
    return [
        (
            entry,
            str(ACTIVITY.get(entry.action, entry.action)),
            codes.sentence(str(entry.data["code"])) if entry.data.get("code") else "",
        )
        for entry in entries
    ]
