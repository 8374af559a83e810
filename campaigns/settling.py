"""Mark, settle, give back, reap: how a claimed row moves on. Every move is guarded and in bulk.

`dispatched_at` is committed before a provider is called, so a claim whose lease is over tells
what happened: not dispatched, nobody was called and the row is queued again; dispatched, its
outcome is `unknown`, and only a person moves it on.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, connection, transaction

from agenticos import scope
from agenticos.sql import Disappointed, moment, one_trip, run, update_many
from campaigns import crm, pacing
from campaigns.codes import Code
from campaigns.ledger import (
    Held,
    Outcome,
    Standing,
    State,
    Tally,
    hold_states,
    lease,
    lock_accounts,
    release_touch,
    wake,
)
from campaigns.models import Message, SendingAccount
from campaigns.verdicts import Verdict, verdict_on
from integrations.errors import Fault, TryLater
from leads.models import Lead
from tenants.models import Tenant

logger = logging.getLogger(__name__)


def settle_and_mark(
    done: Sequence[tuple[Held, Outcome]],
    begin: Sequence[Held],
    now: datetime,
    *,
    token: str,
    owner: str,
    more: frozenset[int],
) -> list[Held]:
    """Record what came of `done` and commit that `begin` is about to be called; one transaction.

    Leads are reserved before the messages are written: only this module holds both, and it holds
    the campaign in share mode as well.

    Returns those of `begin` that may be called: the campaign still runs, nobody stopped the
    tenant, the lead may still be written to, and the claim is still ours. The others are queued
    again and meet the gates afresh. `more` names the accounts of which this worker holds further
    rows: they keep their lease. The rows themselves are the caller's to update once it has the
    answer (`Held.mark`): the transaction may have to be repeated.
    """
    try:
        with transaction.atomic(), one_trip(commits=True):
            return _settle_and_mark(done, begin, now, token=token, owner=owner, more=more)
    except Disappointed:  # a stop, a suppression, a lost claim: look at each answer
        with transaction.atomic():
            return _settle_and_mark(done, begin, now, token=token, owner=owner, more=more)


def _settle_and_mark(
    done: Sequence[tuple[Held, Outcome]],
    begin: Sequence[Held],
    now: datetime,
    *,
    token: str,
    owner: str,
    more: frozenset[int],
) -> list[Held]:
    campaigns = [held.campaign_id for held, _ in done] + [row.campaign_id for row in begin]
    caps = {held.campaign_id: held.caps for held, _ in done}
    caps |= {row.campaign_id: row.caps for row in begin}
    states = hold_states(campaigns, hope=caps)
    # Under other caps than those it was claimed under, a row meets the gates afresh.
    going = [row for row in begin if states.get(row.campaign_id) == ("running", row.caps)]
    stopped = [row for row in begin if states.get(row.campaign_id) != ("running", row.caps)]
    reserved = _reserve_leads(going, now)
    rows = [
        (held, outcome, verdict_on(held, outcome, now, ended=_ended(states, held)))
        for held, outcome in done
    ]
    marks = [row for row in going if row.id in reserved]
    ours = _write(rows, marks, now, token=token, owner=owner)
    held_back = [row for row in going if row.id not in ours]
    rows = [row for row in rows if row[0].id in ours]
    tally = Tally()
    if rows:
        _follow(rows, now, tally, token=token, keep=more | {row.account_id for row in going})
        _settle_counts(rows, now, tally, owner=owner)
    waited = [row for row in marks if row.id in ours and now - row.claimed_at > lease() / 4]
    _renew([row.account_id for row in waited], now, token=token)
    _give_back([*stopped, *held_back], now, tally, states, token=token, more=more)
    tally.write()
    return [row for row in marks if row.id in ours]


def _ended(states: Mapping[int, Standing], held: Held) -> bool:
    """Whether the row's campaign was stopped for good: then nothing of it is queued again."""
    return _over(states, held.campaign_id)


def _over(states: Mapping[int, Standing], campaign_id: int) -> bool:
    return campaign_id in states and states[campaign_id].state == "cancelled"


def _renew(account_ids: Sequence[int], now: datetime, *, token: str) -> None:
    """An account is held as long as the row that it is about to send."""
    if account_ids:
        places = ", ".join(["%s"] * len(account_ids))
        run(
            "UPDATE campaigns_sendingaccount SET lease_until = %s "
            f"WHERE tenant_id = %s AND id IN ({places}) AND claim_token = %s",
            [moment(now + lease()), scope.tenant_id(), *sorted(account_ids), token],
        )


