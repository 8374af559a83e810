"""What several pages of campaigns need."""

from __future__ import annotations

from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse
from django.utils.translation import ngettext

from agenticos.htmx import render_page
from campaigns.models import Campaign, CampaignCounts
from tenants.http import TenantRequest


def counts_of(campaign: Campaign) -> CampaignCounts | None:
    """The counters, which a draft does not have yet."""
    return getattr(campaign, "counts", None)


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
