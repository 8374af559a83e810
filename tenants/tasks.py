"""What the queue rings for tenants: the audit trail is to be sealed, what is over its time goes.

`settings.WAKE_UPS` names the tasks and their companions. All may be rung twice or not at all.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Min
from django.db.models.functions import Coalesce, Greatest

from agenticos import leasing, logs, queue, scope
from agenticos.clock import Clock
from agenticos.leasing import LeaseLost, new_token, stopping
from agenticos.models import Chore
from agenticos.sql import mend_connection
from tenants import keeping, retention, sealing
from tenants.models import AuditEntry, RetentionRun, Tenant

logger = logging.getLogger(__name__)

ACCESS = "tenants.access"  # the chore of what belongs to no tenant


def seal_slice() -> None:
    """Seal what waits, a chunk of one tenant after the other, for a slice's budget."""
    clock = Clock()
    with scope.as_system("audit entries that wait to be sealed"):
        waiting = AuditEntry.objects.filter(sealed=False, at__lte=clock.now() - sealing.SETTLED)
        tenants = list(waiting.values("tenant_id").annotate(first=Min("id")).order_by("first"))
    more = False
    for row in tenants:
        if clock.elapsed() >= settings.SLICE_BUDGET_S or stopping():
            more = True
            break
        with scope.as_tenant(row["tenant_id"]):
            done = sealing.seal_chunk(now=clock.now())
        logs.count(done=done)
        more = more or done == sealing.CHUNK
    if more and not stopping():
        queue.enqueue("tenants.tasks.seal_slice")


def next_seal_at() -> datetime | None:
    """When the oldest entry without a seal has settled; None when there is none."""
    with scope.as_system("audit entries that wait to be sealed"):
        first = AuditEntry.objects.filter(sealed=False).aggregate(first=Min("at"))["first"]
    return first + sealing.SETTLED if first else None


def retention_slice() -> None:
    """Remove what is over its time, a chunk of one tenant after the other, for a slice's budget."""
    clock = Clock()
    while not _over(clock):
        run = _due_run(clock.now())
        if run is None:
            break
        token = new_token()
        with scope.as_tenant(run.tenant_id):
            if retention.lease(run, token=token, now=clock.now()):
                sweep(run, token, clock)
    _sweep_access(clock)
    due = next_retention_at()
    if due is not None and due <= clock.now() and not stopping():
        queue.enqueue("tenants.tasks.retention_slice")


def next_retention_at() -> datetime | None:
    """When the next tenant's run is due or its lease ends; a new tenant's is after its first day.

    Also what belongs to no tenant. None when there is no tenant at all.
    """
    due = Greatest("due_at", Coalesce("lease_until", "due_at"))
    with scope.as_system("what is over its time"):
        runs = RetentionRun.objects.aggregate(first=Min(due))["first"]
        begun = _without_run().aggregate(first=Min("created_at"))["first"]
    first = min(filter(None, (runs, begun and begun + retention.EVERY)), default=None)
    done_at = Chore.objects.filter(name=ACCESS).values_list("done_at", flat=True).first()
    return min(first, done_at + retention.EVERY) if first and done_at else first


def _without_run() -> Any:
    return Tenant.objects.exclude(pk__in=RetentionRun.objects.values("tenant_id"))


def _due_run(now: datetime) -> RetentionRun | None:
    """The run that has waited longest, of those that nobody holds; new tenants get theirs."""
    with scope.as_system("what is over its time"):
        for tenant in _without_run().filter(created_at__lte=now - retention.EVERY):
            retention.run_of(tenant, due_at=now)
        rows = RetentionRun.objects.filter(leasing.free(now), due_at__lte=now)
        return rows.select_related("tenant").order_by("due_at", "pk").first()


def sweep(run: RetentionRun, token: str, clock: Clock) -> bool:
    """Go on with a run that is held, in its tenant's scope; True when it came to its end."""
    try:
        while not retention.sweep_chunk(run, token=token, now=clock.now()):
            logs.count(chunks=1)
            if _over(clock):
                # Due as of now: those who waited meanwhile come first.
                leasing.give_back(run, token=token, due_at=clock.now())
                return False
        return True
    except LeaseLost:
        logger.warning("retention.lease_lost run=%s", run.pk)
    except Exception:
        logger.exception("retention.broken run=%s", run.pk)
        mend_connection()
        leasing.give_back(run, token=token, due_at=clock.now() + retention.AGAIN)
    return False


def _sweep_access(clock: Clock) -> None:
    """Once a day; of two workers at it, neither does harm."""
    chore = Chore.objects.filter(name=ACCESS).first()
    if chore is not None and clock.now() < chore.done_at + retention.EVERY:
        return
    while not _over(clock):
        gone = keeping.sweep_access(clock.now())
        logs.count(rows=sum(gone.values()))
        if not gone:
            Chore.objects.update_or_create(name=ACCESS, defaults={"done_at": clock.now()})
            return


def _over(clock: Clock) -> bool:
    return clock.elapsed() >= settings.SLICE_BUDGET_S or stopping()
