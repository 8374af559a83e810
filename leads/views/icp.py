"""The editor of the ideal customer profile, and what a change would do before it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from agenticos.errors import Refused
from agenticos.htmx import render_page
from leads import icp_actions, scoring, whatif
from leads.icp_forms import IcpForm
from leads.models import Band, Icp, IcpDraft
from leads.views.icp_effect import MOVERS, mover_rows, picture_of
from leads.views.icp_rules import rule_groups
from leads.views.icp_versions import scoring_progress
from tenants.http import TenantRequest, requires

TEMPLATE = "icp/editor.html"
PARTS = ("effect", "movers")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the editor starts from: the draft if there is one, else the version in force."""

    config: scoring.IcpConfig
    icp: Icp | None
    draft: IcpDraft | None


@requires("icp.view")
@require_safe
def icp_editor(request: TenantRequest) -> HttpResponse:
    """The form; the live part asks for its figures after the page has come."""
    sheet = _sheet(request)
    return _page(request, IcpForm(config=sheet.config), sheet)


@requires("icp.view")
@require_safe
def icp_effect(request: TenantRequest) -> HttpResponse:
    """What the draft would do, or how the leads stand today; without scripts the whole page."""
    sheet = _sheet(request)
    return _page(request, IcpForm(config=sheet.config), sheet, config=sheet.config)


@requires("icp.edit")
@require_POST
def icp_preview(request: TenantRequest) -> HttpResponse:
    """What the posted configuration would do. Nothing is stored."""
    form = IcpForm(request.POST)
    form.is_valid()
    return _page(request, form, _sheet(request), config=form.config)


@requires("icp.edit")
@require_POST
def icp_draft_save(request: TenantRequest) -> HttpResponse:
    form = IcpForm(request.POST)
    if not form.is_valid() or form.config is None:
        return _page(request, form, _sheet(request))
    icp_actions.save_draft(request.tenant, form.config, by=request.user)
    messages.success(request, _("The draft is saved. Nothing changes before you publish it."))
    return redirect("icp:editor", request.tenant.slug)


@requires("icp.edit")
@require_POST
def icp_draft_discard(request: TenantRequest) -> HttpResponse:
    if icp_actions.discard_draft(request.tenant, by=request.user):
        messages.success(request, _("The draft is gone. You see the version in force."))
    return redirect("icp:editor", request.tenant.slug)


@requires("icp.edit")
@require_POST
def icp_publish(request: TenantRequest) -> HttpResponse:
    form = IcpForm(request.POST)
    if not form.is_valid() or form.config is None:
        return _page(request, form, _sheet(request))
    try:
        version = icp_actions.publish(
            request.tenant,
            form.config,
            note=request.POST.get("note", ""),
            by=request.user,
            now=timezone.now(),
            based_on=_number(request.POST.get("based_on", "")),
        )
    except Refused as error:
        if error.code == "note_needed":
            return _page(request, form, _sheet(request), note_error=str(error))
        messages.error(request, str(error))
        return _page(request, form, _sheet(request))
    messages.success(request, _("Version %(number)d is published.") % {"number": version.number})
    return redirect("icp:editor", request.tenant.slug)


def _number(text: str) -> int | None:
    """The version that the editor was opened on; a program's form need not say it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _sheet(request: TenantRequest) -> Sheet:
    icp = Icp.objects.select_related("live").filter(tenant=request.tenant).first()
    draft = IcpDraft.objects.select_related("author").filter(tenant=request.tenant).first()
    stored = draft.config if draft else icp.live.config if icp else {}
    return Sheet(scoring.IcpConfig.from_json(stored), icp, draft)


def _page(
    request: TenantRequest,
    form: IcpForm,
    sheet: Sheet,
    *,
    config: scoring.IcpConfig | None = None,
    note_error: str = "",
) -> HttpResponse:
    """The editor; with `config` also what it would do, or of it one cell's leads."""
    old, new = _cell(request)
    context: dict[str, Any] = {
        "form": form,
        "groups": rule_groups(form),
        "sheet": sheet,
        "note": request.POST.get("note", ""),
        "note_error": note_error,
        "effect": None,
        "movers": None,
        "refused": "",
        "progress": scoring_progress(request),
        "tab": "editor",
    }
    if config is not None:
        part = getattr(request.htmx, "target", None)
        try:
            if part != "movers":
                context["effect"] = picture_of(whatif.effect(config), config)
            if part != "effect":
                context["movers"] = _movers(request, config, old, new)
        except Refused as error:
            context["refused"] = str(error)
    return render_page(request, TEMPLATE, context, parts=PARTS)


def _movers(
    request: TenantRequest, config: scoring.IcpConfig, old: str, new: str
) -> dict[str, Any]:
    moves, rest = whatif.movers(
        config, old=old, new=new, after=request.GET.get("after", ""), size=MOVERS
    )
    return {
        "rows": mover_rows(request.tenant, moves, config),
        "next": rest,
        "touched": []
        if old or new
        else import_string(settings.ICP_TOUCHES)(request.tenant, config),
        "old": old,
        "new": new,
        "old_label": _("Not scored") if old == whatif.UNSCORED else old and Band(old).label,
        "new_label": new and Band(new).label,
    }


def _cell(request: TenantRequest) -> tuple[str, str]:
    """The bands of the address; what is none counts as not given."""
    old, new = request.GET.get("old", ""), request.GET.get("new", "")
    return (
        old if old in (*Band.values, whatif.UNSCORED) else "",
        new if new in Band.values else "",
    )
