"""The chain over the audit trail: each tenant's entries sealed in a row, and the row gone through.

Entries are sealed some seconds after they were written, by a worker: a chain that grew within
each change would let only one change of a tenant happen at a time. A link's hash covers the link
before and every field of its entry, so whoever alters, removes, adds or moves one later has to
rewrite all that follows; the newest hash also stands in the log, where the database's owner does
not reach. What is younger than its seal is not protected yet.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from agenticos import scope
from tenants import audit
from tenants.append_only import altering
from tenants.models import AuditCheck, AuditEntry, AuditSeal, Tenant

logger = logging.getLogger(__name__)

SETTLED: Final = timedelta(seconds=5)  # older entries' neighbours have been committed, mostly
CHUNK: Final = 500
FIELDS: Final = (
    "id", "tenant_id", "at", "actor_id", "actor", "action", "object_type", "object_id", "data",
)  # fmt: skip


_LINK: Final = ("entry_id", "number", "previous", "hash")


def link(previous: str, fields: dict[str, Any]) -> str:
    """The hash of a link, 64 hex digits, from the one before and the entry's FIELDS."""
    at: datetime = fields["at"]
    told = fields | {"at": at.astimezone(UTC).isoformat(timespec="microseconds")}
    body = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


def seal_chunk(*, now: datetime) -> int:
    """Seal the next entries of the tenant in scope, by id; return how many were.

    An entry that was committed late is chained where it comes. Of two who do it at a time the
    second finds the number taken, and does nothing.
    """
    try:
        with transaction.atomic():
            return _seal_chunk(now)
    except IntegrityError:
        logger.info("audit.sealed_by_another")
        return 0


def _seal_chunk(now: datetime) -> int:
    last = AuditSeal.objects.order_by("-number").first()
    number, previous = (last.number, last.hash) if last else pruned_up_to()
    waiting = AuditEntry.objects.filter(sealed=False, at__lte=now - SETTLED).order_by("pk")
    rows = list(waiting.values(*FIELDS)[:CHUNK])
    ids = [row["id"] for row in rows]
    known = set(AuditSeal.objects.filter(entry__in=ids).values_list("entry_id", flat=True))
    seals = []
    for row in rows:
        if row["id"] in known:  # the mark was taken off it; the link is what counts
            continue
        number += 1
        seal = AuditSeal(
            tenant_id=row["tenant_id"],
            entry_id=row["id"],
            number=number,
            previous=previous,
            hash=link(previous, row),
        )
        previous = seal.hash
        seals.append(seal)
    AuditSeal.objects.bulk_create(seals)
    # Not those that another has sealed since they were read.
    marked = AuditEntry.objects.filter(pk__in=ids, sealed=False).update(sealed=True)
    if seals:
        line = {"number": number, "hash": previous}
        transaction.on_commit(lambda: logger.info("audit.sealed", extra=line), robust=True)
    return marked


PRUNED: Final = "audit.pruned"


def pruned_up_to() -> tuple[int, str]:
    """Number and hash of the last link that retention took away; (0, '') when it took none."""
    entry = AuditEntry.objects.filter(
        object_type=Tenant._meta.label_lower, object_id=scope.tenant_id(), action=PRUNED
    )
    said = entry.order_by("-pk").values_list("data", flat=True).first()
    return (int(said["number"]), str(said["hash"])) if said else (0, "")


@transaction.atomic
def prune_chunk(tenant: Tenant, *, before: datetime, most: int = CHUNK) -> int:
    """Take the oldest links with their entries away, from the front as long as they are older.

    At most `most`; returns how many. Of a chain with a break among them nothing goes: that is the
    evidence. The pages' role may not delete here, so it is done as the system, these rows alone.
    """
    number, previous = pruned_up_to()
    ids: list[int] = []
    names = [f"entry__{name}" for name in FIELDS]
    links = AuditSeal.objects.order_by("number").values("pk", *_LINK, *names)
    for row in links[:most]:
        if row["entry__at"] >= before:
            break
        if problem := _wrong(row, number, previous):
            logger.warning(
                "audit.not_pruned", extra={"object_id": row["entry_id"], "code": problem}
            )
            return 0
        number, previous = row["number"], row["hash"]
        ids.append(row["entry_id"])
    if ids:
        audit.record(
            tenant, PRUNED, by=None, entries=len(ids), number=number, hash=previous,
            before=before.isoformat(timespec="seconds"),
        )  # fmt: skip
        with altering("retention"), scope.as_system("retention of a tenant's audit trail"):
            AuditSeal.objects.filter(tenant=tenant, entry__in=ids).delete()
            AuditEntry.objects.filter(tenant=tenant, pk__in=ids).delete()
    return len(ids)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What going through a tenant's chain has found. `entry` and `problem` tell the first break."""

    tenant: str
    entries: int
    sealed: int
    unsealed: int
    number: int = 0
    hash: str = ""
    entry: int | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.problem


