"""The draft of a campaign: the form, and what its text would say."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from agenticos.errors import Refused
from agenticos.htmx import render_page
from campaigns import actions, diagnosis, facts, rendering
from campaigns.forms import CampaignForm
from campaigns.models import Campaign
from tenants.http import TenantRequest, requires


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_create(request: TenantRequest) -> HttpResponse:
    return _edit(request, None)


@requires("campaigns.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def campaign_update(request: TenantRequest, pk: int) -> HttpResponse:
    campaign = get_object_or_404(request.tenant.campaigns, pk=pk)
    if campaign.state != Campaign.State.DRAFT:
        messages.error(request, _("Only a draft can be changed."))
        return redirect(campaign)
    return _edit(request, campaign)


def _edit(request: TenantRequest, campaign: Campaign | None) -> HttpResponse:
    tenant = request.tenant
    initial = CampaignForm.initial_of(campaign) if campaign else None
    form = CampaignForm(request.POST or None, tenant=tenant, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            now = timezone.now()
            if campaign is None:
                campaign = actions.create_campaign(tenant, **form.saved(), by=request.user, now=now)
            else:
                actions.edit_campaign(campaign, **form.saved(), by=request.user, now=now)
        except Refused as error:
            messages.error(request, str(error))
            return redirect(campaign or reverse("campaigns:list", args=[tenant.slug]))
        messages.success(request, _("The draft is saved."))
        return redirect(campaign)
    context = {
        "campaign": campaign,
        "form": form,
        "placeholders": rendering.PLACEHOLDERS,
        **_preview(request, str(form["text"].value() or "")),
    }
    return render_page(request, "campaigns/form.html", context)


@requires("campaigns.edit")
@require_POST
def campaign_preview(request: TenantRequest) -> HttpResponse:
    """What the text in the form would say to three real leads. Stores nothing."""
    context = _preview(request, request.POST.get("text", ""))
    return render_page(request, "campaigns/form.html", context, parts=["preview"])


def _preview(request: TenantRequest, text: str) -> dict[str, Any]:
    if not text.strip():
        return {"samples": [], "problem": ""}
    try:
        template = rendering.parse(text)
    except rendering.BadTemplate as error:
        return {"samples": [], "problem": error.sentence}
    samples = [
        diagnosis.Preview(lead, rendered.text, rendered.missing)
        for lead in request.tenant.leads.filter(suppressed_at=None).order_by("pk")[:3]
        for rendered in [rendering.render(template, facts.values_of(lead), seed=str(lead.pk))]
    ]
    return {"samples": samples, "problem": ""}
