"""Retention: what is older than its period goes, once a day, and a report says what went.

What is kept where is the rooms' business: the setting RETENTION names their modules, each with
`STEPS`. A tenant's run goes through all steps in chunks; a chunk is one transaction with the
run's checkpoint, so a killed worker's successor goes on there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.functional import Promise

from agenticos import leasing
from agenticos.leasing import NO_LEASE, LeaseLost
from tenants import audit
from tenants.models import RetentionRun, Tenant
from tenants.retention_models import BOUNDS

logger = logging.getLogger(__name__)

EVERY: Final = timedelta(days=1)
CHUNK: Final = 1_000
AGAIN: Final = timedelta(hours=1)  # after an unexpected error


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of thing that is not kept for ever.

    `due` finds what is over its time, `remove` takes rows with these ids and says how many went, by
    kind; it looks again, under locks, at what may have changed. `words` name its kinds for people.
    """

    name: str
    words: Mapping[str, Promise]
    due: Callable[[Tenant, datetime], QuerySet[Any]]
    remove: Callable[[Tenant, Sequence[int], datetime], Mapping[str, int]]
    size: int = CHUNK


def steps() -> list[Step]:
    """All steps, in the order in which a run takes them."""
    return [step for name in settings.RETENTION for step in import_module(name).STEPS]


def words() -> dict[str, Promise]:
    """What each kind of a report is called."""
    return {kind: text for step in steps() for kind, text in step.words.items()}


def periods(tenant: Tenant) -> dict[str, timedelta]:
    """The periods that a tenant may change, by field."""
    return {field: timedelta(days=getattr(tenant, field)) for field in BOUNDS}


def lease(run: RetentionRun, *, token: str, now: datetime) -> bool:
    """Take a run on for a while; False when another worker was first."""
    return leasing.take(run, token=token, now=now)


def sweep_chunk(run: RetentionRun, *, token: str, now: datetime) -> bool:
    """Remove the next of what is over its time; True when the run is complete.

    One transaction with its checkpoint. Raises LeaseLost.
    """
    order = steps()
    with transaction.atomic():
        at = next((n for n, step in enumerate(order) if step.name == run.step), 0)
        step, after = order[at], run.cursor if run.step else 0
        rows = step.due(run.tenant, now).filter(pk__gt=after).order_by("pk")
        ids = list(rows.values_list("pk", flat=True)[: step.size])
        went = step.remove(run.tenant, ids, now) if ids else {}
        row = _held(run, token)
        row.removed = _sum(row.removed, went)
        row.step, row.cursor = step.name, ids[-1] if ids else after
        row.lease_until = now + leasing.length()
        if len(ids) < step.size:
            row.step, row.cursor = order[at + 1].name if at + 1 < len(order) else "", 0
        if not row.step:
            _report(row, now)
        row.save()
    run.step, run.cursor, run.report, run.done_at = row.step, row.cursor, row.report, row.done_at
    return not row.step


def _held(run: RetentionRun, token: str) -> RetentionRun:
    rows = RetentionRun.objects.select_for_update(of=("self",)).select_related("tenant")
    row = rows.filter(pk=run.pk, claim_token=token).first()
    if row is None:
        raise LeaseLost
    return row


def _report(row: RetentionRun, now: datetime) -> None:
    """End the run: keep what went, for the page and, if anything did, in the audit trail."""
    row.report, row.removed = row.removed, {}
    row.done_at, row.due_at = now, now + EVERY
    for name, value in NO_LEASE.items():
        setattr(row, name, value)
    if row.report:
        audit.record(row.tenant, "retention.swept", by=None, **row.report)
    logger.info(
        "retention.swept", extra={"tenant": row.tenant_id, "rows": sum(row.report.values())}
    )


def note(tenant: Tenant, **removed: int) -> None:
    """Count what went outside a run, since its time was over: it stands in the next report.

    The last statement of its transaction: it waits for the tenant's chunk under way.
    """
    run_of(tenant, due_at=tenant.created_at + EVERY)
    with transaction.atomic():
        row = RetentionRun.objects.select_for_update(of=("self",)).get(tenant=tenant)
        row.removed = _sum(row.removed, removed)
        row.save(update_fields=["removed"])


def run_of(tenant: Tenant, *, due_at: datetime) -> RetentionRun:
    """The tenant's run; made when there is none, to be due then."""
    RetentionRun.objects.bulk_create(
        [RetentionRun(tenant=tenant, due_at=due_at)], ignore_conflicts=True
    )
    return RetentionRun.objects.select_related("tenant").get(tenant=tenant)


def due(tenant: Tenant, now: datetime) -> dict[str, int]:
    """How many rows of each step are over their time. Changes nothing."""
    found = {step.name: step.due(tenant, now).count() for step in steps()}
    return {name: number for name, number in found.items() if number}


def _sum(before: Mapping[str, int], went: Mapping[str, int]) -> dict[str, int]:
    total = Counter(before)
    total.update(went)
    return {kind: number for kind, number in sorted(total.items()) if number}
