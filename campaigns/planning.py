"""The forecast of a stored campaign: its facts out of the database, its plan in words and numbers.

Nothing is stored. A campaign that does not run is planned as if it were started, or resumed, now.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.utils.translation import gettext as _

from campaigns import daycaps, forecast as forecasts, ledger, pacing
from campaigns.codes import Code, sentence
from campaigns.facts import account_facts, campaign_facts
from campaigns.forecast import Forecast, WhatIf
from campaigns.models import Campaign, CampaignAccount, CampaignCounts, Message, SendingAccount
from campaigns.planner import Inputs, Rival, Sender, plan
from campaigns.reach import Reach

State = Campaign.State
DONE_DAYS = timedelta(days=30)  # that are shown of the past
BEFORE_START = (State.DRAFT, State.SCHEDULED, State.PREPARING)
AT_REST = (State.PAUSED, State.BLOCKED)
OVER = (State.FINISHED, State.CANCELLED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Day:
    """What has left, and what is still to leave, on one day of the tenant's zone."""

    date: date
    done: int
    planned: int


@dataclass(frozen=True, slots=True)
class CampaignForecast:
    """A campaign's forecast with its past; `assumes` is "start" or "resume" where it rests."""

    campaign: Campaign
    plan: Forecast
    days: tuple[Day, ...]
    inputs: Inputs | None  # of which the plan was made; None when there is nothing to plan
    assumes: str = ""

    @property
    def is_over(self) -> bool:
        return self.campaign.state in OVER

    @property
    def never(self) -> str:
        """Why nothing would ever leave, in a sentence; "" when something would."""
        code = self.plan.never
        if code is Code.OUTSIDE_WINDOW:
            return _("Its sending hours never open. Change them in the settings.")
        if code is Code.ACCOUNT_DAILY_CAP:
            return _("The daily cap of its accounts is 0. Raise it on the account's page.")
        if code is Code.ACCOUNT_HOURLY_CAP:
            return _("The hourly cap of its accounts is 0. Raise it on the account's page.")
        if code is Code.CAMPAIGN_CAP:
            return _("Its own daily cap is 0. Raise it in the campaign's settings.")
        if code is Code.TENANT_CAP:
            return _("The plan allows no messages. Ask whoever runs this system to change it.")
        return sentence(code) if code else ""

    @property
    def bottleneck(self) -> str:
        """The limit that holds it up most, by name; "" when none does."""
        plan, limit = self.plan, self.plan.bottleneck
        if limit is None:
            return ""
        name, count = (plan.holding or ("",))[0], len(plan.holding)
        if limit is Code.ACCOUNT_DAILY_CAP:
            one, many = _("daily cap of %(name)s"), _("daily caps of %(n)s accounts")
        elif limit is Code.ACCOUNT_HOURLY_CAP:
            one, many = _("hourly cap of %(name)s"), _("hourly caps of %(n)s accounts")
        elif limit is Code.CAMPAIGN_CAP:
            return _("the campaign's own daily cap")
        elif limit is Code.TENANT_CAP:
            return _("the messages a day of the plan")
        elif limit is Code.OUTSIDE_WINDOW:
            return _("the sending hours")
        elif limit is Code.FAIR_SHARE_TURN:
            return _("other campaigns that share its accounts")
        else:
            return _("the pause between two messages")
        return (one if count == 1 else many) % {"name": name, "n": count}

    def as_json(self) -> dict[str, Any]:
        """The shape of the API and of `manage.py campaign … forecast`."""
        plan = self.plan
        return {
            "messages": plan.messages,
            "assumes": self.assumes,
            "first_send": _iso(plan.first),
            "finish_p50": _iso(plan.p50),
            "finish_p90": _iso(plan.p90),
            "bottleneck": {
                "code": str(plan.bottleneck),
                "accounts": list(plan.holding),
                "sentence": self.bottleneck,
            }
            if plan.bottleneck
            else None,
            "never": {"code": str(plan.never), "sentence": self.never} if plan.never else None,
            "per_day": [
                {"date": day.date.isoformat(), "done": day.done, "planned": day.planned}
                for day in self.days
            ],
            "per_account": dict(plan.by_sender),
        }


