"""Rings: small wake-ups that carry ids. Rows hold the truth; a lost ring costs seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string
from django_q.models import OrmQ
from django_q.tasks import async_task

from agenticos import leasing, limits, scope
from agenticos.models import WorkerBeat

LIFE_EVERY_S = 10.0
# Slices that are awake take what becomes due; only what they left lying is somebody's business.
GRACE = timedelta(seconds=1)
NextAt = Callable[[], datetime | None]


def enqueue(task: str, *ids: int) -> None:
    """Ring for `task`, a dotted path, in the tenant scope in force (or none).

    The ring is a row on the same database: inside a transaction it commits, or vanishes, with
    the caller's own rows.
    """
    now = scope.current()
    async_task(
        "agenticos.queue.run", task, now.tenant_id if now else None, *ids, task_name=task[:100]
    )


def run(task: str, tenant_id: int | None, *ids: int) -> None:
    """What a worker calls: enter the ring's tenant, then do the task. Returns nothing to store."""
    if leasing.stopping():
        return  # rows say what is due; the next worker's tick rings again
    _show_life()
    with scope.as_nobody(), limits.within(limits.TASK):
        if tenant_id is None:
            import_string(task)(*ids)
        else:
            with scope.as_tenant(tenant_id):
                import_string(task)(*ids)


_shown_at = 0.0


def _show_life() -> None:
    """Note that a task came through the whole queue, so that a dead-locked cluster stands out."""
    global _shown_at
    if leasing.OWNER_VARIABLE in os.environ and time.monotonic() - _shown_at > LIFE_EVERY_S:
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
