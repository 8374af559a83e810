"""What a person can do about a gate: the page where it is done."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse
from django.utils.translation import gettext as _

from campaigns.codes import Code
from campaigns.models import Campaign, SendingAccount
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Fix:
    """A link to where a gate is opened, and the right that it takes there."""

    label: str
    url: str
    right: str


def fix_for(
    code: str | None,
    *,
    tenant: Tenant,
    campaign: Campaign | None = None,
    account: SendingAccount | None = None,
) -> Fix | None:
    """Where to act on this code; None when there is nothing to do but wait."""

    def at(name: str, *args: int) -> str:
        return reverse(name, args=[tenant.slug, *args])

    if code == Code.TENANT_STOP:
        return Fix(_("Lift the stop"), at("tenant-lift"), "campaigns.resume")
    if account and account.state == SendingAccount.State.BLOCKED:
        url = at("accounts:unblock", account.pk)
        return Fix(_("Unblock the account"), url, "accounts.edit")
    if code in (Code.ACCOUNT_DAILY_CAP, Code.ACCOUNT_HOURLY_CAP, *_ACCOUNT_CODES):
        return Fix(_("Open the accounts"), at("accounts:list"), "accounts.view")
    if code == Code.TENANT_CAP:
        return Fix(_("See the plan's limits"), at("settings:settings"), "tenant.view")
    if campaign is None:
        return None
    if code == Code.ERROR_RATE:
        url = f"{at('campaigns:audience', campaign.pk)}?state=failed"
        return Fix(_("Look at what failed"), url, "campaigns.view")
    if code == Code.CAMPAIGN_PAUSED:
        return Fix(_("Resume"), at("campaigns:resume", campaign.pk), "campaigns.resume")
    if code == Code.OUTCOME_UNKNOWN:
        url = f"{at('campaigns:audience', campaign.pk)}?state=unknown"
        return Fix(_("Look at them"), url, "campaigns.view")
    if code == Code.CAMPAIGN_CAP:
        return Fix(_("Change the cap"), at("campaigns:settings", campaign.pk), "campaigns.edit")
    if code == Code.OUTSIDE_WINDOW:
        return Fix(_("Change the hours"), at("campaigns:settings", campaign.pk), "campaigns.edit")
    if code == Code.CAMPAIGN_NOT_RUNNING and campaign.state == Campaign.State.DRAFT:
        return Fix(_("Start…"), at("campaigns:start", campaign.pk), "campaigns.launch")
    return None


_ACCOUNT_CODES = (Code.NO_ELIGIBLE_ACCOUNT, Code.ACCOUNT_BLOCKED, Code.SESSION_INVALID)
