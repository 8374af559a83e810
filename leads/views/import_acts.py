"""Acts on an import: commit, undo, discard; and the download of its refused rows."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.text import slugify
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect

from agenticos import scope
from agenticos.errors import Refused
from agenticos.questions import Question, ask
from leads import importing, staging, undoing
from leads.models import ImportProblem, LeadImport
from tenants.http import TenantRequest, requires

REJECTS_AT_ONCE = 1_000


@requires("leads.import")
@require_POST
def import_commit(request: TenantRequest, pk: int) -> HttpResponse:
    """Do what the check has counted."""
    row = get_object_or_404(request.tenant.imports, pk=pk)
    try:
        seen = request.POST.get("seen", "")
        staging.commit_import(row, seen=seen, by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
    return redirect(_page_of(request, row))


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_undo(request: TenantRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(request.tenant.imports, pk=pk)
    back = _page_of(request, row)
    if request.method != "POST":
        points = (
            ngettext(
                "The %(n)s lead that it made is removed, unless somebody has touched it since or "
                "a message belongs to it.",
                "The %(n)s leads that it made are removed, unless somebody has touched them since "
                "or a message belongs to them.",
                row.created,
            )
            % {"n": intcomma(row.created)},
            _("What it changed goes back, field by field, where it still is as the file said."),
            _("You get a list of what was left as it is. Do-not-contact marks stay."),
        )
        title = _("Undo the import of %(file)s?") % {"file": row.file_name}
        return ask(request, Question(title, _("Undo"), points, back, "rotate-clockwise", True))
    try:
        undoing.start_undo(row, by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
    return HttpResponseClientRedirect(back) if request.htmx else redirect(back)


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_discard(request: TenantRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(request.tenant.imports, pk=pk)
    back = _page_of(request, row)
    if request.method != "POST":
        points = (_("The file and its check are removed. No lead was touched."),)
        title = _("Discard %(file)s?") % {"file": row.file_name}
        return ask(request, Question(title, _("Discard"), points, back, "trash", True))
    try:
        staging.discard_import(row, by=request.user)
        back = reverse("leads:imports", args=[request.tenant.slug])
        messages.success(request, _("The file is discarded."))
    except Refused as error:
        messages.error(request, str(error))
    return HttpResponseClientRedirect(back) if request.htmx else redirect(back)


@requires("leads.import")
@require_safe
def import_rejects(request: TenantRequest, pk: int) -> HttpResponseBase:
    """The refused rows as a CSV file, to be mended and uploaded again."""
    row = get_object_or_404(request.tenant.imports, pk=pk)
    response = StreamingHttpResponse(
        _reject_lines(row, translation.get_language()), content_type="text/csv; charset=utf-8"
    )
    stem = slugify(row.file_name.rpartition(".")[0]) or "leads"
    response["Content-Disposition"] = f'attachment; filename="{stem}-rejects.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _reject_lines(row: LeadImport, language: str | None) -> Iterator[str]:
    """The file's lines. They are asked for after the view: scope and language come along."""
    headers, delimiter = row.headers, row.dialect["delimiter"]
    line, more = 0, True
    while more:
        with scope.as_tenant(row.tenant_id), translation.override(language):
            refused = ImportProblem.objects.filter(lead_import=row, rejected=True, line__gt=line)
            part = list(refused.order_by("line")[:REJECTS_AT_ONCE])
            lines = list(importing.reject_lines(headers, part, delimiter=delimiter))
        yield from lines[1 if line else 0 :]
        more = len(part) == REJECTS_AT_ONCE
        line = part[-1].line if part else line


def _page_of(request: TenantRequest, row: LeadImport) -> str:
    return reverse("leads:import", args=[request.tenant.slug, row.pk])
