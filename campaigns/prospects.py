"""The people that a text is shown for before anybody gets it. Who gets it: `campaigns.reach`."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Count
from django.utils import timezone

from campaigns import audience
from campaigns.models import Campaign
from leads.models import Band, Icp, IcpVersion, Lead

SAMPLE = 500


def leads_of(campaign: Campaign, count: int = SAMPLE) -> list[Lead]:
    """People of a campaign's audience: the best of each band; the first once it has started.

    Those who lack what the text needs are among them: that is what a preview is for.
    """
    if campaign.started_at:
        rows = campaign.messages.filter(step_number=1).order_by("position", "pk")
        return _leads(rows.values_list("lead_id", flat=True)[:count], _live())
    if campaign.audience.get("kind") == "handles":
        wanted = audience.handles(campaign)[:count]
        leads = Lead.objects.scored_under(_live()).filter(handle__in=wanted)
        found = {lead.handle: lead for lead in leads}
        return [found[handle] for handle in wanted if handle in found]
    icp = Icp.objects.select_related("live").first()
    return _leads(_of_each_band(campaign, icp.live, count), icp.live_id) if icp else []


def _of_each_band(campaign: Campaign, version: IcpVersion, count: int) -> list[int]:
    """The best leads of each band of an audience, as far as the limit surely reaches."""
    matching = audience.matching(campaign, version)
    scores = audience.writable(matching, campaign.tenant, timezone.now())
    scores = scores.values_list("lead_id", flat=True)
    room = campaign.limit
    if room <= count:
        return list(scores[:room])
    # Out of an index: no lead is read to know how far the limit reaches at least.
    by_band = matching.order_by().values_list("band").annotate(n=Count("*"))
    numbers: dict[str, int] = dict(by_band)
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
