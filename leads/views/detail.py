"""One lead: its page, and the same in short beside the list."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.functional import Promise
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from integrations.models import ExternalId, SyncItem
from leads import erasing, scoring, suppression, timeline
from leads.bulk import STOP_REASONS
from leads.models import Band, Icp, IcpVersion, Lead, LeadScore
from leads.segments import source_label
from leads.views.shared import evidence_of
from tenants.http import TenantRequest, requires
from tenants.roles import can

LIFTS = 3  # how many of the ways to a better score are named


@dataclass(frozen=True, slots=True)
class Bar:
    """One criterion of the score; `could` is what missing data may still add."""

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
    leads = request.tenant.leads.select_related("owner__user").prefetch_related("tags")
    lead = get_object_or_404(leads, pk=pk)
    kind = request.GET.get("kind", "")
    kind = kind if kind in timeline.KINDS else ""
    may_read = can(request.membership, "messages.view_text")
    stream = timeline.read(
        lead,
        kind=kind,
        after=request.GET.get("after", ""),
        exports=can(request.membership, "leads.export"),
        texts=may_read,
    )
    context: dict[str, Any] = {
        "lead": lead,
        "source": source_label(lead.source),
        "stream": stream,
        "kind": kind,
        "kinds": timeline.KINDS.items(),
        "may_read": may_read,
        "part": request.htmx.target == "timeline",
    }
    if not context["part"]:
        context |= _about(lead) | score_of(request, lead)
    return render_page(request, "leads/detail.html", context, parts=["timeline"])


@requires("leads.view")
@require_safe
def lead_peek(request: TenantRequest, pk: int) -> HttpResponse:
    """The lead in short, for the drawer beside the list."""
    lead = get_object_or_404(request.tenant.leads.prefetch_related("tags"), pk=pk)
    name = "leads/peek.html#peek-body" if request.htmx else "leads/peek.html"
    return render_page(request, name, {"lead": lead} | score_of(request, lead))


def _about(lead: Lead) -> dict[str, Any]:
    """Why the lead is stopped, and how it stands in the CRM."""
    key = f"lead:{lead.pk}"
    stops = suppression.reasons_of(lead) if lead.suppressed_at else []
    return {
        "stops": [
            (
                stop.get_kind_display(),
                _("A person with it was erased")
                if stop.reason == erasing.REASON
                else str(STOP_REASONS.get(stop.reason, stop.reason)),
            )
            for stop in stops
        ],
        "sync": SyncItem.objects.filter(key=key).order_by("pk").first(),
        "external": ExternalId.objects.filter(key=key).exclude(external_id="").first(),
    }


def score_of(request: TenantRequest, lead: Lead) -> dict[str, Any]:
    """The score in force with its criteria, what would lift it, and the scores before it."""
    icp = Icp.objects.select_related("live").filter(tenant=request.tenant).first()
    scores = lead.scores.exclude(version__state=IcpVersion.State.SCORING)
    history = list(scores.select_related("version").order_by("-version__number")[:6])
    live_id = icp.live_id if icp else 0
    score = next((each for each in history if each.version_id == live_id), None)
    lines = scoring.from_compact(score.breakdown) if score else ()
    return {
        "icp": icp,
        "score": score,
        "history": history,
        "ineligible": str(scoring.INELIGIBLE.get(score.reason, "")) if score else "",
        "groups": _groups(lines),
        "coverage": _coverage(lines),
        "lifts": _lifts(lines),
        "to_next": _to_next(score, icp.live) if score and icp else "",
    }


def _lifts(lines: tuple[scoring.Line, ...]) -> list[str]:
    """The largest gains still to be had, what is merely unknown before what is known."""
    ways = sorted(scoring.what_would_lift(lines), key=lambda line: not line.missing)
    texts: dict[bool, str] = {
        True: _("%(criterion)s: unknown, up to +%(points)s"),
        False: _("%(criterion)s: up to +%(points)s"),
    }
    return [
        texts[line.missing]
        % {
            "criterion": scoring.CRITERION_LABELS[line.criterion],
            "points": line.maximum - line.points,
        }
        for line in ways[:LIFTS]
    ]


def _to_next(score: LeadScore, version: IcpVersion) -> str:
    """How many points are missing to the next better band; '' in the best."""
    limits = scoring.IcpConfig.from_json(version.config).thresholds
    above: tuple[tuple[int, str | Promise], ...] = (
        (limits.cold, Band.COLD.label),
        (limits.warm, Band.WARM.label),
        (limits.hot, Band.HOT.label),
    )
    for least, label in above:
        if score.total < least:
            missing = least - score.total
            return ngettext("%(n)s point to %(band)s", "%(n)s points to %(band)s", missing) % {
                "n": missing,
                "band": label,
            }
    return ""


def _groups(lines: tuple[scoring.Line, ...]) -> list[Group]:
    groups = []
    for name, members in groupby(lines, key=lambda line: line.group):
        bars = [
            Bar(
                str(scoring.CRITERION_LABELS[line.criterion]),
                line.points,
                line.maximum,
                evidence_of(line),
                line.missing,
            )
            for line in members
        ]
        points = sum(bar.points for bar in bars)
        groups.append(
            Group(str(scoring.GROUP_LABELS[name]), points, sum(bar.maximum for bar in bars), bars)
        )
    return groups


def _coverage(lines: tuple[scoring.Line, ...]) -> int:
    """The percentage of the attainable points whose data was known."""
    maximum = sum(line.maximum for line in lines)
    known = sum(line.maximum for line in lines if not line.missing)
    return round(100 * known / maximum) if maximum else 0
