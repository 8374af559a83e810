"""The list of leads: everything that it shows stands in its address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.cache import cache
from django.http import HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.http import require_safe
from django_htmx.http import push_url

from agenticos import paging
from agenticos.htmx import render_page
from leads import scoring
from leads.filters import CHOICES_MAX, NO_BAND, LeadFilter, Scored
from leads.layout import (
    COLUMNS,
    SORTS,
    Layout,
    Sort,
    band_of,
    canonical,
    in_view,
    narrowed,
    order_of,
)
from leads.models import Band, Icp, LeadScore, SavedView
from leads.segments import FIELDS, OF_KIND, OPERATORS, Rule, source_label
from leads.viewing import may_change, views_for
from leads.views.shared import evidence_of
from tenants.http import TenantRequest, requires
from tenants.models import Tenant
from tenants.roles import can

# No count goes further than this; a larger one is shown as "10,000+".
COUNT_LIMIT = 10_000
# How long it is known how many leads of such a tenant have no score.
UNSCORED_S = 60
# What a search or a filter finds is not counted further than this.
FILTER_LIMIT = 5_000
# So many that were found are asked for by their ids afterwards.
FEW = 500
# Views that everybody has: name, and the canonical query of each.
READY_VIEWS: dict[str, tuple[Promise, str]] = {
    "": (gettext_lazy("All leads"), ""),
    "fresh": (gettext_lazy("Hot, not written to"), "band=HOT&messaged=no&suppressed=no"),
    "new": (gettext_lazy("New this week"), "f=added&o=within&v=7&u=&sort=newest"),
    "stopped": (gettext_lazy("Do not contact"), "suppressed=yes&sort=newest"),
}


@dataclass(frozen=True, slots=True)
class LeadRow:
    """One line of the list; `reason` is what earned most points, `message` the newest one."""

    lead: Any
    reason: str
    ineligible: str
    message: Any
    source: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A band with how many leads it holds under the other filters; `limit` is where that ends."""

    value: str
    label: str
    count: int
    limit: int

    @property
    def is_more(self) -> bool:
        return self.count > self.limit

    @property
    def shown(self) -> int:
        return min(self.count, self.limit)


@dataclass(frozen=True, slots=True)
class Tab:
    """A view as a link. `saved` is the row behind it; ready-made ones have none."""

    key: str
    label: str
    query: str
    saved: SavedView | None = None

    @property
    def link(self) -> str:
        return "?" + "&".join(filter(None, [urlencode({"view": self.key}), self.query]))


def _owners(request: TenantRequest) -> list[tuple[int, str]]:
    """The team, the reader first: their own leads are asked for most."""
    members = request.tenant.memberships.select_related("user").order_by("user__name", "pk")
    mine = request.membership.pk if request.membership else None
    rows = [
        (row.pk, _("Mine (%(name)s)") % {"name": row.user} if row.pk == mine else str(row.user))
        for row in members[:CHOICES_MAX]
    ]
    return sorted(rows, key=lambda row: row[0] != mine)


