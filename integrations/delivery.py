"""How the outbox's rows move while they are delivered: claim, begin, settle, give back.

`syncing.py` calls the CRM; every write of it stands here, is short, and is guarded by the claim's
token. Locks are taken in one order: connections, items by connection and key, external ids.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from agenticos import scope
from agenticos.sql import update_many
from integrations.errors import ProviderError
from integrations.models import Connection, ExternalId, SyncItem
from integrations.ports import Contact
from tenants import audit, notifications

State = SyncItem.State

# GHL allows 100 calls in 10 s. In any 10 s at most BURST + 10 * CALLS_PER_S = 100 go out.
CALLS_PER_S: Final = 8.0
BURST: Final = 20
MOST_CALLS: Final = 5  # of one step
PAUSE_MOST: Final = timedelta(minutes=5)
TROUBLE: Final = ("trouble_at", "trouble_code", "trouble_sentence", "trouble_detail")
WORKER_LOST: Final = gettext_noop("Its worker was lost again and again. Retry it, and tell us.")

# --- Claim ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """An item that this worker has claimed, and what is known of its contact's id.

    `dirty`: `external_id` and `create_begun_at` differ from what is stored. `fresh`: the id came
    from the provider just now.
    """

    id: int
    tenant_id: int
    connection_id: int
    key: str
    contact: Contact
    known_id: str
    rev: int
    attempts: int
    external_id: str = ""
    create_begun_at: datetime | None = None
    dirty: bool = False
    fresh: bool = False

    @property
    def hearsay(self) -> bool:
        """Whether the id is one that a file told, and no call of ours has ever proved."""
        return bool(self.known_id) and self.external_id == self.known_id and not self.fresh


def take_over(now: datetime, *, limit: int = 500) -> int:
    """Let go of items whose worker is gone: their lease is over. Returns how many.

    Each costs an attempt, or an item that kills its worker would do so for ever.
    """
    with scope.as_system("sync items whose lease is over"), transaction.atomic():
        ids = list(
            SyncItem.objects.filter(state=State.CLAIMED, lease_until__lte=now)
            .select_for_update(skip_locked=True, of=("self",))
            .values_list("pk", flat=True)[:limit]
        )
        if ids:
            mine = SyncItem.objects.filter(pk__in=ids)
            mine.update(
                state=State.WAITING,
                due_at=now,
                attempts=F("attempts") + 1,
                claim_token="",
                lease_until=None,
                lease_owner="",
            )
            mine.filter(attempts__gte=settings.SYNC_MAX_ATTEMPTS).update(
                state=State.FAILED, reason="worker_lost", sentence=WORKER_LOST
            )
            _tell_of_dead(mine.filter(state=State.FAILED), now)
        return len(ids)


def due_connections(now: datetime, *, but: Collection[int], limit: int) -> list[tuple[int, int]]:
    """Active connections with due items whose rate allows a call: (tenant id, id).

    The one that has been called least comes first, so a long queue delays nobody else.
    """
    with scope.as_system("which CRM connections have something due"):
        due = SyncItem.objects.filter(
            tenant=OuterRef("tenant"),
            connection=OuterRef("pk"),
            state=State.WAITING,
            due_at__lte=now,
        )
        return list(
            Connection.objects.filter(
                Q(throttle_at=None) | Q(throttle_at__lte=now),
                Exists(due),
                kind=Connection.Kind.GHL,
                state=Connection.State.ACTIVE,
            )
            .exclude(pk__in=but)
            .order_by(F("throttle_at").asc(nulls_first=True), "pk")
            .values_list("tenant_id", "pk")[:limit]
        )


@transaction.atomic
def claim(connection_id: int, now: datetime, *, token: str, owner: str, limit: int) -> list[Held]:
    """Claim the longest-due items of one connection of the tenant in scope."""
    rows = list(
        SyncItem.objects.filter(connection=connection_id, state=State.WAITING, due_at__lte=now)
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("due_at", "pk")[:limit]
    )
    if not rows:
        return []
    SyncItem.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=State.CLAIMED, claim_token=token, lease_until=now + lease(), lease_owner=owner
    )
    known = {
        found.key: found
        for found in ExternalId.objects.filter(
            connection=connection_id, key__in=[row.key for row in rows]
        )
    }
    held = [_held(row, known.get(row.key)) for row in rows]
    # An id from a file is taken over once; when it proves wrong, its row stays, empty.
    _store([one for one in held if one.dirty])
    for one in held:
        one.dirty = False
    return held


def _held(row: SyncItem, known: ExternalId | None) -> Held:
    wanted = row.wanted
    known_id = str(wanted.get("known_id") or "")
    return Held(
        id=row.pk,
        tenant_id=row.tenant_id,
        connection_id=row.connection_id,
        key=row.key,
        contact=Contact(
            key=row.key,
            handle=wanted.get("handle", ""),
            first_name=wanted.get("first_name", ""),
            last_name=wanted.get("last_name", ""),
            email=wanted.get("email", ""),
            phone=wanted.get("phone", ""),
            tags=tuple(wanted.get("tags", ())),
            fields={key: str(value) for key, value in wanted.get("fields", {}).items()},
        ),
        known_id=known_id,
        rev=row.wanted_rev,
        attempts=row.attempts,
        external_id=known.external_id if known else known_id,
        create_begun_at=known.create_begun_at if known else None,
        dirty=known is None and bool(known_id),
        fresh=known is not None and known.create_begun_at is not None,
    )


def as_wanted(contact: Contact, known_id: str) -> dict[str, Any]:
    """A contact in the shape of `SyncItem.wanted`."""
    return {
        "handle": contact.handle,
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "email": contact.email,
        "phone": contact.phone,
        "tags": list(contact.tags),
        "fields": dict(contact.fields),
        "known_id": known_id,
    }


def lease() -> timedelta:
    """How long a claim lasts; it is renewed when a call begins."""
    return timedelta(seconds=settings.LEASE_S)


# --- Settle and begin -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """Where an item goes, and with what words."""

    state: str
    due_at: datetime
    attempts: int
    reason: str = ""
    error: str = ""
    sentence: str = ""


@dataclass(slots=True)
class Note:
    """What a slice has learnt about a connection since the last write."""

    field_ids: dict[str, str] | None = None
    works: bool = False
    pauses: bool = False
    after: timedelta = timedelta(0)
    trouble: ProviderError | None = None


@dataclass(slots=True)
class Begun:
    """What may be called, and what changed hands.

    `calls`: ids of items whose call may begin now. `lost`: ids of items that are no longer ours.
    `ready_at`: when each connection may be called again. `closed`: connections that are not
    active any more, or have a new secret.
    """

    calls: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    ready_at: dict[int, datetime] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)


@transaction.atomic
def settle_and_begin(
    done: Sequence[tuple[Held, Result | None]],
    begin: Sequence[tuple[Held, int, bool]],
    notes: Mapping[int, Note],
    secrets: Mapping[int, datetime | None],
    now: datetime,
    *,
    token: str,
) -> Begun:
    """Record what came of `done`, and commit that `begin` is about to be called; one transaction.

    `done` pairs an item with its result, or with None when it has another step to go. `begin`
    holds (item, number of calls, whether it is a create); a create is marked before it is made,
    so that nobody makes it a second time without a look. `secrets` says when the secret in use
    by this slice was set. Works on the tenant in scope; changes nothing of its arguments.
    """
    begun = Begun()
    mine = [held for held, _ in done] + [held for held, _, _ in begin]
    ids = {held.connection_id for held in mine} | set(notes)
    # No key changes, so the foreign keys of new wishes need not wait for this lock.
    lines = {
        row.pk: row
        for row in Connection.objects.filter(pk__in=ids)
        .select_for_update(of=("self",), no_key=True)
        .order_by("pk")
    }
    for pk, note in notes.items():
        if pk in lines:
            _heed(lines[pk], note, now)
    begun.closed = {
        pk
        for pk in ids
        if pk not in lines
        or lines[pk].state != Connection.State.ACTIVE
        or lines[pk].secret_set_at != secrets.get(pk)
    }
    rows = _lock([held.id for held in mine], token)
    begun.lost = {held.id for held in mine} - set(rows)
    _store([held for held, _ in done if held.dirty and held.id in rows])
    _rescue([held for held, _ in done if held.dirty and held.id not in rows])
    _settle([(held, result) for held, result in done if result and held.id in rows], rows, now)

    creates = []
    for held, calls, is_create in begin:
        if held.id not in rows or held.connection_id in begun.closed:
            continue
        line = lines[held.connection_id]
        if line.throttle_at is not None and line.throttle_at > now:
            continue
        line.throttle_at = reserve(line.throttle_at, now, calls, rate=rate_of(line))
        begun.calls.add(held.id)
        if is_create:
            creates.append(held)
    SyncItem.objects.filter(pk__in=begun.calls).update(lease_until=now + lease())
    _store(creates, begun_at=now)
    for line in lines.values():
        line.save(update_fields=["throttle_at", "settings", "ok_at", *TROUBLE])
        if line.throttle_at is not None:
            begun.ready_at[line.pk] = line.throttle_at
    return begun


def reserve(
    ready_at: datetime | None, now: datetime, calls: int, *, rate: float = CALLS_PER_S
) -> datetime:
    """When the next call may begin, once `calls` begin now (a token bucket, as GCRA).

    >>> now = datetime.fromisoformat("2026-03-04T00:00Z")
    >>> (reserve(None, now, 15) - now).total_seconds()
    0.0
    >>> (reserve(now, now, 4) - now).total_seconds()
    0.5
    """
    idle_since = now - timedelta(seconds=(BURST - MOST_CALLS) / rate)
    return max(ready_at or idle_since, idle_since) + timedelta(seconds=calls / rate)


def free_calls(ready_at: datetime | None, now: datetime, *, rate: float = CALLS_PER_S) -> int:
    """How many calls may begin at once, of at most BURST: what the token bucket holds.

    >>> now = datetime.fromisoformat("2026-03-04T00:00Z")
    >>> free_calls(None, now), free_calls(reserve(None, now, 15), now)
    (20, 5)
    >>> free_calls(now + timedelta(seconds=1), now)
    0
    """
    if ready_at is not None and ready_at > now:
        return 0
    idle_since = now - timedelta(seconds=(BURST - MOST_CALLS) / rate)
    held = (now - max(ready_at or idle_since, idle_since)).total_seconds() * rate
    return min(BURST, MOST_CALLS + round(held))


def rate_of(line: Connection) -> float:
    """Calls per second; a connection's settings may name another rate (a sandbox, a bench)."""
    return float(line.settings.get("calls_per_s") or CALLS_PER_S)


