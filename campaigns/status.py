"""How a campaign stands, under the names of the public API; commands and programs get the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from campaigns.diagnosis import diagnose
from campaigns.models import Campaign, CampaignCounts


def status_of(campaign: Campaign, now: datetime) -> dict[str, Any]:
    """The campaign with its numbers, and why nothing leaves right now, if so."""
    counts = CampaignCounts.objects.get(campaign=campaign)
    why = diagnose(campaign, now)
    return {
        "campaign_id": campaign.pk,
        "name": campaign.name,
        "status": campaign.state,
        "sub_status": why.code,
        "reason": why.sentence,
        "started_at": iso(campaign.started_at),
        "finished_at": iso(campaign.finished_at),
        "checkpoint": iso(counts.worked_at),
        "stats": stats_of(counts),
    }


def starts_at(campaign: Campaign) -> datetime | None:
    """When it starts by itself; None unless it is scheduled."""
    return campaign.starts_at if campaign.state == Campaign.State.SCHEDULED else None


def stats_of(counts: CampaignCounts) -> dict[str, int]:
    """The audience, and the seven states that sum to it."""
    return {
        "audience": counts.audience,
        **{name: getattr(counts, name) for name in counts.BUCKETS},
    }


def iso(moment: datetime | None) -> str | None:
    """A time as the API writes it."""
    return moment.isoformat(timespec="seconds") if moment else None
