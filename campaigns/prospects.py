"""The people that a text is shown for before anybody gets it. Who gets it: `campaigns.reach`."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from campaigns import audience
from campaigns.models import Campaign
from campaigns.reach import Reach
from leads.models import Band, Icp, Lead

SAMPLE = 200


def leads_of(campaign: Campaign, count: int = SAMPLE, *, who: Reach | None = None) -> list[Lead]:
    """People of a campaign's audience: the best of each band; the first once it has started.

    Those who lack what the text needs are among them: that is what a preview is for. `who` is the
    campaign's reach, where the caller has it and asks it more.
    """
    if campaign.started_at:
        rows = campaign.messages.filter(step_number=1).order_by("position", "pk")
        return _leads(rows.values_list("lead_id", flat=True)[:count], _live())
    if campaign.audience.get("kind") == "handles":
        wanted = audience.handles(campaign)[:count]
        leads = Lead.objects.scored_under(_live()).filter(handle__in=wanted)
        found = {lead.handle: lead for lead in leads}
        return [found[handle] for handle in wanted if handle in found]
    who = who or Reach.of(campaign, timezone.now())
    return _leads(_of_each_band(who, count), who.version.pk) if who.version else []


def _of_each_band(who: Reach, count: int) -> list[int]:
    """The best leads of each band of an audience, as far as the limit surely reaches."""
    campaign = who.campaign
    matching = audience.matching(campaign, who.in_force)
    scores = audience.writable(matching, campaign.tenant, who.now)
    scores = scores.values_list("lead_id", flat=True)
    room = campaign.limit
    if room <= count:
        return list(scores[:room])
    numbers = who.by_band()
    found: list[int] = []
    for band in (each for each in Band if each in numbers):
        found += scores.filter(band=band)[: min(room, count // len(numbers))]
        room -= numbers[band]
        if room <= 0:
            break
    return found


def newest(count: int = SAMPLE) -> list[Lead]:
    """The newest leads of the scope's tenant that may be written to."""
    leads = Lead.objects.scored_under(_live()).filter(suppressed_at=None)
    return list(leads.order_by("-pk")[:count])


def _live() -> int:
    icp = Icp.objects.first()
    return icp.live_id if icp else 0


def _leads(ids: Iterable[int], version_id: int) -> list[Lead]:
    """The leads with these ids, in their order, with their bands."""
    wanted = list(ids)
    found = Lead.objects.scored_under(version_id).in_bulk(wanted)
    return [found[pk] for pk in wanted if pk in found]