def _heed(line: Connection, note: Note, now: datetime) -> None:
    """Put what was learnt into the connection's row, which is saved later."""
    if note.field_ids is not None:
        line.settings["field_ids"] = note.field_ids
    if note.trouble is not None:
        line.note_trouble(note.trouble, now)
    if note.works:
        line.ok_at = now
    if note.pauses:
        paused = line.throttle_at is not None and line.throttle_at > now + timedelta(seconds=1)
        streak = int(line.settings.get("later_in_row", 0)) + (0 if paused else 1)
        line.settings["later_in_row"] = streak
        wait = max(min(timedelta(seconds=2 ** min(streak, 20)), PAUSE_MOST), note.after)
        line.throttle_at = max(line.throttle_at or now, now + wait)
    elif note.works:
        line.settings.pop("later_in_row", None)


def _lock(ids: Collection[int], token: str) -> dict[int, SyncItem]:
    """Lock the items that are still claimed under this token, in the order of `want_contacts`."""
    rows = (
        SyncItem.objects.filter(pk__in=ids, claim_token=token, state=State.CLAIMED)
        .select_for_update(of=("self",))
        .order_by("connection_id", "key")
        .only("wanted_rev", "done_rev", "done_at", "done")
    )
    return {row.pk: row for row in rows}


