"""The list of campaigns, and what each one waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, Prefetch, QuerySet
from django.http import HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.http import require_safe

from agenticos import paging
from agenticos.htmx import render_page
from campaigns import codes, diagnosis, facts, gates
from campaigns.filters import CampaignFilter
from campaigns.models import Campaign, CampaignAccount, CampaignCounts, SendingAccount
from campaigns.views.shared import counts_of
from tenants.http import TenantRequest, requires

State = Campaign.State
POLL_IDS_MAX = 50


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One line of the list; `sub` says what it waits for, in one sentence."""

    campaign: Campaign
    counts: CampaignCounts | None
    accounts: list[SendingAccount]
    sub: str
    until: datetime | None


@requires("campaigns.view")
@require_safe
def campaign_list(request: TenantRequest) -> HttpResponse:
    """The campaigns, newest first. With `ids`, only those rows: one request polls all of them."""
    found = CampaignFilter(request.GET)
    everything = request.tenant.campaigns.all()
    tallies = dict(
        found.search(everything)
        .order_by()
        .values_list("state")
        .annotate(Count("pk"))
        .values_list("state", "pk__count")
    )
    context: dict[str, Any] = {
        "filter": found,
        "tabs": [("", _("All"), sum(tallies.values()))]
        + [(str(s), str(s.label), tallies[s]) for s in State if tallies.get(s)],
    }
    if "ids" in request.GET and request.htmx:
        rows = everything.filter(pk__in=_ids(request.GET["ids"])).order_by("-pk")
        context["rows"] = _rows(request, _with_parts(rows))
    else:
        page = paging.page(
            _with_parts(found.apply(everything)),
            ("-pk",),
            after=request.GET.get("after", ""),
            before=request.GET.get("before", ""),
        )
        context |= {"page": page, "rows": _rows(request, page.rows), "any": any(tallies.values())}
    context["moving"] = [row.campaign.pk for row in context["rows"] if row.campaign.is_moving]
    return render_page(request, "campaigns/list.html", context, parts=["campaigns", "poll"])


def _ids(text: str) -> list[int]:
    words = text.split(",")[:POLL_IDS_MAX]
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19]


def _with_parts(campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
    links = CampaignAccount.objects.select_related("account").order_by("account__handle")
    return campaigns.select_related("counts", "tenant").prefetch_related(
        Prefetch("account_links", queryset=links)
    )


def _rows(request: TenantRequest, campaigns: Any) -> list[CampaignRow]:
    now = timezone.now()
    rows = []
    for campaign in campaigns:
        accounts = [link.account for link in campaign.account_links.all()]
        sub, until = _sub_status(request, campaign, accounts, now)
        rows.append(CampaignRow(campaign, counts_of(campaign), accounts, sub, until))
    return rows


def _sub_status(
    request: TenantRequest, campaign: Campaign, accounts: list[SendingAccount], now: datetime
) -> tuple[str, datetime | None]:
    """What a moving campaign waits for, as far as one knows without asking for each row.

    The panel asks every gate, caps included.
    """
    if campaign.why:
        return campaign.why, None
    if campaign.state == State.PREPARING:
        frozen = campaign.prepared
        text = ngettext("%(n)s person chosen so far", "%(n)s people chosen so far", frozen)
        return text % {"n": intcomma(frozen)}, None
    if campaign.state != State.RUNNING:
        return "", None
    counts = counts_of(campaign)
    if counts and not counts.open:
        return _("Nothing is left to send"), None
    decision = gates.campaign_gate(facts.campaign_facts(campaign, request.tenant), now)
    if decision.code:
        return codes.sentence(decision.code), decision.until
    able = [account for account in accounts if account.state == SendingAccount.State.ACTIVE]
    if not able:
        return codes.sentence(codes.Code.NO_ELIGIBLE_ACCOUNT), None
    times = [account.next_at for account in able if account.next_at]
    soonest = min(times, default=None)
    if soonest and soonest > now + diagnosis.A_MOMENT:
        shown = date_format(timezone.localtime(soonest), "H:i")
        return _("Next message at %(time)s") % {"time": shown}, None
    return _("Sending"), None
