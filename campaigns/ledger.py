"""The ledger's ground: what a worker holds, allowances, counters, reservations, wake-ups.

`claiming.py` takes rows, `settling.py` marks and records them, `sending.py` is the slice that does
both around the calls; `actions.py` is what people do. All of them write through this module.

Locks are taken in one order everywhere: campaign (shared by workers, exclusive in `actions`),
accounts, messages, leads, usage, counts. The claim skips locked messages, so it never waits for
one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection, transaction

from agenticos import scope
from agenticos.sql import fetch, insert_many, moment, run, share_lock, update_lock
from campaigns import crm, daycaps, pacing
from campaigns.models import AccountUsage, CampaignAccount, Message, SendingAccount
from integrations.errors import ProviderError
from leads.models import Lead
from tenants.models import Tenant

State = Message.State


class DayLimits(NamedTuple):
    """The caps of a day above the accounts' own; None for none."""

    campaign: int | None
    tenant: int | None


@dataclass(slots=True)
class Held:
    """A row that this worker has claimed, with all that is needed to send and settle it."""

    id: int
    tenant_id: int
    campaign_id: int
    lead_id: int
    account_id: int
    key: str
    text: str
    attempts: int
    due_at: datetime
    claimed_at: datetime
    to_id: str
    to_handle: str
    contact: crm.Person
    periods: tuple[str, str]  # the day and the hour whose allowance it took
    day: str  # the same day in the tenant's zone, for the caps above the account's
    caps: DayLimits  # as they were when it was claimed
    pace: pacing.Pace
    first_touch: bool
    contact_gap_days: int
    dispatched_at: datetime | None = None
    fence: float = 0.0  # agenticos.clock.counted() after which no call may begin

    @property
    def names(self) -> dict[str, int]:
        """What log lines about it name."""
        return {"tenant": self.tenant_id, "campaign": self.campaign_id, "message": self.id}

    def mark(self, now: datetime) -> None:
        """Note that the database holds this row as dispatched, and the attempt as made."""
        self.attempts += 1
        self.dispatched_at = now


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row: a provider's id, an error, or nothing at all (surely not called)."""

    provider_id: str = ""
    error: ProviderError | None = None
    called: bool = True


def lease() -> timedelta:
    """How long a claim lasts."""
    return timedelta(seconds=settings.LEASE_S)


def used_by(
    ids: Sequence[int], tenant: Tenant, accounts: dict[int, SendingAccount], now: datetime
) -> dict[int, tuple[int, int]]:
    """What each account has used of today and of this hour, in its own zone."""
    periods = {pk: periods_of(accounts[pk].zone(tenant), now) for pk in ids}
    names = {name for pair in periods.values() for name in pair}
    used = {
        (account_id, period): count
        for account_id, period, count in AccountUsage.objects.filter(
            account__in=ids, period__in=names
        ).values_list("account_id", "period", "used")
    }
    return {
        pk: (used.get((pk, day), 0), used.get((pk, hour), 0)) for pk, (day, hour) in periods.items()
    }


def periods_of(zone: ZoneInfo, now: datetime) -> tuple[str, str]:
    """The names of the day and the hour that a message sent now counts in."""
    return pacing.day_period(now, zone), pacing.hour_period(now, zone)


def caps_of(
    account_id: int, periods: tuple[str, str], pace: pacing.Pace
) -> dict[tuple[int, str], int]:
    """The caps in force of an account's day and hour, as `take_allowance` wants them."""
    day, hour = periods
    return {(account_id, day): pace.day_cap, (account_id, hour): pace.hour_cap}


def take_allowance(
    allowance: Counter[tuple[int, str]], caps: Mapping[tuple[int, str], int]
) -> None:
    """Add to the accounts' usage; each key is an account and the name of a day or an hour.

    `caps` are those in force, by the same keys; they are kept beside what is used.
    """
    if not allowance:
        return
    insert_many(
        AccountUsage,
        ["account_id", "period", "used", "cap"],
        # In one order, so that two workers cannot wait for each other.
        [(*key, number, caps[key]) for key, number in sorted(allowance.items())],
        unique=["tenant_id", "account_id", "period"],
        update=["cap"],
        add=["used"],
    )


