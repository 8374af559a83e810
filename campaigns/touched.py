"""What another ICP would mean for the campaigns that are under way.

Named in the setting ICP_TOUCHES; the ICP editor calls it, since imports go down.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db.models import F
from django.urls import reverse

from campaigns.models import Campaign, Message
from leads import scoring, whatif
from tenants.models import Tenant

SHOWN: Final = 10
_UNDER_WAY: Final = (Campaign.State.RUNNING, Campaign.State.PAUSED, Campaign.State.BLOCKED)


class Touched(NamedTuple):
    """A campaign: how many of its queued messages would newly be skipped, or be sent after all."""

    name: str
    url: str
    state: str
    waiting: int
    lost: int
    won: int


def campaigns_touched(tenant: Tenant, config: scoring.IcpConfig) -> list[Touched]:
    """The campaigns whose queued messages fare differently, the most touched first."""
    waiting = (
        Message.objects.filter(state=Message.State.QUEUED, campaign__state__in=_UNDER_WAY)
        .order_by()
        .annotate(group=F("campaign_id"), floor=F("campaign__min_score"))
    )
    found = whatif.falls(config, waiting)
    touched = {pk: fall for pk, fall in found.items() if fall.lost or fall.won}
    rows = [
        Touched(
            row.name,
            reverse("campaigns:audience", args=[tenant.slug, row.pk]) + "?state=queued",
            row.get_state_display(),
            *touched[row.pk],
        )
        for row in Campaign.objects.filter(pk__in=touched)
    ]
    return sorted(rows, key=lambda row: (-row.lost, -row.won, row.name))[:SHOWN]