def _reserve_leads(rows: Sequence[Held], now: datetime) -> set[int]:
    """Take each lead's first touch for its row, unless it was suppressed or touched meanwhile.

    Returns the ids of the rows whose lead may be written to. One conditional UPDATE, so of two
    campaigns that claimed the same person one wins.
    """
    if not rows:
        return set()
    gap = max(row.contact_gap_days for row in rows)
    # Two campaigns may have the same person in one batch: the first row asks, the other waits.
    first = list({row.lead_id: row for row in reversed(rows) if row.first_touch}.values())
    later = [row for row in rows if not row.first_touch]
    guard = "t.suppressed_at IS NULL"
    params: list[object] = []
    if gap:
        guard += (
            " AND (t.first_touch_at IS NULL OR t.first_touch_at < %s"
            " OR t.first_touch_by = v.first_touch_by)"
        )
        params.append(
            Lead._meta.get_field("first_touch_at").get_db_prep_value(
                now - timedelta(days=gap), connection
            )
        )
    at = moment(now)
    reserved = update_many(
        Lead,
        ["id", "first_touch_at", "first_touch_by"],
        sorted((row.lead_id, at, row.id) for row in first),
        guard=guard,
        params=params,
        hopeful=True,
    )
    willing = (
        set(
            Lead.objects.filter(
                pk__in=[row.lead_id for row in later], suppressed_at=None
            ).values_list("pk", flat=True)
        )
        if later
        else set()
    )
    return {row.id for row in first if row.lead_id in reserved} | {
        row.id for row in later if row.lead_id in willing
    }


def _write(
    rows: Sequence[tuple[Held, Outcome, Verdict]],
    marks: Sequence[Held],
    now: datetime,
    *,
    token: str,
    owner: str,
) -> set[int]:
    """Write outcomes and marks, each row only while its claim is ours; the ids of those written."""
    at, until = moment(now), moment(now + lease())
    settled = [
        (
            held.id,
            str(v.state),
            v.account_id,
            outcome.provider_id,
            v.reason,
            outcome.error.sentence[:300] if outcome.error else "",
            v.error,
            at if v.due_at == now else v.due_at,
            v.attempts,
            None if v.state in (State.QUEUED, State.CANCELLED) else held.dispatched_at,
            at if v.state == State.SENT else None,
            "",
            None,
            "",
            at,
        )
        for held, outcome, v in rows
    ]
    marked = [
        (
            held.id,
            str(State.CLAIMED),
            held.account_id,
            "",
            "",
            "",
            "",
            held.due_at,
            held.attempts + 1,
            at,
            None,
            token,
            until,
            owner,
            # As the claim left it: no index changes, so the row stays on its page (HOT).
            held.claimed_at,
        )
        for held in marks
    ]
    return update_many(
        Message,
        [
            "id",
            "state",
            "account_id",
            "provider_id",
            "reason",
            "sentence",
            "error",
            "due_at",
            "attempts",
            "dispatched_at",
            "sent_at",
            "claim_token",
            "lease_until",
            "lease_owner",
            "updated_at",
        ],
        [*settled, *marked],
        # What is already dispatched is never marked a second time.
        guard="t.claim_token = %s AND t.state = 'claimed' "
        "AND (v.state <> 'claimed' OR t.dispatched_at IS NULL)",
        params=[token],
        hopeful=True,
    )


def _follow(
    rows: Sequence[tuple[Held, Outcome, Verdict]],
    now: datetime,
    tally: Tally,
    *,
    token: str,
    keep: frozenset[int],
) -> None:
    """All that follows from outcomes: the accounts' pauses, the CRM, what is given back."""
    _settle_accounts(rows, now, token=token, keep=keep)
    crm.want([(held.contact, held.text) for held, _, v in rows if v.state == State.SENT], now)
    release_touch([held.id for held, _, v in rows if v.state in (State.FAILED, State.CANCELLED)])
    for held, _, v in rows:
        if v.gives_back:
            tally.unused(held.campaign_id, held.account_id, held.periods, held.day)


def _settle_accounts(
    rows: Sequence[tuple[Held, Outcome, Verdict]],
    now: datetime,
    *,
    token: str,
    keep: frozenset[int],
) -> None:
    """The accounts' pauses, and their leases but for `keep`: of those more is to be sent."""
    slowed = [held.account_id for held, outcome, _ in rows if isinstance(outcome.error, TryLater)]
    later = lock_accounts(slowed)
    changes = []
    for held, outcome, _ in rows:
        streak, error = 0, outcome.error
        if isinstance(error, TryLater) and error.fault is not Fault.LEAD:
            streak = min(later.get(held.account_id, 0) + 1, 30)
            wait = max(
                error.after or timedelta(0),
                pacing.back_off(streak, f"account:{held.account_id}"),
            )
            free_at = now + max(wait, held.pace.gap(held.key))
        elif not outcome.called:
            free_at = now
        else:
            free_at = now + held.pace.gap(held.key)
        keeps = held.account_id in keep
        changes.append(
            (
                held.account_id,
                free_at,
                free_at,
                now,
                streak,
                token if keeps else "",
                now + lease() if keeps else None,
            )
        )
    update_many(
        SendingAccount,
        ["id", "free_at", "next_at", "last_used_at", "later_in_row", "claim_token", "lease_until"],
        sorted(changes, key=lambda change: change[0]),  # as `lock_accounts` orders them
        guard="t.claim_token = %s",
        params=[token],
        blind=True,
    )