def return_allowance(allowance: Counter[tuple[int, str]]) -> None:
    """Take back from the accounts' usage what was not used."""
    if not allowance:
        return
    rows = sorted(allowance.items())
    table = connection.ops.quote_name(AccountUsage._meta.db_table)
    places = " OR ".join(["(account_id = %s AND period = %s)"] * len(rows))
    cases = " ".join(["WHEN account_id = %s AND period = %s THEN %s"] * len(rows))
    keys = [(account_id, period) for (account_id, period), _ in rows]
    run(
        f"UPDATE {table} SET used = used - CASE {cases} ELSE 0 END "
        f"WHERE tenant_id = %s AND ({places})",
        [
            *(value for key, number in rows for value in (*key, number)),
            scope.tenant_id(),
            *(value for key in keys for value in key),
        ],
    )


def next_due(campaign_ids: Sequence[int]) -> dict[int, datetime]:
    """When the first queued row of each campaign is due; campaigns without one are left out."""
    due = {}
    for pk in campaign_ids:
        first = (
            Message.objects.filter(campaign=pk, state=State.QUEUED)
            .order_by("due_at", "position")
            .values_list("due_at", flat=True)
            .first()
        )
        if first is not None:
            due[pk] = first
    return due


class Standing(NamedTuple):
    """A campaign as it stands while it is held: its state, and its day's caps."""

    state: str
    caps: DayLimits


def hold_states(
    campaign_ids: Iterable[int], *, hope: Mapping[int, DayLimits] | None = None
) -> dict[int, Standing]:
    """How the campaigns stand, which nobody changes until this transaction ends.

    The state `held` stands for a running campaign of a tenant that is stopped or suspended.
    Pause, stop, the tenant stop and a change of caps take the same rows exclusively: they wait
    for a transaction that holds them so, and what comes after sees what they wrote. With `hope`,
    in `one_trip`: they all run, and have these caps.
    """
    wanted = sorted(set(campaign_ids))
    if not wanted:
        return {}
    places = ", ".join(["%s"] * len(wanted))
    rows = fetch(
        "SELECT c.id, c.state, t.stopped_at IS NOT NULL OR t.suspended_at IS NOT NULL, "
        "c.day_cap, t.max_messages_day "
        "FROM campaigns_campaign c JOIN tenants_tenant t ON t.id = c.tenant_id "
        f"WHERE c.tenant_id = %s AND c.id IN ({places}) ORDER BY c.id{share_lock()}",
        [scope.tenant_id(), *wanted],
        hope=None if hope is None else [(pk, "running", False, *hope[pk]) for pk in wanted],
    )
    return {
        pk: Standing("held" if stopped and state == "running" else state, DayLimits(day_cap, plan))
        for pk, state, stopped, day_cap, plan in rows
    }


def hold_tenant(tenant_id: int) -> bool:
    """Whether the tenant is stopped or suspended; nobody changes that in this transaction."""
    rows = fetch(
        "SELECT stopped_at IS NOT NULL OR suspended_at IS NOT NULL FROM tenants_tenant "
        f"WHERE id = %s{share_lock()}",
        [tenant_id],
    )
    return bool(rows[0][0])


def release_touch(message_ids: Sequence[int]) -> None:
    """Give leads their first touch back: these rows have surely not reached them."""
    if message_ids:
        Lead.objects.filter(
            # By way of the messages: there is no index on who touched first.
            pk__in=Message.objects.filter(pk__in=message_ids).values("lead_id"),
            first_touch_by__in=message_ids,
        ).update(first_touch_at=None, first_touch_by=None)


