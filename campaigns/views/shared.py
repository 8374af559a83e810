"""What several pages of campaigns need."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import ngettext
from django_htmx.http import reswap, trigger_client_event

from agenticos.errors import Refused
from agenticos.htmx import render_page
from campaigns.models import Campaign, CampaignCounts
from tenants.http import TenantRequest

# A deed on a campaign; returns what has happened, in a sentence.
Act = Callable[[Campaign, datetime], str]


def one_of(request: TenantRequest, pk: int) -> Campaign:
    """The tenant's campaign with what every page of it shows; else 404."""
    campaigns = request.tenant.campaigns.select_related("counts", "created_by", "tenant")
    return get_object_or_404(campaigns, pk=pk)


def counts_of(campaign: Campaign) -> CampaignCounts | None:
    """The counters, which a draft does not have yet."""
    return getattr(campaign, "counts", None)


def ledger_url(campaign: Campaign, bucket: str) -> str:
    """The rows of one bucket."""
    address = reverse("campaigns:audience", args=[campaign.tenant.slug, campaign.pk])
    return f"{address}?state={bucket}"


def in_flight(count: int) -> str:
    return ngettext(
        "%(n)s message in flight is finished: it may have reached the person already.",
        "%(n)s messages in flight are finished: they may have reached the people already.",
        count,
    ) % {"n": intcomma(count)}


def dialog(request: TenantRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A question as a dialog's content for htmx, whatever part asked; else as a page."""
    name = f"{template}#dialog-body" if request.htmx else template
    return render_page(request, name, context)


def done(request: TenantRequest, campaign: Campaign, act: Act, *, back: str = "") -> HttpResponse:
    """Do it and say what happened: `back`, or for htmx a toast.

    The live parts of the page hear of it by an event, and ask again by themselves.
    """
    try:
        messages.success(request, act(campaign, timezone.now()))
    except Refused as error:
        messages.error(request, str(error))
    if not request.htmx:
        return redirect(back or campaign)
    response = render_page(request, "includes/toasts_oob.html", {})
    return trigger_client_event(reswap(response, "none"), "campaign-changed")