def _settle_counts(
    rows: Sequence[tuple[Held, Outcome, Verdict]], now: datetime, tally: Tally, *, owner: str
) -> None:
    by_campaign: dict[int, list[Verdict]] = defaultdict(list)
    for held, _, verdict in rows:
        by_campaign[held.campaign_id].append(verdict)
    for campaign_id, verdicts in by_campaign.items():
        states = Counter(verdict.state for verdict in verdicts)
        in_row = 0
        reset = False
        for verdict in verdicts:
            if verdict.request_fault:
                in_row += 1
            elif verdict.state == State.SENT:
                in_row, reset = 0, True
        deltas = Counter({str(state): number for state, number in states.items()})
        deltas["claimed"] -= len(verdicts)
        rejected = (0 if reset else 1, in_row) if reset or in_row else None
        tally.add(campaign_id, **deltas)
        tally.note(campaign_id, {"worked_at": now, "worked_by": owner}, rejected)


def _give_back(
    rows: Sequence[Held],
    now: datetime,
    tally: Tally,
    states: Mapping[int, Standing],
    *,
    token: str,
    more: frozenset[int] = frozenset(),
) -> None:
    """Claimed rows that were not marked go back to the queue, with their allowance.

    Those of a campaign that was stopped meanwhile are cancelled, like all that it had open.
    """
    if not rows:
        return
    fates = {row.id: State.CANCELLED if _ended(states, row) else State.QUEUED for row in rows}
    ours = update_many(
        Message,
        ["id", "state", "account_id", "claim_token", "lease_until", "lease_owner", "updated_at"],
        [(row.id, str(fates[row.id]), None, "", None, "", now) for row in rows],
        guard="t.claim_token = %s AND t.state = 'claimed' AND t.dispatched_at IS NULL",
        params=[token],
    )
    release_touch([pk for pk in ours if fates[pk] == State.CANCELLED])
    for row in rows:
        if row.id in ours:
            tally.unused(row.campaign_id, row.account_id, row.periods, row.day)
            tally.add(row.campaign_id, claimed=-1, **{str(fates[row.id]): 1})
    free = sorted({row.account_id for row in rows} - more)
    if free:
        places = ", ".join(["%s"] * len(free))
        # After what was settled before it: that may just have set the account's pause.
        run(
            "UPDATE campaigns_sendingaccount "
            "SET claim_token = '', lease_until = NULL, lease_owner = '', next_at = %s "
            f"WHERE tenant_id = %s AND id IN ({places}) AND claim_token = %s",
            [moment(now), scope.tenant_id(), *free, token],
        )


@transaction.atomic
def give_back(rows: Sequence[Held], now: datetime, *, token: str) -> None:
    """Return rows that will not be sent in this slice."""
    states = hold_states(row.campaign_id for row in rows)
    tally = Tally()
    _give_back(rows, now, tally, states, token=token)
    tally.write()


def reap(now: datetime, *, limit: int = 500) -> int:
    """Take over the claims whose lease is over; return how many rows moved.

    Not dispatched: nobody was called, so the row is queued again. Dispatched: it may have reached
    the person, so it is `unknown` until a person decides. Works tenant by tenant.
    """
    with scope.as_system("claims whose lease is over"):
        overdue = list(
            Message.objects.filter(state=State.CLAIMED, lease_until__lte=now)
            .order_by("tenant_id", "id")
            .values_list("tenant_id", "id")[:limit]
        )
    by_tenant: dict[int, list[int]] = defaultdict(list)
    for tenant_id, message_id in overdue:
        by_tenant[tenant_id].append(message_id)
    moved = 0
    for tenant_id, ids in by_tenant.items():
        try:
            with scope.as_tenant(tenant_id), transaction.atomic():
                moved += _reap(ids, now)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # one tenant's trouble must not leave the others' rows lying
            logger.exception("tenant %s: its claims could not be taken over", tenant_id)
    return moved


def _reap(ids: Sequence[int], now: datetime) -> int:
    tenant = Tenant.objects.get(pk=scope.tenant_id())
    waiting = Message.objects.filter(pk__in=ids, state=State.CLAIMED, lease_until__lte=now)
    states = hold_states(waiting.values_list("campaign_id", flat=True))
    rows = list(
        waiting.filter(campaign__in=states)
        .select_related("account")
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("id")
    )

    def fate(row: Message) -> str:
        if row.dispatched_at:
            return str(State.UNKNOWN)
        return str(State.CANCELLED if _over(states, row.campaign_id) else State.QUEUED)

    update_many(
        Message,
        [
            "id",
            "state",
            "account_id",
            "reason",
            "claim_token",
            "lease_until",
            "lease_owner",
            "updated_at",
        ],
        [
            (row.pk, fate(row), row.account_id, Code.WORKER_LOST, "", None, "", now)
            if row.dispatched_at
            else (row.pk, fate(row), None, "", "", None, "", now)
            for row in rows
        ],
    )
    release_touch([row.pk for row in rows if fate(row) == State.CANCELLED])
    wake({row.campaign_id for row in rows}, now)
    tally = Tally()
    tally.unused_of(rows, tenant)
    for row in rows:
        tally.add(row.campaign_id, claimed=-1, **{fate(row): 1})
    tally.write()
    return len(rows)
