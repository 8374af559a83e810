"""The outbox: what the CRM shall know, and what people do with entries that failed.

A wish is a desired state, one row per (connection, key), so ten changes become one delivery. How
its rows move while they are delivered: `delivery.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from django.db import connection as database, transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from agenticos import scope
from agenticos.errors import Refused
from agenticos.sql import run
from integrations.models import Connection, SyncItem
from tenants import audit
from tenants.models import Tenant, User

State = SyncItem.State

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


# --- Wishes -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """How one record shall look in the CRM.

    `key` is ours, such as `lead:42`; `known_id` the CRM's id of the contact if a file told it;
    `contact` holds the fields of `ports.Contact` without its key, as JSON.
    """

    key: str
    known_id: str
    contact: dict[str, Any]


def want_contacts(wishes: Sequence[Wish], now: datetime) -> None:
    """Wish for contacts in every CRM of the tenant in scope, in the caller's transaction.

    One statement, however many wishes and connections. A row that is in flight stays so: its
    revision grows, and so it is delivered again. Of two wishes with one key the later counts.
    """
    if not wishes:
        return
    quote = database.ops.quote_name
    item, line = quote(SyncItem._meta.db_table), quote(Connection._meta.db_table)
    wanted_type = SyncItem._meta.get_field("wanted").db_type(database)
    due_at = SyncItem._meta.get_field("due_at").get_db_prep_value(now, database)
    latest = {wish.key: wish for wish in wishes}
    cells: list[object] = []
    for key, wish in latest.items():
        wanted = {**wish.contact, "known_id": wish.known_id}
        cells += [key, orjson.dumps(wanted).decode()]
    rows = ", ".join(["(CAST(%s AS text), %s)"] * len(latest))
    run(
        # Ordered, so that two transactions meet the same rows in the same order.
        f"INSERT INTO {item} AS t (tenant_id, connection_id, key, wanted, wanted_rev, done_rev, "
        "state, due_at, attempts, reason, error, sentence, discard_reason, claim_token, "
        "lease_owner) "
        f"SELECT c.tenant_id, c.id, v.column1, CAST(v.column2 AS {wanted_type}), %s, 0, "
        "'waiting', %s, 0, '', '', '', '', '', '' "
        f"FROM {line} AS c, (VALUES {rows}) AS v "
        "WHERE c.tenant_id = %s AND c.kind = 'ghl' AND c.state <> 'off' "
        "ORDER BY c.id, v.column1 "
        "ON CONFLICT (tenant_id, connection_id, key) DO UPDATE SET wanted = excluded.wanted, "
        "wanted_rev = CASE WHEN excluded.wanted_rev > t.wanted_rev THEN excluded.wanted_rev "
        "ELSE t.wanted_rev + 1 END, "
        "state = CASE WHEN t.state = 'claimed' THEN t.state ELSE 'waiting' END, "
        "due_at = excluded.due_at, attempts = 0, reason = '', error = '', sentence = '', "
        "discard_reason = ''",
        [(now - _EPOCH) // timedelta(microseconds=1), due_at, *cells, scope.tenant_id()],
    )


# --- What people do with entries that failed ---------------------------------------------------

_ANEW: Final[dict[str, Any]] = {
    "state": State.WAITING,
    "attempts": 0,
    "reason": "",
    "error": "",
    "sentence": "",
    "discard_reason": "",
}
BULK_MOST: Final = 1000  # entries that one click tries again


def dead(tenant: Tenant) -> QuerySet[SyncItem]:
    """The tenant's dead letters: entries that no worker will try again by itself."""
    return tenant.sync_items.filter(state=State.FAILED)


@transaction.atomic
def retry_sync(item: SyncItem, *, by: User | None, now: datetime) -> None:
    """Let a failed item be delivered again, with all its attempts.

    Raises Refused when it has not failed, or was retried a moment ago.
    """
    if not SyncItem.objects.filter(pk=item.pk, state=State.FAILED).update(due_at=now, **_ANEW):
        raise Refused(
            _("Only an entry that has failed can be tried again. Reload the page."),
            code="not_failed",
        )
    audit.record(item, "sync.retried", by=by, reason=item.reason)
    item.refresh_from_db()


@transaction.atomic
def replay_dead(item: SyncItem, *, by: User | None, now: datetime) -> None:
    """Deliver a dead letter once more, also one that was discarded.

    Raises Refused when it is neither: somebody replayed it a moment ago, or a newer change of the
    same record took its place; and when what it said is gone (erased, or over its time).
    """
    if SyncItem.objects.filter(pk=item.pk, state=State.DISCARDED, wanted={}).exists():
        raise Refused(
            _("What this entry said has been removed, so it cannot be delivered any more."),
            code="payload_gone",
        )
    ended = SyncItem.objects.filter(pk=item.pk, state__in=[State.FAILED, State.DISCARDED])
    if not ended.update(due_at=now, **_ANEW):
        raise Refused(_("This is no dead letter any more. Reload the page."), code="not_dead")
    audit.record(item, "dead_letter.replayed", by=by, reason=item.reason)
    item.refresh_from_db()


@transaction.atomic
def discard_dead(item: SyncItem, reason: str, *, by: User | None, now: datetime) -> None:
    """Put a dead letter aside for good; `reason` is a person's own words, 1 to 300 characters.

    A later change of the same record is delivered all the same. Raises Refused without a reason,
    and when it is no dead letter (any more).
    """
    reason = reason.strip()
    if not reason:
        raise Refused(_("Say in a few words why it may be dropped."), code="reason_missing")
    failed = SyncItem.objects.filter(pk=item.pk, state=State.FAILED)
    if not failed.update(state=State.DISCARDED, discard_reason=reason[:300]):
        raise Refused(_("This is no dead letter any more. Reload the page."), code="not_dead")
    audit.record(item, "dead_letter.discarded", by=by, reason=item.reason)
    item.refresh_from_db()


@transaction.atomic
def retry_many(
    tenant: Tenant,
    items: QuerySet[SyncItem],
    *,
    by: User | None,
    now: datetime,
    limit: int = BULK_MOST,
) -> int:
    """Let the failed of `items` be delivered again, at most `limit` of them; return how many."""
    ids = list(
        items.filter(state=State.FAILED)
        .order_by("connection_id", "key")
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:limit]
    )
    if ids:
        SyncItem.objects.filter(pk__in=ids).update(due_at=now, **_ANEW)
        audit.record(tenant, "sync.retried_many", by=by, entries=len(ids))
    return len(ids)