# Codes of what can be wrong, and the sentence of each.
PROBLEMS: Final[dict[str, Promise]] = {
    "altered": _("a field of the entry is not what was sealed"),
    "missing": _("a link or an entry is missing here or before"),
    "moved": _("the link of this entry does not follow from the one before"),
    "unsealed": _("the entry is marked as sealed, and has no link"),
    "cut": _("the chain ends before where it ended at the last verification, or differs there"),
}


def verify(tenant: Tenant, *, now: datetime) -> Outcome:
    """Go through the chain of the tenant in scope, and keep what was found for its page."""
    with transaction.atomic():
        before = AuditCheck.objects.filter(tenant=tenant).first()
        outcome = _verify(tenant, before)
        kept = before
        if outcome.ok or before is None:
            kept = AuditCheck(number=outcome.number, hash=outcome.hash)
        AuditCheck.objects.update_or_create(
            tenant=tenant,
            defaults={
                "at": now,
                # A break must not move the mark back: what it proves would be forgotten.
                "number": kept.number if kept else 0,
                "hash": kept.hash if kept else "",
                "entry": outcome.entry,
                "problem": outcome.problem,
            },
        )
    return outcome


def _verify(tenant: Tenant, before: AuditCheck | None) -> Outcome:
    entries, sealed = AuditEntry.objects.count(), AuditSeal.objects.count()
    newest = AuditSeal.objects.order_by("-number").first()
    last = newest.number if newest else 0  # what is sealed meanwhile is for the next time
    base = number, previous = pruned_up_to()
    broken: tuple[int | None, str] = (None, "")
    # What was verified and has gone since cannot be compared any more.
    held = before is None or before.number < number or before.number == 0
    if before is not None and number and number == before.number:
        held = previous == before.hash
    for row in _links(last):
        if problem := _wrong(row, number, previous):
            broken = (row["entry_id"], problem)
            break
        number, previous = row["number"], row["hash"]
        if before is not None and number == before.number:
            held = previous == before.hash
    if not broken[1] and number < last:
        broken = (newest.entry_id if newest else None, "missing")
    if not broken[1] and not held:
        broken = (None, "cut")
    if not broken[1]:
        loose = AuditEntry.objects.filter(sealed=True, seal=None).order_by("pk").first()
        if loose is not None:
            broken = (loose.pk, "unsealed")
    if broken[1] and pruned_up_to() != base:  # retention took the front away meanwhile
        return _verify(tenant, before)
    return Outcome(
        tenant.slug,
        entries,
        sealed,
        AuditEntry.objects.filter(seal=None).count(),
        number,
        previous,
        *broken,
    )


def _links(last: int) -> Iterator[dict[str, Any]]:
    """The links up to `last` with the fields of their entries, in order, some at a time."""
    names = [f"entry__{name}" for name in FIELDS]
    rows = AuditSeal.objects.filter(number__lte=last)
    rows = rows.values(*_LINK, *names)
    at = -(2**63)
    while chunk := list(rows.filter(number__gt=at).order_by("number")[:CHUNK]):
        yield from chunk
        at = chunk[-1]["number"]


def _wrong(row: dict[str, Any], number: int, previous: str) -> str:
    """The code of what is wrong with a link that comes after (number, previous), or ''."""
    if row["number"] != number + 1:
        return "missing"
    if row["previous"] != previous:
        return "moved"
    fields = {name: row[f"entry__{name}"] for name in FIELDS}
    return "" if row["hash"] == link(previous, fields) else "altered"
