"""One lead."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from agenticos.htmx import render_page
from integrations.models import ExternalId, SyncItem
from leads import scoring
from leads.models import Icp
from leads.views.shared import evidence_of
from tenants.http import TenantRequest, requires
from tenants.roles import can

MESSAGES_MAX = 50


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
