"""The claim: whose turn it is, which rows are due, and their accounts' allowance.

Short transactions only; what is claimed here is marked, called and settled elsewhere. A claim
lasts as long as its lease, and then belongs to the reaper in `settling.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import F, FilteredRelation, Q, Window
from django.db.models.functions import RowNumber

from agenticos import scope
from agenticos.leasing import NO_LEASE
from agenticos.sql import moment, one_trip, update_many
from campaigns import crm, daycaps, pacing, rendering
from campaigns.facts import account_facts, campaign_facts, values_of
from campaigns.gates import ALLOW, Decision, Facts, LeadFacts, Verdict, gate
from campaigns.ledger import (
    DayLimits,
    Held,
    State,
    Tally,
    caps_of,
    hold_states,
    lease,
    next_due,
    periods_of,
    release_touch,
    take_allowance,
    used_by,
)
from campaigns.models import CampaignAccount, CampaignCounts, Message, SendingAccount, Step
from leads.models import Icp
from tenants.models import Tenant

ACCOUNTS_AT_ONCE = 32
ACCOUNTS_AT_MOST = 512  # while there is nothing to send
AT_LEAST = 50  # rows read at once
LOCKED_FOR = timedelta(seconds=1)  # due rows that were not found are locked by somebody just now
IDLE_BURST = 8  # rows per account and claim when its pause is switched off


@dataclass(slots=True)
class Claim:
    """What one claim brought: rows to send, and the leases on their accounts."""

    token: str
    held: list[Held] = field(default_factory=list)
    accounts: dict[int, SendingAccount] = field(default_factory=dict)
    campaigns: set[int] = field(default_factory=set)  # of which rows were claimed or skipped


def lease_accounts(
    now: datetime, *, token: str, owner: str, limit: int = ACCOUNTS_AT_ONCE
) -> dict[int, list[int]]:
    """Lease accounts whose turn it is, fair over tenants: each tenant's longest-waiting first.

    Returns account ids by tenant id. One lease per account is what makes an account send one
    message at a time.
    """
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
    with scope.as_system("whose turn it is to send"), transaction.atomic():
        turn = Window(RowNumber(), partition_by=F("tenant_id"), order_by=F("next_at").asc())
        ids = list(
            SendingAccount.objects.filter(free, state="active", next_at__lte=now)
            .annotate(turn=turn)
            .order_by("turn", "next_at", "id")
            .values_list("id", flat=True)[:limit]
        )
        if not ids:
            return {}
        # The state may have changed since: ask again for the rows that could be locked.
        rows = list(
            SendingAccount.objects.filter(free, id__in=ids, state="active", next_at__lte=now)
            .select_for_update(skip_locked=True)
            .values_list("id", "tenant_id")
        )
        SendingAccount.objects.filter(id__in=[row[0] for row in rows]).update(
            claim_token=token, lease_owner=owner, lease_until=now + lease()
        )
    leased: dict[int, list[int]] = defaultdict(list)
    for account_id, tenant_id in rows:
        leased[tenant_id].append(account_id)
    return leased


@transaction.atomic
def claim(
    account_ids: Sequence[int], now: datetime, *, token: str, owner: str, limit: int
) -> Claim:
    """Claim due rows for leased accounts of the tenant in scope, and take their allowance.

    Rows that a final gate rules out are skipped here, with their reason. An account that gets no
    row gives its lease back and is parked until the time its gates or its queue name.
    """
    result = Claim(token)
    links = list(
        CampaignAccount.objects.filter(account__in=account_ids, campaign__state="running")
        .select_related("campaign")
        .order_by("campaign_id")
    )
    # Held, so that a stop waits for this claim and then finds its rows.
    states = hold_states(link.campaign_id for link in links)
    links = [
        link for link in links if (one := states.get(link.campaign_id)) and one.state == "running"
    ]
    tenant = Tenant.objects.get(pk=scope.tenant_id())
    accounts = {
        account.pk: account
        for account in SendingAccount.objects.filter(pk__in=account_ids, claim_token=token)
        .select_related("connection")
        .order_by("id")
        .select_for_update(of=("self",))
    }
    for sender in accounts.values():
        sender.connection.tenant = tenant  # its data key, which opens their secrets
    campaigns = {link.campaign_id: link.campaign for link in links}
    for pk, row in campaigns.items():
        row.day_cap = states[pk].caps.campaign  # it may have been changed until it was held
    of_account: dict[int, set[int]] = defaultdict(set)
    for link in links:
        of_account[link.account_id].add(link.campaign_id)

    room, wake_at = _room(accounts, tenant, now)
    caps = daycaps.in_force(tenant, campaigns.values(), now)
    doors = {
        pk: gate(Facts(campaign=campaign_facts(row, tenant, caps)), now)
        for pk, row in campaigns.items()
    }
    open_ids = _by_turn([pk for pk, decision in doors.items() if decision is ALLOW])
    version_id = Icp.objects.values_list("live_id", flat=True).first()
    skipped: list[tuple[int, int, str, str]] = []
    taken: list[tuple[Due, SendingAccount, str]] = []
    steps = _steps(open_ids)
    exhausted: set[int] = set()
    while any(room.values()) and len(taken) + len(skipped) < limit:
        # One campaign after the other, so that two that share an account take turns.
        progress = False
        for campaign_id in open_ids:
            able = [pk for pk in room if room[pk] and campaign_id in of_account[pk]]
            if not able or campaign_id in exhausted or not caps.room(campaign_id):
                continue
            seen = {message.pk for message, _, _ in taken} | {row[0] for row in skipped}
            sharers = sum(1 for pk in open_ids if pk not in exhausted)
            share = min(-(-sum(room[pk] for pk in able) // sharers), caps.room(campaign_id))
            # More than its share is read, as gates may skip many: a skip should not cost a query.
            wanted = max(share, AT_LEAST)
            rows = _due_rows(campaign_id, able, version_id, now, seen, wanted)
            if len(rows) < wanted:
                exhausted.add(campaign_id)
            rules = campaign_facts(campaigns[campaign_id], tenant)
            turns = _in_turn(able, accounts)
            for message in rows:
                if not share or len(taken) + len(skipped) == limit:
                    exhausted.discard(campaign_id)
                    break
                account = _account_for(message, turns, room, accounts)
                if account is None:
                    continue
                progress = True
                text, missing = _text(message, steps[campaign_id])
                decision = gate(Facts(rules=rules, lead=_lead_facts(message, missing)), now)
                if decision.verdict is Verdict.SKIP:
                    skipped.append(
                        (message.pk, campaign_id, str(decision.code), decision.detail[:300])
                    )
                    continue
                share -= 1
                room[account.pk] -= 1
                caps.take(campaign_id)
                taken.append((message, account, text))
        if not progress:
            break

    tally = Tally()
    _skip(skipped, now, tally)
    # What another worker has taken meanwhile of a cap stays in the queue.
    got = daycaps.take(tenant, caps, [row.campaign_id for row, _, _ in taken], now)
    taken = [one for one, fits in zip(taken, got, strict=True) if fits]
    limits = {pk: row.day_cap for pk, row in campaigns.items()}
    result.accounts = {account.pk: account for _, account, _ in taken}
    idle = [pk for pk in accounts if pk not in result.accounts]
    # A claim that ended at its limit left due rows behind: look again at once.
    soon = now if len(taken) + len(skipped) >= limit else now + LOCKED_FOR
    _park(idle, of_account, doors, wake_at, now, soon)
    with one_trip():
        _write_claims(result, taken, tenant, limits, token, owner, now, tally)
        tally.write()
    result.campaigns = {row[1] for row in skipped} | {row.campaign_id for row, _, _ in taken}
    return result


def put_aside(account_ids: Sequence[int], until: datetime, *, token: str) -> None:
    """Let go of accounts whose claim failed, and leave them alone for a while."""
    SendingAccount.objects.filter(pk__in=account_ids, claim_token=token).update(
        next_at=until, **NO_LEASE
    )


def _room(
    accounts: dict[int, SendingAccount], tenant: Tenant, now: datetime
) -> tuple[dict[int, int], dict[int, datetime]]:
    """How many rows each account may take now, and when those that may take none look again."""
    usage = used_by(list(accounts), tenant, accounts, now)
    room: dict[int, int] = {}
    wake_at: dict[int, datetime] = {}
    for pk, account in accounts.items():
        facts = account_facts(account, tenant, *usage[pk])
        decision = gate(Facts(account=facts), now)
        if decision is ALLOW:
            room[pk] = min(1 if facts.pace.has_gap else IDLE_BURST, facts.room)
        elif decision.until:
            wake_at[pk] = decision.until
    return room, wake_at


class Profile(NamedTuple):
    """The lead of a due row."""

    pk: int
    handle: str
    name: str
    city: str
    category: str
    website: str
    email: str
    phone: str
    ghl_id: str
    instagram_scoped_id: str
    suppressed_at: datetime | None
    first_touch_at: datetime | None
    first_touch_by: int | None


class Due(NamedTuple):
    """A due row: plain values, as a claim reads many and making models of them costs most."""

    pk: int
    campaign_id: int
    account_id: int | None
    step_number: int
    step_version: int
    key: str
    text: str
    attempts: int
    due_at: datetime
    score_total: int | None
    score_band: str | None
    score_eligible: bool | None
    lead: Profile


_OF_LEAD = [f"lead__{name}" for name in Profile._fields]
_OF_ROW = Due._fields[:-1]


def _due_rows(
    campaign_id: int,
    account_ids: Sequence[int],
    version_id: int | None,
    now: datetime,
    seen: set[int],
    count: int,
) -> list[Due]:
    """Due rows of one campaign, best first, locked; rows that another worker holds are skipped."""
    locked = list(
        Message.objects.filter(
            Q(account=None) | Q(account__in=account_ids),
            campaign=campaign_id,
            state=State.QUEUED,
            due_at__lte=now,
        )
        .exclude(pk__in=seen)
        .order_by("due_at", "position")
        .select_for_update(skip_locked=True)
        .values_list("pk", flat=True)[:count]
    )
    score = FilteredRelation("lead__scores", condition=Q(lead__scores__version_id=version_id or 0))
    rows = (
        Message.objects.filter(pk__any_of=locked)
        .alias(score=score)
        .annotate(
            score_total=F("score__total"),
            score_band=F("score__band"),
            score_eligible=F("score__eligible"),
        )
        .order_by("due_at", "position")
        .values_list(*_OF_ROW, *_OF_LEAD)
    )
    width = len(_OF_ROW)
    return [Due._make((*row[:width], Profile._make(row[width:]))) for row in rows]


def _by_turn(campaign_ids: list[int]) -> list[int]:
    """Campaigns that share accounts take turns: the one that was worked for longest ago first."""
    if len(campaign_ids) < 2:
        return campaign_ids
    worked = dict(
        CampaignCounts.objects.filter(campaign__in=campaign_ids).values_list(
            "campaign_id", "worked_at"
        )
    )
    return sorted(campaign_ids, key=lambda pk: (worked.get(pk) or _never, pk))


def _in_turn(able: Sequence[int], accounts: dict[int, SendingAccount]) -> deque[int]:
    """Accounts in the order in which they take rows: the least recently used first."""
    return deque(sorted(able, key=lambda pk: (accounts[pk].last_used_at or _never, pk)))


def _account_for(
    message: Due, turns: deque[int], room: dict[int, int], accounts: dict[int, SendingAccount]
) -> SendingAccount | None:
    """The account that sends this row: its own, else the next one in turn that has room."""
    if message.account_id:
        return accounts[message.account_id] if room.get(message.account_id) else None
    for _ in range(len(turns)):
        pk = turns[0]
        turns.rotate(-1)
        if room[pk]:
            return accounts[pk]
    return None


_never = datetime.fromtimestamp(0).astimezone()


def _steps(campaign_ids: Sequence[int]) -> dict[int, dict[tuple[int, int], rendering.Template]]:
    """The texts of the campaigns, by number and version, parsed once per claim."""
    steps: dict[int, dict[tuple[int, int], rendering.Template]] = defaultdict(dict)
    for step in Step.objects.filter(campaign__in=campaign_ids):
        steps[step.campaign_id][step.number, step.version] = rendering.parse(step.body)
    return steps


def _text(
    message: Due, steps: dict[tuple[int, int], rendering.Template]
) -> tuple[str, tuple[str, ...]]:
    """The frozen text, or the first render of it; and the placeholders that stayed empty."""
    if message.text:
        return message.text, ()
    template = steps[message.step_number, message.step_version]
    rendered = rendering.render(template, values_of(message.lead), seed=message.key)
    return rendered.text, rendered.missing


def _lead_facts(message: Due, missing: tuple[str, ...]) -> LeadFacts:
    lead = message.lead
    by_other = message.step_number == 1 and lead.first_touch_by != message.pk
    return LeadFacts(
        suppressed=lead.suppressed_at is not None,
        total=message.score_total,
        band=message.score_band or "",
        eligible=bool(message.score_eligible),
        touched_at=lead.first_touch_at if by_other else None,
        missing=missing,
    )


def _skip(rows: Sequence[tuple[int, int, str, str]], now: datetime, tally: Tally) -> None:
    """Queued rows that a final gate rules out: skipped, with the reason."""
    update_many(
        Message,
        ["id", "state", "reason", "error", "updated_at"],
        [(pk, State.SKIPPED, reason, detail, now) for pk, _, reason, detail in rows],
    )
    for campaign_id, number in Counter(row[1] for row in rows).items():
        tally.add(campaign_id, queued=-number, skipped=number)
    release_touch([row[0] for row in rows])


def _write_claims(
    result: Claim,
    taken: Sequence[tuple[Due, SendingAccount, str]],
    tenant: Tenant,
    limits: dict[int, int | None],
    token: str,
    owner: str,
    now: datetime,
    tally: Tally,
) -> None:
    at, until = moment(now), moment(now + lease())
    update_many(
        Message,
        [
            "id",
            "state",
            "account_id",
            "text",
            "claim_token",
            "lease_until",
            "lease_owner",
            "claimed_at",
            "reason",
            "sentence",
            "error",
            "updated_at",
        ],
        [
            (row.pk, State.CLAIMED, account.pk, text, token, until, owner, at, "", "", "", at)
            for row, account, text in taken
        ],
        blind=True,  # they are locked
    )
    allowance: Counter[tuple[int, str]] = Counter()
    day = pacing.day_period(now, tenant.zone)
    senders = {account.pk: account for _, account, _ in taken}
    periods = {pk: periods_of(account.zone(tenant), now) for pk, account in senders.items()}
    paces = {pk: account_facts(account, tenant, 0, 0).pace for pk, account in senders.items()}
    for message, account, text in taken:
        for period in periods[account.pk]:
            allowance[account.pk, period] += 1
        lead = message.lead
        result.held.append(
            Held(
                id=message.pk,
                tenant_id=tenant.pk,
                campaign_id=message.campaign_id,
                lead_id=lead.pk,
                account_id=account.pk,
                key=message.key,
                text=text,
                attempts=message.attempts,
                due_at=message.due_at,
                claimed_at=now,
                to_id=lead.instagram_scoped_id,
                to_handle=lead.handle,
                contact=crm.person(lead),
                periods=periods[account.pk],
                day=day,
                caps=DayLimits(limits[message.campaign_id], tenant.max_messages_day),
                pace=paces[account.pk],
                first_touch=message.step_number == 1,
                contact_gap_days=tenant.contact_gap_days,
            )
        )
    caps: dict[tuple[int, str], int] = {}
    for pk, names in periods.items():
        caps |= caps_of(pk, names, paces[pk])
    take_allowance(allowance, caps)
    for campaign_id, number in Counter(row.campaign_id for row, _, _ in taken).items():
        tally.add(campaign_id, queued=-number, claimed=number)


def _park(
    ids: Sequence[int],
    of_account: dict[int, set[int]],
    doors: dict[int, Decision],
    wake_at: dict[int, datetime],
    now: datetime,
    soon: datetime,
) -> None:
    """Give idle accounts back, each with the time at which it is worth looking at it again."""
    if not ids:
        return
    campaign_ids = {pk for account in ids for pk in of_account.get(account, ())}
    first_due = next_due(sorted(campaign_ids))
    rows = []
    for pk in ids:
        times = []
        for campaign_id in of_account.get(pk, ()):
            decision = doors[campaign_id]
            due = first_due.get(campaign_id)
            if due is None or decision.verdict is Verdict.BLOCK:
                continue
            times.append(max(due, decision.until or due))
        look = min(times) if times else None
        if look is not None and pk in wake_at:
            look = max(look, wake_at[pk])
        if look is not None and look <= now:
            look = soon
        rows.append((pk, look, "", None, ""))
    update_many(
        SendingAccount, ["id", "next_at", "claim_token", "lease_until", "lease_owner"], rows
    )
