"""The control panel of one campaign: its frame, and the tabs that only show something."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from agenticos.models import WorkerBeat
from campaigns import day_plan, daycaps, diagnosis, facts
from campaigns.models import Campaign, CampaignCounts
from campaigns.views.shared import counts_of, ledger_url, one_of
from tenants.http import TenantRequest, requires
from tenants.roles import can

# Older than this, a worker's sign of life is a warning: it beats every few seconds.
BEAT_IS_OLD = timedelta(seconds=30)

TABS = (
    ("detail", gettext_lazy("Overview")),
    ("audience", gettext_lazy("Audience")),
    ("sequence", gettext_lazy("Sequence")),
    ("accounts", gettext_lazy("Accounts")),
    ("activity", gettext_lazy("Activity")),
    ("settings", gettext_lazy("Settings")),
)


def tab_page(
    request: TenantRequest,
    campaign: Campaign,
    tab: str,
    context: dict[str, Any] | None = None,
    *,
    parts: tuple[str, ...] = (),
) -> HttpResponse:
    """One tab below the campaign's frame; only the frame when htmx asks for the panel.

    With the frame come the live pieces of the overview and of the accounts, out of band.
    """
    template = f"campaigns/{tab}.html"
    frame: dict[str, Any] = {
        "campaign": campaign,
        "counts": counts_of(campaign),
        "tab": tab,
        "tabs": TABS,
        **(context or {}),
    }
    if request.htmx.target in parts:
        return render_page(request, template, frame, parts=parts)
    now = timezone.now()
    beat = WorkerBeat.objects.filter(stopped_at=None).order_by("-seen_at").first()
    frame |= {
        "diagnosis": diagnosis.diagnose(campaign, now),
        "buckets": CampaignCounts.BUCKETS,
        "beat": beat,
        "beat_is_old": beat is None or beat.seen_at < now - BEAT_IS_OLD,
    }
    if request.htmx.target == "panel":
        return render_page(request, "campaigns/_panel.html", frame)
    return render_page(request, template, frame)


@requires("campaigns.view")
@require_safe
def campaign_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """The overview. An old address with a bucket in it leads to the bucket's rows."""
    campaign = one_of(request, pk)
    bucket = request.GET.get("state", "")
    if bucket in CampaignCounts.BUCKETS and not request.htmx:
        return redirect(ledger_url(campaign, bucket))
    context = {"body": _first_text(request, campaign)} if not campaign.started_at else {}
    return tab_page(request, campaign, "detail", context)


def _first_text(request: TenantRequest, campaign: Campaign) -> str:
    if not can(request.membership, "messages.view_text"):
        return ""
    step = campaign.steps.order_by("number", "-version").first()
    return step.body if step else ""


@requires("campaigns.view")
@require_safe
def campaign_accounts(request: TenantRequest, pk: int) -> HttpResponse:
    """The accounts: what is used of which cap, which one binds, and what is wrong with them."""
    campaign = one_of(request, pk)
    now = timezone.now()
    statuses = diagnosis.accounts_of(campaign, now)
    hours = day_plan.hours_of(campaign.window)
    caps = daycaps.in_force(campaign.tenant, [campaign], now)
    context = {
        "plan_day": caps.tenant,
        "own_day": caps.campaigns.get(campaign.pk),
        "accounts": [
            (status, day_plan.of_account(facts.pace_of(status.account), hours))
            for status in statuses
        ],
    }
    return tab_page(request, campaign, "accounts", context)