def _store(held: Sequence[Held], *, begun_at: datetime | None = None) -> None:
    """Write the contacts' ids; with `begun_at` instead that a create begins."""
    if held:
        ExternalId.objects.bulk_create(
            [
                ExternalId(
                    tenant_id=one.tenant_id,
                    connection_id=one.connection_id,
                    key=one.key,
                    external_id="" if begun_at else one.external_id,
                    create_begun_at=begun_at or one.create_begun_at,
                )
                for one in sorted(held, key=lambda one: (one.connection_id, one.key))
            ],
            update_conflicts=True,
            unique_fields=["tenant", "connection", "key"],
            update_fields=["external_id", "create_begun_at"],
        )


def _rescue(held: Sequence[Held]) -> None:
    """An id that came after the lease was lost still saves the next worker a search."""
    for one in held:
        if one.fresh and one.external_id:
            ExternalId.objects.filter(
                connection=one.connection_id, key=one.key, external_id=""
            ).update(external_id=one.external_id)


def _settle(
    done: Sequence[tuple[Held, Result]], rows: Mapping[int, SyncItem], now: datetime
) -> None:
    """Write results. A wish that came during the flight makes the item wait again."""
    changes = []
    for held, result in done:
        row = rows[held.id]
        outdated = row.wanted_rev != held.rev
        is_done = result.state == State.DONE
        if outdated and result.state != State.WAITING:
            result = Result(State.WAITING, now, 0)
        changes.append(
            (
                held.id,
                result.state,
                result.due_at,
                0 if outdated else min(result.attempts, 32767),
                result.reason[:60],
                result.error,
                result.sentence[:300],
                held.rev if is_done else row.done_rev,
                now if is_done else row.done_at,
                _as_json(as_wanted(held.contact, held.known_id) if is_done else row.done),
                "",
                None,
                "",
            )
        )
    update_many(
        SyncItem,
        ["id", "state", "due_at", "attempts", "reason", "error", "sentence", "done_rev",
         "done_at", "done",
         "claim_token", "lease_until", "lease_owner"],
        changes,
    )  # fmt: skip
    if failed := [pk for pk, state, *_ in changes if state == State.FAILED]:
        _tell_of_dead(SyncItem.objects.filter(pk__in=failed), now)


