"""One deed for many leads: the question, the start, and what became of each lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy, ngettext
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from agenticos.questions import Question, ask
from agenticos.sql import distinct_values
from leads import bulk
from leads.filters import CHOICES_MAX, LeadFilter
from leads.layout import Layout, matching
from leads.lead_forms import AssignForm, ColumnsForm, StopForm, TagForm
from leads.models import BulkJob, BulkRow, LeadTag
from leads.views.listing import COUNT_LIMIT
from leads.views.shared import dialog, go
from tenants.http import TenantRequest, fresh, requires
from tenants.roles import can

Kind = BulkJob.Kind
# A page of leads is done in the request; more is the workers' business.
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """How a kind of job is asked for."""

    title: Promise
    yes: Promise
    icon: str
    form: type[forms.Form]
    points: tuple[Promise, ...]
    danger: bool = False


DEEDS: dict[str, Deed] = {
    Kind.TAG: Deed(
        gettext_lazy("Add a tag"),
        gettext_lazy("Add the tag"),
        "tag",
        TagForm,
        (gettext_lazy("Can be undone from the job's page."),),
    ),
    Kind.UNTAG: Deed(
        gettext_lazy("Remove a tag"),
        gettext_lazy("Remove the tag"),
        "tag",
        TagForm,
        (gettext_lazy("Can be undone from the job's page."),),
    ),
    Kind.ASSIGN: Deed(
        gettext_lazy("Set the owner"),
        gettext_lazy("Set the owner"),
        "user",
        AssignForm,
        (gettext_lazy("Who they had before is not kept; an import never changes an owner."),),
    ),
    Kind.SUPPRESS: Deed(
        gettext_lazy("Do not contact"),
        gettext_lazy("Do not contact"),
        "ban",
        StopForm,
        (
            gettext_lazy("No campaign writes to them again, also under their e-mail or phone."),
            gettext_lazy("It is not undone in bulk: a manager frees each lead on its page."),
        ),
        danger=True,
    ),
    Kind.RESCORE: Deed(
        gettext_lazy("Score again"),
        gettext_lazy("Score again"),
        "refresh",
        forms.Form,
        (gettext_lazy("With what is known now, under the ICP version in force."),),
    ),
    Kind.EXPORT: Deed(
        gettext_lazy("Export as CSV"),
        gettext_lazy("Export"),
        "file-text",
        ColumnsForm,
        (
            gettext_lazy("The file can be downloaded for 7 days, by those who may export."),
            gettext_lazy("That it was made, by whom and with how many leads is kept on record."),
        ),
    ),
}


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_start(request: TenantRequest, kind: str) -> HttpResponse:
    """Ask, then begin: a tag for many leads, a stop, new scores."""
    if kind not in DEEDS or kind == Kind.EXPORT:
        raise Http404
    return _start(request, kind)


@requires("leads.export")
@require_http_methods(["GET", "HEAD", "POST"])
@fresh
def export_start(request: TenantRequest) -> HttpResponse:
    """Ask for the columns, then begin the file."""
    return _start(request, Kind.EXPORT)


def _start(request: TenantRequest, kind: str) -> HttpResponse:
    deed = DEEDS[kind]
    post = request.method == "POST"
    given = request.POST if post else request.GET
    form = deed.form(request.POST if post else None)
    everybody = given.get("all") == "1"
    chosen = _ids(given.getlist("lead"))
    query = given.get("query", "")
    problem = "" if everybody or chosen else _("Choose at least one lead.")
    if post and not problem and form.is_valid():
        now = timezone.now()
        try:
            job = bulk.start(
                request.tenant,
                kind,
                params=form.cleaned_data,
                query=query,
                lead_ids=None if everybody else chosen,
                by=request.user,
                now=now,
            )
        except Refused as error:
            problem = str(error)
        else:
            if not everybody and len(chosen) <= AT_ONCE and kind != Kind.EXPORT:
                bulk.do_now(job, now=now)
            return go(request, job.get_absolute_url())
    tags = distinct_values(LeadTag, "name", CHOICES_MAX) if deed.form is TagForm else []
    context = {
        "deed": deed,
        "form": form,
        "all": everybody,
        "ids": chosen,
        "query": query,
        "who": _who(request, query, chosen, everybody=everybody),
        "known_tags": tags,
        "problem": problem,
        "action": request.path,
        "back": reverse("leads:list", args=[request.tenant.slug]) + f"?{query}",
    }
    return dialog(request, "leads/bulk.html", context)


def _ids(words: list[str]) -> list[int]:
    good = (word for word in words if word.isascii() and word.isdigit() and len(word) < 19)
    return list(dict.fromkeys(int(word) for word in good))[: bulk.CHOSEN_MAX]


def _who(request: TenantRequest, query: str, chosen: list[int], *, everybody: bool) -> str:
    """How many leads it is about, in words."""
    count, more = len(chosen), False
    if everybody:
        data = QueryDict(query)
        found = LeadFilter(data, tenant=request.tenant)
        leads = matching(request.tenant, found, Layout.read(data).sort)
        count = leads[: COUNT_LIMIT + 1].count()
        count, more = min(count, COUNT_LIMIT), count > COUNT_LIMIT
    if more:
        return _("More than %(n)s leads, all that match") % {"n": f"{count:n}"}
    text = ngettext("%(n)s lead", "%(n)s leads", count) % {"n": count}
    return _("%(leads)s: all that match") % {"leads": text} if everybody else text


# --- Jobs ---------------------------------------------------------------------------------------


@requires("leads.view")
@require_safe
def job_list(request: TenantRequest) -> HttpResponse:
    """What was done to many leads at once, newest first."""
    jobs = request.tenant.bulk_jobs.select_related("started_by", "undo_of")
    if not can(request.membership, "leads.export"):
        jobs = jobs.exclude(kind=Kind.EXPORT)
    page = paging.page(
        jobs, ("-pk",), after=request.GET.get("after", ""), before=request.GET.get("before", "")
    )
    context = {
        "page": page,
        "rows": page.rows,
        "moving": any(job.is_open for job in page.rows),
        "now": timezone.now(),
    }
    return render_page(request, "leads/jobs.html", context, parts=["jobs"])


@requires("leads.view")
@require_safe
def job_detail(request: TenantRequest, pk: int) -> HttpResponse:
    """How far a job is, and what became of each lead."""
    job = _job(request, pk)
    outcome = request.GET.get("outcome", "")
    rows = job.rows.select_related("lead")
    if outcome in BulkRow.Outcome.values:
        rows = rows.filter(outcome=outcome) if outcome else rows
    page = paging.page(
        rows,
        ("lead_id",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context = {
        "job": job,
        "deed": DEEDS[job.kind],
        "outcome": outcome,
        "tiles": _tiles(job),
        "page": page,
        "rows": [(row, str(bulk.REASONS.get(row.reason, ""))) for row in page.rows],
        "reason": str(bulk.STOP_REASONS.get(job.params.get("reason", ""), "")),
        "can_undo": bulk.can_undo(job),
        "undone_by": job.undone.first(),
        "has_file": job.has_file(timezone.now()),
    }
    return render_page(request, "leads/job.html", context, parts=["job"])


def _tiles(job: BulkJob) -> list[tuple[str, str, str, int]]:
    """The counts of a job: outcome, its colour, its name, how many."""
    colours = {"done": "sent", "unchanged": "queued", "refused": "failed"}
    return [
        ("", "claimed", _("All"), job.total),
        *(
            (name, colours[name], str(BulkRow.Outcome(name).label), getattr(job, name))
            for name in BulkJob.COUNTS
        ),
    ]


@requires("leads.edit")
@require_http_methods(["GET", "HEAD", "POST"])
def job_undo(request: TenantRequest, pk: int) -> HttpResponse:
    """Take a tag off again where the job put it, or put it back where it took it off."""
    job = _job(request, pk)
    if request.method != "POST":
        point = ngettext(
            "%(n)s lead is put back as it was; the others were not changed by it.",
            "%(n)s leads are put back as they were; the others were not changed by it.",
            job.done,
        ) % {"n": job.done}
        question = Question(
            _("Undo this?"),
            _("Undo"),
            (point,),
            job.get_absolute_url(),
            "rotate-clockwise",
            target="#dialog-body",
        )
        return ask(request, question)
    try:
        back = bulk.undo(job, by=request.user, now=timezone.now())
    except Refused as error:
        messages.error(request, str(error))
        return go(request, job.get_absolute_url())
    return go(request, back.get_absolute_url())


def _job(request: TenantRequest, pk: int) -> BulkJob:
    """A job of the tenant; exports are only for those who may export."""
    jobs: Any = request.tenant.bulk_jobs.select_related("started_by", "tenant")
    if not can(request.membership, "leads.export"):
        jobs = jobs.exclude(kind=Kind.EXPORT)
    found: BulkJob = get_object_or_404(jobs, pk=pk)
    return found
