"""The list of leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from agenticos import paging
from agenticos.htmx import render_page
from leads import scoring
from leads.filters import NO_BAND, LeadFilter
from leads.models import Band, Icp, LeadScore
from leads.views.shared import evidence_of
from tenants.http import TenantRequest, requires
from tenants.roles import can

# No count goes further than this; a larger one is shown as "10,000+".
COUNT_LIMIT = 10_000


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
    return _("%(criterion)s: %(evidence)s") % {"criterion": label, "evidence": evidence_of(best)}