class Tally:
    """What a transaction adds to campaigns' buckets and gives back of caps: its last statements.

    The rows of usage and counts are the most contended ones; taken last and in one order, they
    are held for a moment and never waited for in a circle.
    """

    def __init__(self) -> None:
        self._deltas: dict[int, Counter[str]] = defaultdict(Counter)
        self._extra: dict[int, dict[str, object]] = {}
        self._rejected: dict[int, tuple[int, int]] = {}
        self._unused: Counter[tuple[int, str]] = Counter()  # by account and its day or hour
        self._unused_days: Counter[tuple[int, str]] = Counter()  # by campaign and tenant's day

    def add(self, campaign_id: int, **deltas: int) -> None:
        self._deltas[campaign_id].update(deltas)

    def note(
        self, campaign_id: int, extra: dict[str, object], rejected: tuple[int, int] | None
    ) -> None:
        """Also set columns, and change the number of refusals in a row (`count` says how)."""
        self._extra[campaign_id] = extra
        if rejected is not None:
            self._rejected[campaign_id] = rejected

    def unused(self, campaign_id: int, account_id: int, periods: Iterable[str], day: str) -> None:
        """A claimed message did not use its allowance: not the account's, nor that of `day`."""
        self._unused.update((account_id, period) for period in periods)
        self._unused_days[campaign_id, day] += 1

    def unused_of(self, rows: Iterable[Message], tenant: Tenant) -> None:
        """The same of rows, with their account, as far as they were claimed and not dispatched."""
        for row in rows:
            if not row.dispatched_at and row.account and row.claimed_at:
                periods = periods_of(row.account.zone(tenant), row.claimed_at)
                day = pacing.day_period(row.claimed_at, tenant.zone)
                self.unused(row.campaign_id, row.account.pk, periods, day)

    def write(self) -> None:
        daycaps.give_back(self._unused_days)
        return_allowance(self._unused)
        for campaign_id in sorted(self._deltas | self._extra):
            count(
                campaign_id,
                self._extra.get(campaign_id),
                self._rejected.get(campaign_id),
                **dict(self._deltas.get(campaign_id, {})),
            )


def count(
    campaign_id: int,
    extra: dict[str, object] | None = None,
    rejected: tuple[int, int] | None = None,
    /,
    **deltas: int,
) -> None:
    """Add to a campaign's buckets; the last statement of a transaction, as it is contended.

    `extra` sets other columns; `rejected` is what the row's refusals in a row are multiplied with
    and what is added. The names of columns are our own, never a caller's data.
    """
    settings = [f"{name} = {name} + %s" for name, number in deltas.items() if number]
    params: list[object] = [number for number in deltas.values() if number]
    for name, value in (extra or {}).items():
        settings.append(f"{name} = %s")
        params.append(moment(value) if isinstance(value, datetime) else value)
    if rejected is not None:
        settings.append("rejected_in_row = rejected_in_row * %s + %s")
        params += rejected
    if settings:
        run(
            f"UPDATE campaigns_campaigncounts SET {', '.join(settings)} "
            "WHERE tenant_id = %s AND campaign_id = %s",
            [*params, scope.tenant_id(), campaign_id],
        )


def want_in_crm(message: Message, now: datetime) -> None:
    """Tell the CRM of a message that a person says has arrived."""
    lead = Lead.objects.get(pk=message.lead_id)
    crm.want([(crm.person(lead), message.text)], now)


@transaction.atomic
def wake(campaign_ids: Iterable[int], now: datetime) -> None:
    """There is work: the campaigns' accounts are looked at now. Their pauses still hold.

    Waits for a claim that is parking one of them: it may not have seen the new work.
    """
    linked = CampaignAccount.objects.filter(campaign__in=list(campaign_ids))
    ids = lock_accounts(linked.values_list("account_id", flat=True))
    SendingAccount.objects.filter(pk__in=ids, state="active").update(next_at=now)


def lock_accounts(ids: Iterable[int]) -> dict[int, int]:
    """Lock rows of accounts, always in the same order; how often in a row each heard "later"."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    places = ", ".join(["%s"] * len(wanted))
    found = fetch(
        "SELECT id, later_in_row FROM campaigns_sendingaccount "
        f"WHERE tenant_id = %s AND id IN ({places}) ORDER BY id{update_lock()}",
        [scope.tenant_id(), *wanted],
    )
    return dict(found)
