"""From rows to the plain values that the pure modules take."""

from __future__ import annotations

from typing import Protocol

from campaigns import pacing
from campaigns.daycaps import DayCaps
from campaigns.gates import AccountFacts, CampaignFacts
from campaigns.models import Campaign, SendingAccount
from leads.names import first_name
from tenants.models import Tenant


def campaign_facts(
    campaign: Campaign, tenant: Tenant, caps: DayCaps | None = None
) -> CampaignFacts:
    """What the gates need of a campaign; windows and `caps` are in the tenant's zone."""
    return CampaignFacts(
        state=campaign.state,
        tenant_stopped=tenant.stopped_at is not None or tenant.suspended_at is not None,
        window=pacing.Window.from_json(campaign.window),
        zone=tenant.zone,
        min_score=campaign.min_score,
        contact_gap_days=tenant.contact_gap_days,
        tenant_day=caps.tenant if caps else None,
        campaign_day=caps.campaigns.get(campaign.pk) if caps else None,
    )


def pace_of(account: SendingAccount) -> pacing.Pace:
    """The account's limits."""
    return pacing.Pace(
        day_cap=account.day_cap,
        hour_cap=account.hour_cap,
        gap_min_s=account.gap_min_s,
        gap_max_s=account.gap_max_s,
        jitter_percent=account.jitter_percent,
    )


def account_facts(
    account: SendingAccount, tenant: Tenant, used_day: int, used_hour: int
) -> AccountFacts:
    """What the gates need of an account; its days and hours are in its own zone."""
    return AccountFacts(
        state=account.state,
        block_code=account.block_code,
        free_at=account.free_at,
        pace=pace_of(account),
        used_day=used_day,
        used_hour=used_hour,
        zone=account.zone(tenant),
        slowed=account.later_in_row > 0,
    )


class Profile(Protocol):
    """A lead, as far as texts go."""

    @property
    def name(self) -> str: ...
    @property
    def handle(self) -> str: ...
    @property
    def city(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def website(self) -> str: ...


def values_of(lead: Profile) -> dict[str, str]:
    """The values of a text's placeholders (`rendering.PLACEHOLDERS`)."""
    return {
        "first_name": first_name(lead.name, lead.handle),
        "name": lead.name,
        "handle": lead.handle,
        "city": lead.city,
        "category": lead.category,
        "website": lead.website,
    }
