"""What the queue rings for leads: imports and their undoing, and scoring under a new ICP version.

Both look for due work across tenants, lease one piece after the other and do it chunk by chunk;
all may be rung twice or not at all. `settings.WAKE_UPS` names them and their companions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.db.models import F, Min, Q, QuerySet
from django.db.models.functions import Coalesce, Greatest

from agenticos import leasing, logs, queue, scope
from agenticos.clock import OVERDUE, Clock
from agenticos.leasing import LeaseLost, new_token, stopping
from agenticos.sql import mend_connection
from leads import bulk, intake, rescoring, undoing
from leads.models import BulkJob, IcpVersion, LeadImport

logger = logging.getLogger(__name__)

Work = TypeVar("Work", LeadImport, IcpVersion, BulkJob)
OPEN = (
    LeadImport.State.WAITING,
    LeadImport.State.RUNNING,
    LeadImport.State.REHEARSING,
    LeadImport.State.UNDOING,
)
BULK_OPEN = (BulkJob.State.FREEZING, BulkJob.State.RUNNING)


def import_slice() -> None:
    """Rehearse, import and undo what is due for a slice's budget, then ring for whoever goes on."""
    _work("leads.tasks.import_slice", _next_import, intake.lease, _import, next_import_at)


def rescore_slice() -> None:
    """Score leads under new ICP versions, and remove scores of versions long retired."""
    _work("leads.tasks.rescore_slice", _next_version, rescoring.lease, _rescore, next_rescore_at)


def bulk_slice() -> None:
    """Do what was asked for many leads at once, and remove exports whose time is over."""
    _work("leads.tasks.bulk_slice", _next_job, bulk.lease, _bulk, next_bulk_at)


def next_import_at() -> datetime | None:
    """When the next import is due, or the lease on one ends; None when there is none."""
    with scope.as_system("imports that are due"):
        due = Greatest("due_at", Coalesce("lease_until", "due_at"))
        found = LeadImport.objects.filter(state__in=OPEN).aggregate(first=Min(due))
    first: datetime | None = found["first"]
    return first


def next_rescore_at() -> datetime | None:
    """Now when a version waits for its scores, else when the lease on one ends."""
    with scope.as_system("ICP versions that are being scored"):
        rows = _versions()
        if rows.filter(lease_until=None).exists():
            return OVERDUE
        first: datetime | None = rows.aggregate(first=Min("lease_until"))["first"]
    return first


def next_bulk_at() -> datetime | None:
    """When the next bulk job is due or its lease ends, or an export is to be removed."""
    with scope.as_system("bulk jobs that are due"):
        due = Greatest("due_at", Coalesce("lease_until", "due_at"))
        opened = BulkJob.objects.filter(state__in=BULK_OPEN).aggregate(first=Min(due))["first"]
        over = Greatest("expires_at", Coalesce("lease_until", "expires_at"))
        kept = BulkJob.objects.filter(expires_at__isnull=False).aggregate(first=Min(over))["first"]
    return min(filter(None, (opened, kept)), default=None)


def _versions() -> QuerySet[IcpVersion]:
    """Versions with something to do: to be scored, or with old scores to be removed."""
    unfit = rescoring.prunable().values("pk")
    return IcpVersion.objects.filter(Q(state=IcpVersion.State.SCORING) | Q(pk__in=unfit))


def _next_import(now: datetime) -> LeadImport | None:
    due = LeadImport.objects.filter(leasing.free(now), state__in=OPEN, due_at__lte=now)
    return due.order_by("due_at", "pk").first()


def _next_job(now: datetime) -> BulkJob | None:
    rows = BulkJob.objects.filter(leasing.free(now))
    due = rows.filter(state__in=BULK_OPEN, due_at__lte=now).order_by("due_at", "pk").first()
    return due or rows.filter(expires_at__lte=now).order_by("expires_at", "pk").first()


def _next_version(now: datetime) -> IcpVersion | None:
    # Scoring before sweeping; of two the one that was touched longest ago.
    free = _versions().filter(leasing.free(now))
    return free.order_by(F("published_at").asc(nulls_first=True), "pk").first()


def _work(
    name: str,
    find: Callable[[datetime], Work | None],
    lease: Callable[..., bool],
    do: Callable[[Work, str, Clock], None],
    next_at: Callable[[], datetime | None],
) -> None:
    clock = Clock()
    while not _over(clock):
        with scope.as_system("work on leads that is due"):
            row = find(clock.now())
        if row is None:
            return
        token = new_token()
        with scope.as_tenant(row.tenant_id):
            if lease(row, token=token, now=clock.now()):
                line = {"object": row._meta.model_name, "object_id": row.pk}
                logger.info("%s.works", queue.kind_of(name), extra=line)
                do(row, token, clock)
                logs.count(done=1)
    due = next_at()
    if due is not None and due <= clock.now() and not stopping():
        queue.enqueue(name)


def _over(clock: Clock) -> bool:
    return clock.elapsed() >= settings.SLICE_BUDGET_S or stopping()


def _import(row: LeadImport, token: str, clock: Clock) -> None:
    undoes = row.state == LeadImport.State.UNDOING
    chunk = undoing.undo_chunk if undoes else partial(intake.work_chunk, ahead=intake.Ahead())
    try:
        while not chunk(row, token=token, now=clock.now()):
            if _over(clock):
                # Due as of now: those who waited meanwhile come first.
                leasing.give_back(row, token=token, due_at=clock.now())
                return
    except LeaseLost:
        logger.warning("import.lease_lost import=%s", row.pk)
    except Exception:
        logger.exception("import.broken import=%s", row.pk)
        mend_connection()
        intake.put_off(row, token=token, now=clock.now())


def _rescore(row: IcpVersion, token: str, clock: Clock) -> None:
    scores = row.state == IcpVersion.State.SCORING
    chunk = rescoring.rescore_chunk if scores else rescoring.prune_chunk
    try:
        while not chunk(row, token=token, now=clock.now()):
            if _over(clock):
                break
        leasing.give_back(row, token=token)
    except LeaseLost:
        logger.warning("rescore.lease_lost version=%s", row.pk)
    except Exception:
        # The lease stays: when it ends, a worker tries again.
        logger.exception("rescore.broken version=%s", row.pk)


def _bulk(row: BulkJob, token: str, clock: Clock) -> None:
    try:
        while not bulk.step(row, token=token, now=clock.now()):
            if _over(clock):
                # Due as of now: those who waited meanwhile come first.
                leasing.give_back(row, token=token, due_at=clock.now())
                return
    except LeaseLost:
        logger.warning("bulk.lease_lost job=%s", row.pk)
    except Exception:
        logger.exception("bulk.broken job=%s", row.pk)
        mend_connection()
        bulk.put_off(row, token=token, now=clock.now())
