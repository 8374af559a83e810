"""Pages of leads: the list, one lead, and imports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from agenticos import paging
from agenticos.errors import Refused
from agenticos.htmx import render_page
from integrations.models import ExternalId, SyncItem
from leads import actions, importing, scoring
from leads.filters import NO_BAND, LeadFilter
from leads.forms import ImportForm
from leads.models import Band, Icp, LeadImport, LeadScore
from tenants.http import TenantRequest, requires
from tenants.roles import can

# No count goes further than this; a larger one is shown as "10,000+".
COUNT_LIMIT = 10_000
MESSAGES_MAX = 50
PROBLEMS_SIZE = 100
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


# --- The list ---------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class LeadRow:
    """One line of the list; `reason` is what earned most points, `message` the newest one."""

    lead: Any
    reason: str
    ineligible: str
    message: Any


@dataclass(frozen=True, slots=True)
class Chip:
    """A band with how many leads it holds under the other filters."""

    value: str
    label: str
    count: int

    @property
    def is_more(self) -> bool:
        return self.count > COUNT_LIMIT

    @property
    def shown(self) -> int:
        return min(self.count, COUNT_LIMIT)


@requires("leads.view")
@require_safe
def lead_list(request: TenantRequest) -> HttpResponse:
    """Leads by score, best first; leads that have no score yet are a chip of their own."""
    tenant = request.tenant
    icp = Icp.objects.filter(tenant=tenant).first()
    found = LeadFilter(request.GET, tenant=tenant)
    leads = tenant.leads.scored_under(icp.live_id if icp else 0)
    narrowed = found.narrow(leads)
    band = found.band_chosen or ("" if icp else NO_BAND)
    order = ("pk",) if band == NO_BAND else ("-total", "pk")
    page = paging.page(
        found.in_band(narrowed, band),
        order,
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    context = {
        "filter": found,
        "band": band,
        "chips": _chips(narrowed) if icp else [],
        "page": page,
        "rows": _rows(request, page.rows, icp),
        "any": bool(page.rows) or tenant.leads.exists(),
    }
    return render_page(request, "leads/list.html", context, parts=["leads"])


def _chips(leads: Any) -> list[Chip]:
    chips = []
    for value, label in [*Band.choices, (NO_BAND, _("Not scored"))]:
        some = LeadFilter.in_band(leads, value).order_by()[: COUNT_LIMIT + 1]
        chips.append(Chip(value, str(label), some.count()))
    return chips if chips[-1].count else chips[:-1]


def _rows(request: TenantRequest, leads: list[Any], icp: Icp | None) -> list[LeadRow]:
    keys = [lead.pk for lead in leads]
    lines: dict[int, Any] = {}
    if icp is not None:
        scores = LeadScore.objects.filter(version_id=icp.live_id, lead_id__in=keys)
        lines = dict(scores.values_list("lead_id", "breakdown"))
    newest: dict[int, Any] = {}
    if can(request.membership, "campaigns.view"):
        sent = request.tenant.messages.filter(lead_id__in=keys).order_by("pk")
        newest = {row.lead_id: row for row in sent.select_related("campaign").defer("text")}
    return [
        LeadRow(
            lead,
            _top_reason(lines.get(lead.pk)),
            str(scoring.INELIGIBLE.get(lead.ineligible_reason or "", "")),
            newest.get(lead.pk),
        )
        for lead in leads
    ]


def _top_reason(breakdown: Any) -> str:
    """The criterion that earned the most points, with its evidence."""
    if not breakdown:
        return ""
    best = max(scoring.from_compact(breakdown), key=lambda line: line.points)
    if not best.points:
        return ""
    label = str(scoring.CRITERION_LABELS[best.criterion])
    if best.evidence in ("", "yes", "no"):
        return label
    return _("%(criterion)s: %(evidence)s") % {"criterion": label, "evidence": _evidence(best)}


# --- One lead ---------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Bar:
    """One criterion of the score: `could` is what missing data may still add."""

    label: str
    points: int
    maximum: int
    why: str
    missing: bool

    @property
    def percent(self) -> int:
        return round(100 * self.points / self.maximum) if self.maximum else 0


@dataclass(frozen=True, slots=True)
class Group:
    """The criteria of one group, and their sum."""

    label: str
    points: int
    maximum: int
    bars: list[Bar]


@requires("leads.view")
@require_safe
def lead_detail(request: TenantRequest, pk: int) -> HttpResponse:
    lead = get_object_or_404(request.tenant.leads.prefetch_related("tags"), pk=pk)
    icp = Icp.objects.select_related("live").filter(tenant=request.tenant).first()
    score = lead.scores.filter(version_id=icp.live_id).first() if icp else None
    may_read = can(request.membership, "messages.view_text")
    timeline = lead.messages.select_related("campaign", "account").order_by("-pk")
    if not may_read:
        timeline = timeline.defer("text")
    key = f"lead:{lead.pk}"
    lines = scoring.from_compact(score.breakdown) if score else ()
    context = {
        "lead": lead,
        "icp": icp,
        "score": score,
        "ineligible": str(scoring.INELIGIBLE.get(score.reason, "")) if score else "",
        "groups": _groups(lines),
        "coverage": _coverage(lines),
        "timeline": [
            (message, message.text if may_read else "") for message in timeline[:MESSAGES_MAX]
        ],
        "may_read": may_read,
        "sync": SyncItem.objects.filter(key=key).order_by("pk").first(),
        "external": ExternalId.objects.filter(key=key).exclude(external_id="").first(),
    }
    return render_page(request, "leads/detail.html", context)


def _groups(lines: tuple[scoring.Line, ...]) -> list[Group]:
    groups = []
    for name, members in groupby(lines, key=lambda line: line.group):
        bars = [
            Bar(
                str(scoring.CRITERION_LABELS[line.criterion]),
                line.points,
                line.maximum,
                _evidence(line),
                line.missing,
            )
            for line in members
        ]
        points = sum(bar.points for bar in bars)
        groups.append(
            Group(str(scoring.GROUP_LABELS[name]), points, sum(bar.maximum for bar in bars), bars)
        )
    return groups


def _evidence(line: scoring.Line) -> str:
    """What was seen, a number as the reader's language writes it."""
    text = str(scoring.evidence_text(line))
    if not NUMBER.fullmatch(text):
        return text
    return number_format(Decimal(text), use_l10n=True, force_grouping=True)


def _coverage(lines: tuple[scoring.Line, ...]) -> int:
    """The percentage of the attainable points whose data was known."""
    maximum = sum(line.maximum for line in lines)
    known = sum(line.maximum for line in lines if not line.missing)
    return round(100 * known / maximum) if maximum else 0


# --- Imports ----------------------------------------------------------------------------------
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
