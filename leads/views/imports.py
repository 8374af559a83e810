"""Imports: the history with its upload, one import at any stage, and the leads it is about."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from leads import importing, staging, undoing
from leads.import_forms import TARGET_LABELS, UploadForm
from leads.models import ImportedLead, LeadImport
from tenants.http import TenantRequest, requires

PROBLEMS_SIZE = 50
DIFFS_SHOWN = 5
State = LeadImport.State
MOVING = (State.REHEARSING, State.WAITING, State.RUNNING, State.UNDOING)
# What `?show=` means, and its condition on ImportedLead.
SHOWN: dict[str, tuple[Promise, dict[str, Any]]] = {
    "created": (gettext_lazy("New"), {"fate": ImportedLead.Fate.CREATED}),
    "updated": (gettext_lazy("Changed"), {"fate": ImportedLead.Fate.UPDATED}),
    "same": (gettext_lazy("The same"), {"fate": ImportedLead.Fate.SAME}),
    "repeated": (gettext_lazy("More than once in the file"), {"repeated": True}),
    "suppressed": (gettext_lazy("Do not contact"), {"suppressed": True}),
    "kept": (gettext_lazy("Not undone"), {"kept__gt": ""}),
}
WHY_KEPT: dict[str, Promise] = {
    undoing.TOUCHED: gettext_lazy("It was changed after the import."),
    undoing.IN_USE: gettext_lazy("Messages or other work belong to it."),
    undoing.OTHER_FILE: gettext_lazy("Another import holds it, too."),
    undoing.GHL_TAKEN: gettext_lazy("Its earlier GoHighLevel id belongs to another lead now."),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What an import does to one field of a lead, as text."""

    label: Promise
    before: str
    after: str


@requires("leads.import")
@require_http_methods(["GET", "HEAD", "POST"])
def import_list(request: TenantRequest) -> HttpResponse:
    """The imports so far, and the upload that begins one."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            staged = staging.stage_import(
                request.tenant, file, file.name, by=request.user, now=timezone.now()
            )
        except Refused as error:
            form.add_error("file", str(error))
        else:
            return redirect("leads:import-file", request.tenant.slug, staged.pk)
    page = paging.page(
        request.tenant.imports.select_related("started_by"),
        ("-pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=20,
    )
    context = {"form": form, "page": page, "rows": page.rows}
    return render_page(request, "leads/imports.html", context, parts=["imports"])


@requires("leads.import")
@require_safe
def import_sample(request: TenantRequest) -> HttpResponse:
    """A CSV file that imports as it is, in the reader's language."""
    headers = [
        _("handle"), _("name"), _("bio"), _("followers"), _("following"), _("posts"),
        _("engagement"), _("email"), _("phone"), _("city"), _("website"),
    ]  # fmt: skip
    rows = [
        ["ana.silva", "Ana Silva", "CEO | São Paulo", "5200", "410", "230", "3.4",
         "ana@example.com", "+5511988887777", "São Paulo", "https://ana.example.com"],
        ["@rui_souza", "Rui Souza", "", "12k", "", "", "", "", "", "Recife", ""],
    ]  # fmt: skip
    lines = [",".join(f'"{cell}"' for cell in cells) for cells in (headers, *rows)]
    response = HttpResponse(
        "\ufeff" + "\r\n".join(lines) + "\r\n", content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="leads.csv"'
    return response


@requires("leads.view")
@require_safe
def import_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """One import at its stage: the check and its figures, progress, the report, the undoing."""
    row = get_object_or_404(request.tenant.imports.select_related("started_by"), pk=pk)
    code, kept_last = request.GET.get("code", "").replace("\x00", ""), undoing.until(row)
    problems = row.problems.all()
    page = paging.page(
        problems.filter(code=code) if code else problems,
        ("line", "pk"),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
        size=PROBLEMS_SIZE,
    )
    changed = row.leads.filter(fate=ImportedLead.Fate.UPDATED).order_by("pk")
    context = {
        "import": row,
        "is_moving": row.state in MOVING,
        "is_check": row.state in (State.REHEARSING, State.READY),
        "step": _step(row),
        "seen": staging.seen_of(row),
        "undo_until": kept_last if kept_last and kept_last >= timezone.now() else None,
        "differs": _differs(row),
        "rate": _rate(row),
        "groups": _groups(row),
        "code": code,
        "code_sentence": importing.sentence_for(code) if code else "",
        "diffs": [(one, changes_of(one)) for one in changed[:DIFFS_SHOWN]],
        "page": page,
        "rows": [(one, importing.sentence_for(one.code, one.params)) for one in page.rows],
    }
    return render_page(request, "leads/import.html", context, parts=["progress"])


@requires("leads.view")
@require_safe
def import_leads(request: TenantRequest, pk: int) -> HttpResponse:
    """The leads of an import by what became, or would become, of them."""
    row = get_object_or_404(request.tenant.imports, pk=pk)
    show = request.GET.get("show", "")
    show = show if show in SHOWN else "created"
    leads: QuerySet[ImportedLead] = row.leads.filter(**SHOWN[show][1])
    page = paging.page(
        leads, ("pk",), after=request.GET.get("after", ""), before=request.GET.get("before", "")
    )
    context = {
        "import": row,
        "show": show,
        "tabs": [(name, label) for name, (label, _condition) in SHOWN.items()],
        "count": leads.count(),
        "page": page,
        "rows": [(one, changes_of(one), WHY_KEPT.get(one.kept, "")) for one in page.rows],
    }
    return render_page(request, "leads/import_leads.html", context, parts=["imported"])


def changes_of(one: ImportedLead) -> list[Change]:
    """The fields of a known lead that an import changes, from what to what."""
    return [
        Change(TARGET_LABELS[name], _shown(value), _shown(one.after.get(name)))
        for name, value in one.before.items()
        if one.after.get(name) != value
    ]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, int):
        return number_format(Decimal(value), use_l10n=True, force_grouping=True)
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _step(row: LeadImport) -> int:
    """Which of the wizard's steps the import is at, from 1."""
    if row.committed_at is None:
        return {State.DRAFT: 2, State.READY: 3, State.REHEARSING: 3}.get(State(row.state), 3)
    return 4 if row.state in (State.WAITING, State.RUNNING) else 5


def _differs(row: LeadImport) -> bool:
    """Whether the import counted otherwise than its check: leads changed in between."""
    names = ("created", "updated", "unchanged", "rejected")
    ended = row.state == State.DONE and row.rehearsal
    return bool(ended) and any(row.rehearsal[name] != getattr(row, name) for name in names)


def _rate(row: LeadImport) -> int:
    """Rows per second since the commit, in whole rows; 0 when there is nothing to tell."""
    if row.committed_at is None or not row.records:
        return 0
    seconds = ((row.finished_at or timezone.now()) - row.committed_at).total_seconds()
    return round(row.records / max(seconds, 1))


def _groups(row: LeadImport) -> list[dict[str, Any]]:
    """How many rows have which problem, the most frequent first; rejected ones before warnings."""
    found = row.problems.values("code", "rejected").annotate(n=Count("pk"))
    return [
        {**one, "sentence": importing.sentence_for(one["code"], GENERIC.get(one["code"]))}
        for one in found.order_by("-rejected", "-n", "code")
    ]


# What stands for the particulars of one row where many are spoken of.
GENERIC: dict[str, dict[str, str | int]] = {
    "bad_handle": {"value": "…"},
    "cell_too_long": {"limit": importing.MAX_CELL // 1024},
}
