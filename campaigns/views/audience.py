"""The audience of a campaign: the ledger's rows, and before the start the people of the draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Max
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from agenticos import paging
from campaigns import codes
from campaigns.filters import MessageFilter, ProspectFilter
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount
from campaigns.reach import Reach
from campaigns.templatetags.campaign_ui import bucket_label
from campaigns.views.panel import tab_page
from campaigns.views.shared import counts_of, one_of
from leads.models import Band, Icp, LeadScore
from tenants.http import TenantRequest, requires
from tenants.roles import can

# Buckets whose rows end there for more than one reason.
REASONED = ("failed", "unknown", "skipped")
DRAFTS = (Campaign.State.DRAFT, Campaign.State.SCHEDULED)


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One line of the ledger, with what the person who looks may see of it."""

    message: Message
    score: LeadScore | None
    text: str


@dataclass(frozen=True, slots=True)
class Chip:
    """A narrower list: where it leads (a query string), its words, how many rows it has."""

    query: str
    label: str
    count: int
    is_chosen: bool
    css: str = ""


@requires("campaigns.view")
@require_safe
def campaign_audience(request: TenantRequest, pk: int) -> HttpResponse:
    """The rows, narrowed by the address. The panel alone needs none of them."""
    campaign = one_of(request, pk)
    context: dict[str, Any] = {}
    if request.htmx.target != "panel":
        rows = _people if campaign.state in DRAFTS else _ledger
        context = rows(request, campaign)
    return tab_page(request, campaign, "audience", context, parts=("rows",))


# --- After the start --------------------------------------------------------------------------


def _ledger(request: TenantRequest, campaign: Campaign) -> dict[str, Any]:
    found = MessageFilter(request.GET)
    may_read = can(request.membership, "messages.view_text")
    rows = found.apply(campaign.messages.all()).select_related("lead", "account")
    if not may_read:
        rows = rows.defer("text")
    page = paging.page(
        rows,
        ("position", "pk") if found.chosen else ("pk",),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    scores = _scores(request, [message.lead_id for message in page.rows])
    return {
        "filter": found,
        "bucket": found.chosen,
        "chips": _bucket_chips(campaign, found),
        "reasons": _reason_chips(campaign, found),
        "account": SendingAccount.objects.filter(pk=found.account_id).first()
        if found.account_id
        else None,
        "page": page,
        "rows": [
            MessageRow(message, scores.get(message.lead_id), message.text if may_read else "")
            for message in page.rows
        ],
        "may_read": may_read,
        "can_choose": found.chosen in ("queued", "failed")
        and campaign.state != Campaign.State.CANCELLED
        and can(request.membership, "messages.resolve"),
    }


def _bucket_chips(campaign: Campaign, found: MessageFilter) -> list[Chip]:
    """The buckets with their counts, which are those of the panel."""
    counts = counts_of(campaign)
    everything = counts.audience if counts else 0
    chips = [Chip("", _("All"), everything, not found.chosen)]
    for name in CampaignCounts.BUCKETS:
        number = int(getattr(counts, name)) if counts else 0
        if number or found.chosen == name:
            chosen = found.chosen == name
            chips.append(Chip(f"state={name}", bucket_label(name), number, chosen, name))
    return chips


def _reason_chips(campaign: Campaign, found: MessageFilter) -> list[Chip]:
    """Why the rows of this bucket are in it."""
    if found.chosen not in REASONED:
        return []
    rows = campaign.messages.filter(state=found.chosen).exclude(reason="").values("reason")
    # A provider's code has its sentence on its rows.
    counted = rows.annotate(n=Count("pk"), stored=Max("sentence")).order_by("-n", "reason")
    return [
        Chip(
            urlencode({"state": found.chosen, "reason": row["reason"]}),
            codes.sentence(row["reason"], row["stored"]),
            row["n"],
            found.cause == row["reason"],
        )
        for row in counted
    ]


def _scores(request: TenantRequest, leads: list[int]) -> dict[int, LeadScore]:
    """The scores in force of these leads, by lead."""
    icp = Icp.objects.filter(tenant=request.tenant).first()
    if icp is None:
        return {}
    found = LeadScore.objects.filter(version_id=icp.live_id, lead_id__in=leads)
    return {score.lead_id: score for score in found.only("lead_id", "total", "band")}


# --- Before it --------------------------------------------------------------------------------


def _people(request: TenantRequest, campaign: Campaign) -> dict[str, Any]:
    """Who would get a message now, and who would not and why: each number with its rows."""
    found = ProspectFilter(request.GET)
    reach = Reach.of(campaign, timezone.now())
    summary = reach.summary()
    page = paging.page(
        reach.scores(reason=found.cause, band=found.chosen).defer("breakdown"),
        ("-total", "lead_id"),
        after=request.GET.get("after", ""),
        before=request.GET.get("before", ""),
    )
    is_first = not ({"after", "before"} & set(request.GET))
    return {
        "filter": found,
        "chips": [
            Chip("", _("All"), summary.total, not (found.chosen or found.cause)),
            *(
                Chip(f"band={band}", str(band.label), count, found.chosen == band, band.lower())
                for band in Band
                if (count := summary.by_band.get(band, 0))
            ),
        ],
        "reasons": [
            Chip(f"reason={code}", codes.sentence(code), count, found.cause == code)
            for code, count in (summary.left_out | summary.no_match).items()
            if count
        ],
        "page": page,
        "unscored": reach.unscored(found.cause, found.chosen) if is_first else [],
    }
