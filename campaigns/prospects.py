"""The people that a text is shown for before anybody gets it. Who gets it: `campaigns.reach`."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from campaigns import audience
from campaigns.models import Campaign
from leads.models import Icp, Lead

SAMPLE = 500


def leads_of(campaign: Campaign, count: int = SAMPLE) -> list[Lead]:
    """The first people of a campaign's audience, best first; frozen once it has started.

    Those who lack what the text needs are among them: that is what a preview is for.
    """
    if campaign.started_at:
        rows = campaign.messages.filter(step_number=1).order_by("position", "pk")
        return _leads(rows.values_list("lead_id", flat=True)[:count])
    if campaign.audience.get("kind") == "handles":
        wanted = audience.handles(campaign)[:count]
        found = {lead.handle: lead for lead in Lead.objects.filter(handle__in=wanted)}
        return [found[handle] for handle in wanted if handle in found]
    icp = Icp.objects.select_related("live").first()
    if icp is None:
        return []
    matching = audience.matching(campaign, icp.live)
    scores = audience.writable(matching, campaign.tenant, timezone.now())
    return _leads(scores.values_list("lead_id", flat=True)[: min(count, campaign.limit)])


def newest(count: int = SAMPLE) -> list[Lead]:
    """The newest leads of the scope's tenant that may be written to."""
    return list(Lead.objects.filter(suppressed_at=None).order_by("-pk")[:count])


def _leads(ids: Iterable[int]) -> list[Lead]:
    """The leads with these ids, in their order."""
    wanted = list(ids)
    found = Lead.objects.in_bulk(wanted)
    return [found[pk] for pk in wanted if pk in found]