@requires("leads.view")
@require_safe
def lead_list(request: TenantRequest) -> HttpResponse:
    """A page of leads; a change of filter, order or columns answers the part alone."""
    tenant = request.tenant
    icp = Icp.objects.filter(tenant=tenant).first()
    found = LeadFilter(request.GET, tenant=tenant)
    layout = Layout.read(request.GET)
    sort = SORTS[layout.sort]
    chips = _chips(found, sort, icp) if icp else []  # first: a search is remembered
    leads = in_view(found, sort, icp)
    if "owner" in layout.columns:
        leads = leads.select_related("owner__user")
    if "tags" in layout.columns:
        leads = leads.prefetch_related("tags")
    cursors = {name: request.GET.get(name, "") for name in ("after", "before")}
    order = order_of(found, sort, icp)
    page = paging.page(leads, order, after=cursors["after"], before=cursors["before"])
    found.offer(
        list(tenant.campaigns.order_by("-pk").values_list("pk", "name")[:200]), _owners(request)
    )
    query = canonical(found, layout)
    tabs = _tabs(request)
    tab = tabs.get(request.GET.get("view", ""), tabs[""])
    context = {
        "filter": found,
        "layout": layout,
        "query": query,
        "band": band_of(found, icp),
        "chips": chips,
        "total": _total(chips, found, layout, leads),
        "page": page,
        "rows": _rows(request, page.rows, icp, layout),
        "any": bool(page.rows) or tenant.leads.exists(),
        "columns": [(name, COLUMNS[name]) for name in layout.columns],
        "chooser": _chooser(layout),
        "sorts": SORTS.items(),
        "rules": [
            (rule.sentence(), _link(tab, found.without(rule), layout)) for rule in found.rules
        ],
        "builder": [*found.rules, Rule("", "")],
        "fields": FIELDS.items(),
        "operators": OPERATORS.items(),
        "of_kind": {kind: " ".join(names) for kind, names in OF_KIND.items()},
        "tab": tab,
        "tabs": [each for each in tabs.values() if each.saved is None or each.saved.pinned],
        "more": [each for each in tabs.values() if each.saved and not each.saved.pinned],
        "changed": query != tab.query,
        "may_change": bool(tab.saved and may_change(tab.saved, request.membership)),
        "kept": _kept(tab, found, layout),
        "campaign_query": _for_campaign(found),
    }
    response = render_page(request, "leads/list.html", context, parts=["leads"])
    if request.htmx.target == "leads":
        # What the forms send has empty fields in it; the address shows the one spelling.
        parts = [("view", tab.key), *(pair for pair in cursors.items())]
        words = filter(None, [urlencode([pair for pair in parts if pair[1]]), query])
        response = push_url(response, f"{request.path}?{'&'.join(words)}".rstrip("?"))
    return response


def _tabs(request: TenantRequest) -> dict[str, Tab]:
    ready = [Tab(key, str(label), query) for key, (label, query) in READY_VIEWS.items()]
    saved = [
        Tab(str(view.pk), view.name, view.query, view)
        for view in views_for(request.tenant, request.user)[:100]
    ]
    return {tab.key: tab for tab in [*ready, *saved]}


def _link(tab: Tab, filters: list[tuple[str, str]], layout: Layout) -> str:
    pairs = [("view", tab.key)] if tab.key else []
    return "?" + urlencode([*pairs, *filters, *layout.pairs()])


def _kept(tab: Tab, found: LeadFilter, layout: Layout) -> dict[str, list[tuple[str, str]]]:
    """What each form of the page must send along, since the others hold it."""
    view = [("view", tab.key)] if tab.key else []
    typed = [pair for pair in found.pairs() if pair[0] in ("match", "f", "o", "v", "u")]
    quick = [pair for pair in found.pairs() if pair not in typed]
    look = layout.pairs()
    return {
        "quick": [
            *view,
            *(pair for pair in quick if pair[0] == "band"),
            *typed,
            *(pair for pair in look if pair[0] != "sort"),
        ],
        "typed": [*view, *quick, *look],
        "columns": [*view, *quick, *typed, *(pair for pair in look if pair[0] != "c")],
    }


def _for_campaign(found: LeadFilter) -> str:
    """The filter as the query of a new campaign's page; '' when its audience cannot say it all."""
    pairs = dict(found.pairs())
    if not pairs or set(pairs) - {"band", "tag"} or found.band_chosen in (Band.NURTURING, NO_BAND):
        return ""
    return urlencode([("bands" if name == "band" else name, text) for name, text in pairs.items()])


def _chooser(layout: Layout) -> list[tuple[str, Any, bool]]:
    """All columns: those that are shown first, in their order."""
    hidden = [name for name in COLUMNS if name not in layout.columns]
    return [(name, COLUMNS[name], name in layout.columns) for name in [*layout.columns, *hidden]]


