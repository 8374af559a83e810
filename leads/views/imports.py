"""Imports: the list, and one with its rows."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from leads import actions, importing
from leads.forms import ImportForm
from leads.models import LeadImport
from tenants.http import TenantRequest, requires

PROBLEMS_SIZE = 100


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_list(request: TenantRequest) -> HttpResponse:
    """The imports so far, and the form that begins one."""
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            begun = actions.start_import(
                request.tenant,
                file,
                file.name,
                list_name=form.cleaned_data["list_name"],
                by=request.user,
                now=timezone.now(),
            )
        except Refused as error:
            form.add_error("file", str(error))
        else:
            return redirect("leads:import", request.tenant.slug, begun.pk)
    page = paging.page(
        request.tenant.imports.select_related("started_by"),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=20,
    )
    context = {"form": form, "page": page, "rows": page.rows}
    return render_page(request, "leads/imports.html", context, parts=["imports"])


@requires("leads.view")
@require_safe
def import_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """One import: its progress while it runs, and the rows with something wrong."""
    begun = get_object_or_404(request.tenant.imports.select_related("started_by"), pk=pk)
    page = paging.page(
        begun.problems.all(),
        ("line", "pk"),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PROBLEMS_SIZE,
    )
    context = {
        "import": begun,
        "is_moving": begun.state in (LeadImport.State.WAITING, LeadImport.State.RUNNING),
        "page": page,
        "rows": [(row, importing.sentence_for(row.code, row.params)) for row in page.rows],
    }
    return render_page(request, "leads/import.html", context, parts=["progress"])
