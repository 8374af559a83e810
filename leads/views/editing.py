"""One lead by hand: added, edited, not to be contacted any more, or again."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_http_methods

from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from integrations.views.shared import decide
from leads import editing
from leads.lead_forms import AssignForm, LeadForm, NewLeadForm, StopForm
from leads.models import Lead
from leads.views.shared import dialog, go
from tenants.http import TenantRequest, requires

# Which field a refusal is about; the others are about the whole form.
FIELD_OF = {"ghl_id_taken": "ghl_id", "too_many_tags": "tags", "tag_too_long": "tags"}


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def lead_create(request: TenantRequest) -> HttpResponse:
    """Add a lead. When its handle is known, the form says so and links to that lead."""
    form = NewLeadForm(request.POST if request.method == "POST" else None)
    known: Lead | None = None
    if request.method == "POST" and form.is_valid():
        try:
            with transaction.atomic():
                lead = editing.add_lead(
                    request.tenant,
                    form.values,
                    source="manual",
                    by=request.user,
                    now=timezone.now(),
                )
                editing.set_tags(lead, form.tag_names, by=request.user)
        except Refused as error:
            form.add_error(FIELD_OF.get(error.code), str(error))
            if error.code == "lead_exists":
                known = request.tenant.leads.filter(handle=form.cleaned_data["handle"]).first()
        else:
            messages.success(request, _("@%(handle)s is added.") % {"handle": lead.handle})
            return redirect(lead)
    return _form(request, form, known=known)


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def lead_edit(request: TenantRequest, pk: int) -> HttpResponse:
    lead = get_object_or_404(request.tenant.leads.prefetch_related("tags"), pk=pk)
    if request.method != "POST":
        return _form(request, LeadForm(initial=LeadForm.initial_of(lead)), lead=lead)
    form = LeadForm(request.POST)
    if form.is_valid():
        try:
            with transaction.atomic():
                editing.edit_lead(
                    lead,
                    form.values,
                    seen=form.cleaned_data["seen"],
                    by=request.user,
                    now=timezone.now(),
                )
                editing.set_tags(lead, form.tag_names, by=request.user)
        except Refused as error:
            form.add_error(FIELD_OF.get(error.code), str(error))
        else:
            messages.success(request, _("The lead is saved."))
            return redirect(lead)
    return _form(request, form, lead=lead)


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def lead_owner(request: TenantRequest, pk: int) -> HttpResponse:
    """Say who in the team answers for a lead."""
    lead = get_object_or_404(request.tenant.leads, pk=pk)
    form = AssignForm(request.POST if request.method == "POST" else None,
                      initial={"owner": str(lead.owner_id or "")})  # fmt: skip
    if request.method == "POST" and form.is_valid():
        owner = request.tenant.memberships.filter(pk=form.cleaned_data["owner"] or 0).first()
        changed = editing.assign_lead(lead, owner, by=request.user, now=timezone.now())
        messages.success(request, _("Saved.") if changed else _("Nothing was different."))
        return go(request, lead.get_absolute_url())
    title = _("Who answers for @%(handle)s?") % {"handle": lead.handle}
    points = (_("An import never changes it. The list of leads can be narrowed to one owner."),)
    question = Question(title, _("Save"), points, lead.get_absolute_url(), "user")
    return decide(request, question, form)


def _form(
    request: TenantRequest,
    form: LeadForm,
    *,
    lead: Lead | None = None,
    known: Lead | None = None,
) -> HttpResponse:
    back = lead.get_absolute_url() if lead else reverse("leads:list", args=[request.tenant.slug])
    context = {"form": form, "lead": lead, "known": known, "back": back}
    return render_page(request, "leads/form.html", context)


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def lead_stop(request: TenantRequest, pk: int) -> HttpResponse:
    """Never write to this person again; asks for the reason."""
    lead = get_object_or_404(request.tenant.leads, pk=pk)
    form = StopForm(request.POST if request.method == "POST" else None)
    problem = ""
    if request.method == "POST" and form.is_valid():
        try:
            stopped = editing.stop_lead(
                lead, reason=form.cleaned_data["reason"], by=request.user, now=timezone.now()
            )
        except Refused as error:
            problem = str(error)
        else:
            messages.success(request, _stopped(lead, stopped))
            return go(request, lead.get_absolute_url())
    context = {"lead": lead, "form": form, "problem": problem, "action": request.path}
    return dialog(request, "leads/stop.html", context)


def _stopped(lead: Lead, stopped: int) -> str:
    text = _("@%(handle)s is not contacted any more.") % {"handle": lead.handle}
    if stopped < 2:
        return text
    others = ngettext(
        "%(n)s other lead with the same e-mail or phone is stopped, too.",
        "%(n)s other leads with the same e-mail or phone are stopped, too.",
        stopped - 1,
    ) % {"n": stopped - 1}
    return f"{text} {others}"


@requires("leads.free")
@require_http_methods(["GET", "HEAD", "POST"])
def lead_free(request: TenantRequest, pk: int) -> HttpResponse:
    """Let a person be written to again."""
    lead = get_object_or_404(request.tenant.leads, pk=pk)
    if request.method != "POST":
        points = (
            _("Campaigns may write to this person again."),
            _("Do this only when they agreed to it, or it was a mistake. It is kept on record."),
        )
        title = _("Contact @%(handle)s again?") % {"handle": lead.handle}
        question = Question(
            title,
            _("Allow it"),
            points,
            lead.get_absolute_url(),
            "lock-open",
            danger=True,
            target="#dialog-body",
        )
        return ask(request, question)
    try:
        editing.free_lead(lead, by=request.user, now=timezone.now())
        messages.success(request, _("This person may be contacted again."))
    except Refused as error:
        messages.error(request, str(error))
    return go(request, lead.get_absolute_url())
