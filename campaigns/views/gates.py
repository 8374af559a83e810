"""All gates of a campaign, with ticks: what holds it back, until when, and what to do."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from campaigns import diagnosis
from tenants.http import TenantRequest, requires


@requires("campaigns.view")
@require_safe
def campaign_gates(request: TenantRequest, pk: int) -> HttpResponse:
    """The list as a page, or as the content of a dialog or a part."""
    campaigns = request.tenant.campaigns.select_related("tenant")
    campaign = get_object_or_404(campaigns, pk=pk)
    now = timezone.now()
    context = {
        "campaign": campaign,
        "gates": diagnosis.all_gates(campaign, now),
        "diagnosis": diagnosis.diagnose(campaign, now),
    }
    template = "campaigns/_gates.html" if request.htmx else "campaigns/gates.html"
    return render_page(request, template, context)
