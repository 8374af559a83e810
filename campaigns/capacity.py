"""What accounts may still send, which cap binds, and what each one waits for.

The same facts and gates that the worker asks; so what a page says is what the worker does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from campaigns import daycaps, ledger, pacing
from campaigns.codes import Code, sentence
from campaigns.daycaps import DayCaps
from campaigns.facts import account_facts, campaign_facts
from campaigns.gates import ALLOW, AccountFacts, DayCap, Decision, Facts, Verdict, gate
from campaigns.models import AccountUsage, Campaign, CampaignAccount, SendingAccount
from tenants.models import Tenant

DAYS = 14
# A pause that is shorter is the pace of sending, not a wait to tell of.
A_MOMENT = timedelta(seconds=5)
# Campaigns that are over send nothing any more, so they use no account.
OVER = (Campaign.State.FINISHED, Campaign.State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Capacity:
    """One account now: used and allowed, the cap that binds, what holds it and until when.

    `kind`: `ok` (may send), `wait` (passes by itself), `blocked` (a person must act), `idle`
    (nothing to send). `until` is set for a wait whose end is known.
    """

    account: SendingAccount
    zone: ZoneInfo
    used_day: int
    used_hour: int
    room: int
    binding: Code
    kind: str
    sentence: str
    until: datetime | None
    resets_day: datetime
    resets_hour: datetime
    campaigns: list[Campaign]
    plan: DayCap | None = None  # the workspace's cap, of all its accounts together

    @property
    def health(self) -> str:
        """The colour of its ring: free, near (four fifths of a cap are used), full, blocked, off.

        A cap of 0 is full from the start.
        """
        if self.account.state != SendingAccount.State.ACTIVE:
            return self.account.state
        if not self.room:
            return "full"
        day = 5 * self.used_day >= 4 * self.account.day_cap
        hour = 5 * self.used_hour >= 4 * self.account.hour_cap
        return "near" if day or hour else "free"


def binding_cap(facts: AccountFacts, plan: DayCap | None = None) -> Code:
    """The cap that leaves least room; of equals the account's day, then its hour."""
    left = [
        (facts.pace.day_cap - facts.used_day, Code.ACCOUNT_DAILY_CAP),
        (facts.pace.hour_cap - facts.used_hour, Code.ACCOUNT_HOURLY_CAP),
    ]
    if plan is not None:
        left.append((plan.cap - plan.used, Code.TENANT_CAP))
    return min(left, key=lambda one: one[0])[1]


def capacities(tenant: Tenant, accounts: Sequence[SendingAccount], now: datetime) -> list[Capacity]:
    """The accounts as the worker would judge them now; two queries, however many there are.

    One or two more where the plan or a campaign has a cap of the day.
    """
    by_id = {account.pk: account for account in accounts}
    used = ledger.used_by(list(by_id), tenant, by_id, now)
    campaigns: dict[int, list[Campaign]] = defaultdict(list)
    links = (
        CampaignAccount.objects.filter(account__in=by_id)
        .exclude(campaign__state__in=OVER)
        .select_related("campaign")
        .order_by("-campaign_id")
    )
    for link in links:
        campaigns[link.account_id].append(link.campaign)
    running = {row.pk: row for some in campaigns.values() for row in some}
    caps = daycaps.in_force(tenant, running.values(), now)
    return [_capacity(tenant, row, *used[row.pk], campaigns[row.pk], caps, now) for row in accounts]


def _capacity(
    tenant: Tenant,
    account: SendingAccount,
    used_day: int,
    used_hour: int,
    campaigns: list[Campaign],
    caps: DayCaps,
    now: datetime,
) -> Capacity:
    facts = account_facts(account, tenant, used_day, used_hour)
    kind, words, until = _held_by(tenant, account, facts, campaigns, caps, now)
    return Capacity(
        account=account,
        zone=facts.zone,
        used_day=used_day,
        used_hour=used_hour,
        room=min(facts.room, caps.tenant.room) if caps.tenant else facts.room,
        binding=binding_cap(facts, caps.tenant),
        kind=kind,
        sentence=words,
        until=until,
        resets_day=pacing.next_day(now, facts.zone),
        resets_hour=pacing.next_hour(now, facts.zone),
        campaigns=campaigns,
        plan=caps.tenant,
    )


def _held_by(
    tenant: Tenant,
    account: SendingAccount,
    facts: AccountFacts,
    campaigns: list[Campaign],
    caps: DayCaps,
    now: datetime,
) -> tuple[str, str, datetime | None]:
    """What holds the account: the kind, a sentence, and the end of a wait."""
    own = gate(Facts(account=facts), now)
    if own.verdict is Verdict.BLOCK:
        return "blocked", account.why or sentence(str(own.code)), None
    if tenant.stopped_at is not None or tenant.suspended_at is not None:
        return "blocked", sentence(Code.TENANT_STOP), None
    running = [row for row in campaigns if row.state == Campaign.State.RUNNING]
    if not running:
        return "idle", _("No running campaign uses it."), None
    if account.next_at is None:
        return "idle", _("Nothing is waiting to be sent from it."), None
    doors = [gate(Facts(campaign=campaign_facts(row, tenant, caps)), now) for row in running]
    door = min(doors, key=lambda decision: decision.until or now)
    held = _later(own, door, now)
    if held.until and held.until - now >= A_MOMENT:
        return "wait", sentence(str(held.code)), held.until
    if account.next_at - now >= A_MOMENT:
        return "wait", sentence(Code.BACK_OFF), account.next_at
    return "ok", _("It may send now."), None


def _later(own: Decision, door: Decision, now: datetime) -> Decision:
    """Of two waits the one that ends later: both must be over."""
    return max((own, door, ALLOW), key=lambda decision: decision.until or now)


@dataclass(frozen=True, slots=True)
class Bar:
    """One column of a chart of 100: what it counts, its height, and how full its cap was."""

    at: datetime
    used: int
    height: float
    tone: str  # ok, near, full


def _bars(times: list[datetime], used: list[int], cap: int) -> list[Bar]:
    most = max([cap, *used, 1])
    return [
        Bar(
            at,
            number,
            round(100 * number / most, 1),
            "full" if cap and number >= cap else "near" if 5 * number >= 4 * cap else "ok",
        )
        for at, number in zip(times, used, strict=True)
    ]


def usage(account: SendingAccount, tenant: Tenant, now: datetime) -> tuple[list[Bar], list[Bar]]:
    """Messages of the last 14 days and of each hour of today, in the account's own zone.

    One query. A message counts from the moment in which its call begins.
    """
    zone = account.zone(tenant)
    today = now.astimezone(zone).replace(hour=12, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    hours = [pacing.next_day(now - timedelta(days=1), zone)]
    # In UTC, so that the hour which a change of clocks repeats comes twice.
    while (following := hours[-1] + timedelta(hours=1)) < pacing.next_day(now, zone):
        hours.append(following)
    names = [pacing.day_period(day, zone) for day in days]
    names += [pacing.hour_period(hour, zone) for hour in hours]
    used = dict(
        AccountUsage.objects.filter(account=account, period__in=names).values_list("period", "used")
    )
    counts = [used.get(name, 0) for name in names]
    local = [hour.astimezone(zone) for hour in hours]
    return (
        _bars(days, counts[:DAYS], account.day_cap),
        _bars(local, counts[DAYS:], account.hour_cap),
    )
