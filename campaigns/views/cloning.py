"""A campaign taken along: as a new draft, and as a file that proves what was sent."""

from __future__ import annotations

import tempfile

from django.contrib import messages
from django.http import FileResponse, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from agenticos.htmx import render_page
from campaigns import drafting, proof, prospects, rendering, sampling
from campaigns.views.shared import dialog, one_of
from tenants import audit
from tenants.http import TenantRequest, fresh, requires
from tenants.roles import can

# What is larger goes to a file on disk while it is written.
MEMORY = 2_000_000


@requires("campaigns.edit")
@require_POST
def campaign_clone(request: TenantRequest, pk: int) -> HttpResponse:
    """A new draft like this campaign, open at its first step."""
    campaign = one_of(request, pk)
    copy = drafting.clone_campaign(campaign, by=request.user, now=timezone.now())
    messages.success(request, _("Copied. Nothing is sent until you start the copy."))
    return redirect("campaigns:update", request.tenant.slug, copy.pk)


@requires("leads.export")
@require_POST
@fresh
def campaign_export(request: TenantRequest, pk: int) -> FileResponse:
    """The ledger as CSV: who got what, when, from whom, and why others did not."""
    campaign = one_of(request, pk)
    file = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115 - the response closes it
    rows = proof.write(campaign, file, texts=can(request.membership, "messages.view_text"))
    audit.record(campaign, "campaign.exported", by=request.user, rows=rows)
    file.seek(0)
    name = f"campaign-{campaign.pk}-{timezone.localdate():%Y-%m-%d}.csv"
    return FileResponse(file, as_attachment=True, filename=name, content_type="text/csv")


@requires("messages.view_text")
@require_safe
def campaign_samples(request: TenantRequest, pk: int) -> HttpResponse:
    """What the campaign says to real people of its audience, the awkward ones first."""
    campaign = one_of(request, pk)
    step = campaign.steps.order_by("number", "-version").first()
    leads = prospects.leads_of(campaign)
    try:
        shown = sampling.samples(step.body, leads) if step else []
    except rendering.BadTemplate:
        shown = []
    context = {"campaign": campaign, "samples": shown, "total": len(leads)}
    if request.htmx.target == "samples":
        return render_page(request, "campaigns/_samples.html", context)
    return dialog(request, "campaigns/samples.html", context)