def forecast_for(
    campaign: Campaign,
    *,
    now: datetime,
    messages: int | None = None,
    what_if: WhatIf | None = None,
) -> CampaignForecast:
    """When the campaign will be done, and what holds it up.

    `messages` is how many are left to send where the caller knows; else they are counted: open
    rows, or before the start the audience. Reads a constant number of rows' worth of queries.
    """
    if campaign.state in OVER:
        return CampaignForecast(campaign, Forecast(0), _days(campaign, Forecast(0), now), None)
    if messages is None:
        messages = left_to_send(campaign, now)
    links = CampaignAccount.objects.filter(campaign=campaign).select_related("account")
    accounts = [link.account for link in links.order_by("account__handle")]
    try:
        inputs = _inputs(campaign, messages, accounts, now)
    except pacing.BadWindow:
        shut = Forecast(messages, Code.OUTSIDE_WINDOW)
        return CampaignForecast(campaign, shut, _days(campaign, shut, now), None)
    if what_if:
        inputs = forecasts.changed(inputs, what_if)
    found = forecasts.forecast(inputs)
    assumes = "resume" if campaign.state in AT_REST else ""
    # Preparing is past the question: somebody has said yes.
    assumes = "start" if campaign.state in (State.DRAFT, State.SCHEDULED) else assumes
    return CampaignForecast(campaign, found, _days(campaign, found, now), inputs, assumes)


def left_to_send(campaign: Campaign, now: datetime) -> int:
    """How many messages are to leave yet: the audience before the start, then the open rows."""
    if campaign.state in BEFORE_START:
        return Reach.of(campaign, now).total()
    counts = CampaignCounts.objects.filter(campaign=campaign).first()
    return counts.open if counts else 0


def expected_at(message: Message, campaign: Campaign, now: datetime) -> datetime | None:
    """About when a queued message leaves: after those before it, at the pace of the accounts."""
    queued = Message.objects.filter(campaign=campaign, state=Message.State.QUEUED)
    same = Q(due_at=message.due_at, position__lt=message.position)
    ahead = queued.filter(Q(due_at__lt=message.due_at) | same).count()
    links = CampaignAccount.objects.filter(campaign=campaign).select_related("account")
    inputs = _inputs(campaign, ahead + 1, [link.account for link in links], now)
    return None if forecasts.why_never(inputs) else plan(inputs).finish


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _inputs(
    campaign: Campaign, messages: int, accounts: list[SendingAccount], now: datetime
) -> Inputs:
    """The campaign as it would be while it runs. Raises pacing.BadWindow."""
    tenant = campaign.tenant
    caps = daycaps.in_force(tenant, [campaign], now)
    facts = replace(campaign_facts(campaign, tenant, caps), state=str(State.RUNNING))
    able = [account for account in accounts if account.state == SendingAccount.State.ACTIVE]
    used = ledger.used_by([a.pk for a in able], tenant, {a.pk: a for a in able}, now)
    senders = [
        Sender(str(account), account_facts(account, tenant, *used[account.pk])) for account in able
    ]
    return Inputs(now, messages, facts, tuple(senders), _rivals(campaign, able))


def _rivals(campaign: Campaign, accounts: list[SendingAccount]) -> tuple[Rival, ...]:
    """The running campaigns that take turns with this one on some of its accounts."""
    places = {account.pk: place for place, account in enumerate(accounts)}
    links = CampaignAccount.objects.filter(account__in=accounts, campaign__state=State.RUNNING)
    shared: dict[int, set[int]] = defaultdict(set)
    left: dict[int, int] = {}
    rows = links.exclude(campaign=campaign.pk).values_list(
        "campaign_id", "account_id", "campaign__counts__queued", "campaign__counts__claimed"
    )
    for pk, account, queued, claimed in rows.order_by("campaign_id"):
        shared[pk].add(places[account])
        left[pk] = (queued or 0) + (claimed or 0)
    if campaign.tenant.max_messages_day is not None:
        # The tenant's cap is shared with campaigns on other accounts, too.
        running = Campaign.objects.filter(tenant=campaign.tenant, state=State.RUNNING)
        others = running.exclude(pk__in=[campaign.pk, *shared])
        for pk, queued, claimed in others.order_by("pk").values_list(
            "pk", "counts__queued", "counts__claimed"
        ):
            shared[pk], left[pk] = set(), (queued or 0) + (claimed or 0)
    return tuple(Rival(left[pk], frozenset(shared[pk])) for pk in shared if left[pk])


def _days(campaign: Campaign, found: Forecast, now: datetime) -> tuple[Day, ...]:
    """Every day with a message, past and planned."""
    done: dict[date, int] = {}
    if campaign.state not in BEFORE_START:
        sent = Message.objects.filter(
            campaign=campaign, state=Message.State.SENT, sent_at__gte=now - DONE_DAYS
        )
        day = TruncDate("sent_at", tzinfo=campaign.tenant.zone)
        done = dict(sent.annotate(day=day).values_list("day").annotate(Count("pk")).order_by())
    planned = dict(found.days)
    return tuple(
        Day(day, done.get(day, 0), planned.get(day, 0)) for day in sorted(done.keys() | planned)
    )
