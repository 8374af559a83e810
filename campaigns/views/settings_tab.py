"""The settings of one campaign: its name, and the pace that may change while it runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from agenticos.errors import Refused
from campaigns import editing
from campaigns.forms import NameForm, PaceForm
from campaigns.models import Campaign
from campaigns.views.panel import tab_page
from campaigns.views.shared import one_of
from tenants.http import TenantRequest, requires


@requires("campaigns.view")
@require_safe
def campaign_settings(request: TenantRequest, pk: int) -> HttpResponse:
    return _settings(request, one_of(request, pk))


@requires("campaigns.edit")
@require_POST
def campaign_rename(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = one_of(request, pk)
    form = NameForm(request.POST)
    if not form.is_valid():
        return _settings(request, campaign, name_form=form)
    editing.rename_campaign(campaign, **form.saved(), by=request.user, now=timezone.now())
    messages.success(request, _("Saved."))
    return redirect("campaigns:settings", request.tenant.slug, campaign.pk)


@requires("campaigns.edit")
@require_POST
def campaign_pace(request: TenantRequest, pk: int) -> HttpResponse:
    """Change hours, accounts and minimum score, of a running campaign too."""
    campaign = one_of(request, pk)
    form = PaceForm(request.POST, tenant=request.tenant)
    if not form.is_valid():
        return _settings(request, campaign, pace_form=form)
    now: datetime = timezone.now()
    try:
        editing.change_pace(campaign, **form.saved(), by=request.user, now=now)
        messages.success(request, _("Saved. It holds from the next message on."))
    except Refused as error:
        messages.error(request, str(error))
    return redirect("campaigns:settings", request.tenant.slug, campaign.pk)


def _settings(
    request: TenantRequest,
    campaign: Campaign,
    *,
    name_form: NameForm | None = None,
    pace_form: PaceForm | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {
        "name_form": name_form or NameForm(initial=NameForm.initial_of(campaign)),
        "can_pace": campaign.state in editing.PACED,
    }
    if context["can_pace"]:
        context["pace_form"] = pace_form or PaceForm(
            tenant=request.tenant, initial=PaceForm.initial_of(campaign)
        )
    return tab_page(request, campaign, "settings", context)