def _chips(found: LeadFilter, sort: Sort, icp: Icp) -> list[Chip]:
    """The bands with their counts; "not scored" only where there are such leads."""
    counts, limit = _tallies(found, sort, icp)
    values = [(value, str(label)) for value, label in Band.choices]
    if counts[NO_BAND]:
        values.append((NO_BAND, _("Not scored")))
    if limit:
        return [Chip(value, label, counts[value], limit) for value, label in values]
    return [Chip(value, label, counts[value] + 1, counts[value]) for value, label in values]


def _tallies(found: LeadFilter, sort: Sort, icp: Icp) -> tuple[Counter[str], int]:
    """How many leads of each band there are, counted up to one more than the limit that it gives.

    A limit of 0: the counts are what was met on the way, and each band has at least so many.
    """
    if not (sort.known or {name for name, _value in found.pairs()} - {"band"}):
        # Out of an index alone. Each lead has one score under a version, so they can be deducted.
        scores = LeadScore.objects.filter(version_id=icp.live_id)
        counts = {
            band: scores.filter(band=band).values("total")[: COUNT_LIMIT + 1].count()
            for band in Band.values
        }
        return Counter({**counts, NO_BAND: _unscored(found.tenant, icp, counts)}), COUNT_LIMIT
    # What a filter leaves is looked for once, for all bands and for the page as well.
    leads = narrowed(found, sort, icp).order_by()
    some = list(leads.values_list("pk", "band")[: FILTER_LIMIT + 1])
    found.found([pk for pk, _band in some], all_of_them=len(some) <= FEW)
    counted = Counter(band or NO_BAND for _pk, band in some[:FILTER_LIMIT])
    return counted, FILTER_LIMIT if len(some) <= FILTER_LIMIT else 0


def _unscored(tenant: Tenant, icp: Icp, scored: dict[str, int]) -> int:
    """How many leads have no score under the live version; of very many, up to a minute ago.

    `scored` is what was counted of each band. All leads are scored as they come in, so this is
    the exception, and to make sure of it among a million would take most of the page's time.
    """
    total = sum(scored.values())
    if max(scored.values()) <= COUNT_LIMIT:
        return tenant.leads.values("pk")[: total + COUNT_LIMIT + 1].count() - total

    def count() -> int:
        scores = LeadScore.objects.filter(version_id=icp.live_id)
        return int(tenant.leads.count() - scores.count())

    return cache.get_or_set(f"leads.unscored.{icp.live_id}", count, UNSCORED_S) or 0


def _total(chips: list[Chip], found: LeadFilter, layout: Layout, leads: Scored) -> Chip:
    """How many leads the pages show together, out of what was counted already."""
    if not chips:
        count = leads.order_by().values("pk")[: COUNT_LIMIT + 1].count()
        return Chip("", "", count, COUNT_LIMIT)
    chosen = found.band_chosen
    scored = SORTS[layout.sort].scored
    counted = [
        chip
        for chip in chips
        if chip.value == chosen or (not chosen and not (scored and chip.value == NO_BAND))
    ]
    count = sum(chip.count for chip in counted)
    # Where a band was not counted to its end, neither was the sum.
    known = min(COUNT_LIMIT, sum(chip.shown for chip in counted))
    more = any(chip.is_more for chip in counted)
    return Chip(chosen, "", count, known if more else COUNT_LIMIT)


def _rows(
    request: TenantRequest, leads: list[Any], icp: Icp | None, layout: Layout
) -> list[LeadRow]:
    keys = [lead.pk for lead in leads]
    lines: dict[int, Any] = {}
    if icp is not None and "reason" in layout.columns:
        scores = LeadScore.objects.filter(version_id=icp.live_id, lead_id__in=keys)
        lines = dict(scores.values_list("lead_id", "breakdown"))
    newest: dict[int, Any] = {}
    if "message" in layout.columns and can(request.membership, "campaigns.view"):
        sent = request.tenant.messages.filter(lead_id__in=keys).order_by("pk")
        newest = {row.lead_id: row for row in sent.select_related("campaign").defer("text")}
    return [
        LeadRow(
            lead,
            _top_reason(lines.get(lead.pk)),
            str(scoring.INELIGIBLE.get(lead.ineligible_reason or "", "")),
            newest.get(lead.pk),
            source_label(lead.source),
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
