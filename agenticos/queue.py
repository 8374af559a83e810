"""Rings: small wake-ups that carry ids. Rows hold the truth; a lost ring costs seconds."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from django_q.tasks import async_task
from structlog.contextvars import get_contextvars

from agenticos import leasing, logs, measures, meters, scope, timeouts
from agenticos.models import WorkerBeat

logger = logging.getLogger(__name__)

LIFE_EVERY_S = 10.0
# Slices that are awake take what becomes due; only what they left lying is somebody's business.
GRACE = timedelta(seconds=1)
NextAt = Callable[[], datetime | None]


class TaskBroken(Exception):
    """A task ended with an exception, which has been logged."""


def enqueue(task: str, *ids: int) -> None:
    """Ring for `task`, a dotted path, in the tenant scope in force (or none).

    The ring is a row on the same database: inside a transaction it commits, or vanishes, with
    the caller's own rows.
    """
    now = scope.current()
    options = {"woken_by": request} if (request := _asked_by(task)) else {}
    async_task(
        "agenticos.queue.run",
        task,
        now.tenant_id if now else None,
        *ids,
        task_name=task[:100],
        **options,
    )


def _asked_by(task: str) -> str:
    """The request that this ring goes back to; a task that rings for itself ends the chain, or
    slices of next week would still name today's click."""
    bound = get_contextvars()
    if bound.get("task") == kind_of(task):
        return ""
    return str(bound.get("request_id") or bound.get("woken_by") or "")


def run(task: str, tenant_id: int | None, *ids: int, woken_by: str = "") -> None:
    """What a worker calls: enter the ring's tenant, then do the task. Returns nothing to store."""
    if leasing.stopping():
        return  # rows say what is due; the next worker's tick rings again
    _show_life()
    try:
        with (
            timeouts.within(timeouts.TASK),
            scope.as_nobody() if tenant_id is None else scope.as_tenant(tenant_id),
        ):
            work(task, *ids, woken_by=woken_by)
    except Exception:
        # The broker keeps, and logs, what it catches: a row's words have no place there.
        raise TaskBroken(f"{kind_of(task)} failed; the log says how") from None
    finally:
        if in_worker():
            measures.flush()


def work(task: str, *ids: int, woken_by: str = "") -> None:
    """Do a task, with its ids on every line it writes, one line about it, and its time taken."""
    kind = kind_of(task)
    began = time.perf_counter()
    ends = logging.DEBUG if kind == "echo" else logging.INFO
    logs.clear_contextvars()
    with (
        logs.bound(task=kind, task_id=secrets.token_hex(4), woken_by=woken_by),
        logs.tallied() as tally,
    ):
        try:
            import_string(task)(*ids)
        except Exception:
            meters.SLICES_BROKEN.labels(kind).inc()
            logger.exception("slice.broken")
            raise
        finally:
            seconds = time.perf_counter() - began
            meters.SLICE.labels(kind).observe(seconds)
            logger.log(ends, "slice", extra={"kind": kind, "ms": round(seconds * 1000), **tally})


def kind_of(task: str) -> str:
    """The short name of a task, for logs and metrics.

    >>> kind_of("campaigns.tasks.send_slice")
    'send'
    """
    return task.rpartition(".")[2].removesuffix("_slice")


def in_worker() -> bool:
    """Whether this process was started by the supervisor."""
    return leasing.OWNER_VARIABLE in os.environ


_shown_at = 0.0


def _show_life() -> None:
    """Note that a task came through the whole queue, so that a dead-locked cluster stands out."""
    global _shown_at
    if in_worker() and time.monotonic() - _shown_at > LIFE_EVERY_S:
        _shown_at = time.monotonic()
        WorkerBeat.objects.filter(owner=leasing.owner()).update(echoed_at=timezone.now())


def echo() -> None:
    """Does nothing: that a worker ran it is the news."""


def ring_again() -> int:
    """Offer every ring that a worker has taken and not finished once more; return how many.

    For a supervisor whose workers died with rings in hand. Rings of living workers come twice by
    it, which does no harm: rows say what is due.
    """
    now = timezone.now()
    return int(OrmQ.objects.filter(lock__gt=now).update(lock=now))


def rings_wait(since: datetime) -> bool:
    """Whether a ring has been waiting since then and no worker has taken it."""
    return bool(OrmQ.objects.filter(lock__lte=since).exists())


def waiting() -> set[str]:
    """The tasks that have been rung for and that no worker has begun."""
    names = set()
    for ring in OrmQ.objects.filter(lock__lte=timezone.now())[:100]:
        package = ring.task
        names.add(str(package["args"][0]) if package.get("args") else "")
    return names


def wake_ups() -> list[tuple[str, NextAt]]:
    """Each recurring task, and the function that says when it next has something to do."""
    return [(task, import_string(due)) for task, due in settings.WAKE_UPS.items()]


def others_due(task: str, now: datetime) -> bool:
    """Whether any other task has had work for a moment that no worker took up.

    A slice that only sleeps then makes room.
    """
    with scope.as_nobody():
        return any(
            (due := next_at()) is not None and due <= now - GRACE
            for other, next_at in wake_ups()
            if other != task
        )
