"""The list of campaigns, and what each one waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from campaigns import codes, daycaps, diagnosis, facts, forecast, gates, ledger
from campaigns.filters import CampaignFilter
from campaigns.models import Campaign, CampaignAccount, CampaignCounts, Message, SendingAccount
from campaigns.planner import Inputs, Rival, Sender, plan
from campaigns.templatetags.campaign_ui import start_words
from campaigns.views.shared import counts_of
from tenants.http import TenantRequest, requires

State = Campaign.State
POLL_IDS_MAX = 50
# From this share of a cap on, an account's ring is amber.
NEARLY_FULL = 0.8


@dataclass(frozen=True, slots=True)
class Face:
    """An account in the list: `ring` is free, near, blocked or off."""

    account: SendingAccount
    ring: str
    words: str


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One line of the list; `sub` says what it waits for, in one sentence.

    `rate` is how many messages left in the last hour, `finish` when the plan is done.
    """

    campaign: Campaign
    counts: CampaignCounts | None
    faces: list[Face]
    sub: str
    until: datetime | None
    rate: int
    finish: datetime | None


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
        + [
            (str(s), str(s.label), tallies.get(s, 0))
            for s in State
            if s in tallies or s == found.chosen
        ],
        "any": any(tallies.values()),
    }
    if "ids" in request.GET and request.htmx:
        rows = everything.filter(pk__in=_ids(request.GET["ids"])).order_by("-pk")
        context["rows"] = listed(request, list(_with_parts(rows)))
    else:
        page = paging.page(
            _with_parts(found.apply(everything)),
            ("-pk",),
            after=request.GET.get("after", ""),
            before=request.GET.get("before", ""),
        )
        context |= {"page": page, "rows": listed(request, page.rows)}
    context["moving"] = [row.campaign.pk for row in context["rows"] if row.campaign.is_moving]
    return render_page(request, "campaigns/list.html", context, parts=["campaigns", "poll"])


def _ids(text: str) -> list[int]:
    words = text.split(",")[:POLL_IDS_MAX]
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19]


def _with_parts(campaigns: QuerySet[Campaign]) -> QuerySet[Campaign]:
    links = CampaignAccount.objects.select_related("account").order_by("account__handle")
    return campaigns.select_related("counts", "tenant", "created_by").prefetch_related(
        Prefetch("account_links", queryset=links)
    )


def listed(request: TenantRequest, campaigns: Sequence[Campaign]) -> list[CampaignRow]:
    """The rows of the list, with a constant number of statements for all of them."""
    now = timezone.now()
    accounts = {row.pk: [link.account for link in row.account_links.all()] for row in campaigns}
    known = {account.pk: account for some in accounts.values() for account in some}
    used = ledger.used_by(list(known), request.tenant, known, now)
    running = [row for row in campaigns if row.state == State.RUNNING]
    caps = daycaps.in_force(request.tenant, running, now)
    finishes = _finishes(request, running, accounts, used, caps, now)
    rates = _rates(running, now)
    rows = []
    for campaign in campaigns:
        own = accounts[campaign.pk]
        sub, until = _sub_status(request, campaign, own, caps, now)
        rows.append(
            CampaignRow(
                campaign,
                counts_of(campaign),
                [_face(account, used[account.pk]) for account in own],
                sub,
                until,
                rates.get(campaign.pk, 0),
                finishes.get(campaign.pk),
            )
        )
    return rows


def _rates(running: Sequence[Campaign], now: datetime) -> dict[int, int]:
    """How many messages of each left in the last hour."""
    sent = Message.objects.filter(
        campaign__in=running, state=Message.State.SENT, sent_at__gte=now - timedelta(hours=1)
    )
    return dict(sent.order_by().values_list("campaign").annotate(Count("pk")))


def _finishes(
    request: TenantRequest,
    running: Sequence[Campaign],
    accounts: dict[int, list[SendingAccount]],
    used: dict[int, tuple[int, int]],
    caps: daycaps.DayCaps,
    now: datetime,
) -> dict[int, datetime]:
    """When each running campaign is done by the plan that its panel shows too."""
    tenant = request.tenant
    ids = {account.pk for row in running for account in accounts[row.pk]}
    links = CampaignAccount.objects.filter(account__in=ids, campaign__state=State.RUNNING)
    shared: dict[int, set[int]] = defaultdict(set)
    left: dict[int, int] = {}
    for pk, account, queued, claimed in links.order_by("campaign_id").values_list(
        "campaign_id", "account_id", "campaign__counts__queued", "campaign__counts__claimed"
    ):
        shared[pk].add(account)
        left[pk] = (queued or 0) + (claimed or 0)
    found = {}
    for row in running:
        able = [each for each in accounts[row.pk] if each.state == SendingAccount.State.ACTIVE]
        places = {account.pk: place for place, account in enumerate(able)}
        rivals = tuple(
            Rival(left[pk], frozenset(places[each] for each in some if each in places))
            for pk, some in shared.items()
            if pk != row.pk and left[pk] and (some & places.keys() or caps.tenant)
        )
        senders = tuple(
            Sender(str(each), facts.account_facts(each, tenant, *used[each.pk])) for each in able
        )
        rules = facts.campaign_facts(row, tenant, caps)
        inputs = Inputs(now, left.get(row.pk, 0), rules, senders, rivals)
        if left.get(row.pk) and not forecast.why_never(inputs):
            finish = plan(inputs).finish
            if finish:
                found[row.pk] = finish
    return found


def _face(account: SendingAccount, used: tuple[int, int]) -> Face:
    """An account's health at a glance."""
    if account.state == SendingAccount.State.OFF:
        return Face(account, "off", str(account.get_state_display()))
    if account.state == SendingAccount.State.BLOCKED:
        return Face(account, "blocked", account.why or str(account.get_state_display()))
    filled = max(
        used[0] / account.day_cap if account.day_cap else 1.0,
        used[1] / account.hour_cap if account.hour_cap else 1.0,
    )
    if filled < NEARLY_FULL:
        return Face(account, "free", _("free capacity"))
    return Face(account, "near", _("nearly full") if filled < 1 else _("full for now"))


def _sub_status(
    request: TenantRequest,
    campaign: Campaign,
    accounts: list[SendingAccount],
    caps: daycaps.DayCaps,
    now: datetime,
) -> tuple[str, datetime | None]:
    """What a moving campaign waits for, as far as one knows without asking for each row.

    The panel asks every gate, caps included.
    """
    if campaign.state == State.SCHEDULED and campaign.starts_at:
        return _("starts %(at)s") % {"at": start_words(campaign.starts_at)}, None
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
    decision = gates.campaign_gate(facts.campaign_facts(campaign, request.tenant, caps), now)
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
