"""The wizard's first steps: how the file is read, and what its columns are."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from agenticos.errors import Refused
from agenticos.htmx import render_page
from leads import importing, staging
from leads.import_forms import ColumnsForm, DialectForm, initial_of
from leads.models import LeadImport
from tenants.http import TenantRequest, requires


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_file(request: TenantRequest, pk: int) -> HttpResponse:
    """How a draft's file is read, with its first rows; what was guessed can be changed."""
    row = get_object_or_404(request.tenant.imports, pk=pk)
    if row.state != LeadImport.State.DRAFT:
        return redirect("leads:import", request.tenant.slug, row.pk)
    form = DialectForm(request.POST) if request.method == "POST" else DialectForm.of(row)
    if request.method == "POST" and form.is_valid():
        try:
            staging.read_as(row, **form.cleaned_data)
        except Refused as error:
            messages.error(request, str(error))
        if not request.htmx:
            return redirect("leads:import-file", request.tenant.slug, row.pk)
    peek = staging.look(row)
    context = {
        "import": row,
        "form": form,
        "peek": peek,
        "fault": peek.fault.sentence if peek.fault else "",
        "assumed": importing.sentence_for("encoding_assumed") if row.dialect["assumed"] else "",
        "step": 1,
    }
    return render_page(request, "leads/import_file.html", context, parts=["preview"])


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_columns(request: TenantRequest, pk: int) -> HttpResponse:
    """What each column is; a valid answer has the workers check the file."""
    row = get_object_or_404(request.tenant.imports, pk=pk)
    if row.committed_at is not None:
        return redirect("leads:import", request.tenant.slug, row.pk)
    peek = staging.look(row)
    if peek.fault is not None or not peek.rows:
        return redirect("leads:import-file", request.tenant.slug, row.pk)
    guess = "guess" in request.GET
    offer = staging.offer(peek.headers, guess=guess)
    mapping, policy, policies = offer.mapping, offer.policy, offer.policies
    if row.mapping and not guess:
        mapping = {int(at): target for at, target in row.mapping.items()}
        policy, policies = row.policy, row.policies
    form = ColumnsForm(
        peek,
        request.POST if request.method == "POST" else None,
        initial={"list_name": row.list_name, "policy": policy, **initial_of(mapping, policies)},
    )
    if request.method == "POST" and form.is_valid():
        try:
            staging.reopen(row, by=request.user)
            staging.start_rehearsal(
                row,
                mapping=form.mapping,
                policy=form.cleaned_data["policy"],
                policies=form.policies,
                list_name=form.cleaned_data["list_name"],
                by=request.user,
                now=timezone.now(),
            )
        except Refused as error:
            form.add_error(None, str(error))
        else:
            return redirect("leads:import", request.tenant.slug, row.pk)
    context = {
        "import": row,
        "form": form,
        "columns": list(form.columns()),
        "remembered": offer.remembered and not row.mapping,
        "step": 2,
    }
    return render_page(request, "leads/import_columns.html", context)