def _tell_of_dead(items: QuerySet[SyncItem], now: datetime) -> None:
    """News of the connections of `items`, which have just become dead letters."""
    for tenant_id, connection_id in sorted(set(items.values_list("tenant_id", "connection_id"))):
        count = SyncItem.objects.filter(connection=connection_id, state=State.FAILED).count()
        notifications.notify(
            tenant_id, "sync.dead", subject=connection_id, params={"count": count}, now=now
        )


def _as_json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


@transaction.atomic
def give_back(ids: Collection[int], *, token: str) -> None:
    """Let items wait again as they were before their claim, in the tenant in scope."""
    if rows := _lock(ids, token):
        SyncItem.objects.filter(pk__in=rows).update(
            state=State.WAITING, claim_token="", lease_until=None, lease_owner=""
        )


@transaction.atomic
def refuse_connection(
    connection_id: int,
    code: str,
    secret_set_at: datetime | None,
    *,
    error: ProviderError | None = None,
) -> None:
    """Call a connection broken, unless it has got another secret meanwhile; audited.

    `error` is what the provider said, if it was the provider who refused.
    """
    line = (
        Connection.objects.filter(
            pk=connection_id, state=Connection.State.ACTIVE, secret_set_at=secret_set_at
        )
        .select_for_update(of=("self",), no_key=True)
        .first()
    )
    if line is not None:
        line.mark_broken(code[:60])
        if error is not None:
            line.note_trouble(error, line.broken_at or timezone.now())
            line.save(update_fields=TROUBLE)
        audit.record(line, "connection.broken", by=None, code=code)
