"""A running campaign, and what has become of its rows."""

from __future__ import annotations

from agenticos import scope
from agenticos.tests.factories import (
    make_campaign,
    make_lead,
    make_message,
)
from campaigns import ledger
from campaigns.models import AccountUsage, CampaignCounts, Message


def running(tenant, clock, *, leads=3, accounts=None, **fields):
    """A running campaign with due rows, best score first."""
    campaign = make_campaign(tenant, accounts=accounts, state="running", **fields)
    with scope.as_tenant(tenant):
        for number in range(leads):
            lead = make_lead(tenant, f"lead{campaign.pk}x{number}", score=max(90 - number, 50))
            make_message(campaign, lead, due_at=clock.now(), position=number)
        ledger.wake([campaign.pk], clock.now())
    return campaign


def rows(campaign):
    with scope.as_tenant(campaign.tenant):
        return list(Message.objects.filter(campaign=campaign).order_by("position"))


def states(campaign):
    return [row.state for row in rows(campaign)]


def counts(campaign):
    with scope.as_tenant(campaign.tenant):
        found = CampaignCounts.objects.get(campaign=campaign)
        assert found.sums
        stored = {name: getattr(found, name) for name in found.BUCKETS if getattr(found, name)}
        counted: dict[str, int] = {}
        for row in Message.objects.filter(campaign=campaign):
            counted[row.state] = counted.get(row.state, 0) + 1
        assert stored == counted
        return counted


def usage_of(tenant):
    with scope.as_tenant(tenant):
        return list(AccountUsage.objects.all())
