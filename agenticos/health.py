"""What monitors ask: is the process alive, and is all there that it needs to do its work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from django_q.models import OrmQ

from agenticos import outage
from agenticos.clock import database_now
from agenticos.models import WorkerBeat

WITHIN_S = 2.0
BEAT = timedelta(seconds=30)
RINGS_LATE = timedelta(minutes=2)


@login_not_required
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 while this process serves requests; asks nobody else."""
    return JsonResponse({"alive": True})


@login_not_required
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when all is there, else 503 with a reason for each part that is not."""
    failed = look()
    answer = {"ready": not failed, "failed": failed}
    return JsonResponse(
        answer, status=503 if failed else 200, headers={"Cache-Control": "no-store"}
    )


def look() -> dict[str, str]:
    """The reason for each part that fails; none when all is well. Takes two seconds at the most.

    A thread of its own asks, since a server that hangs cannot be left. At most one such thread
    waits at a time.
    """
    if outage.is_on():
        return {"database": "does not answer"}
    with _turn:
        probe = _Probe.under_way
        if probe is None or not probe.is_alive():
            probe = _Probe.under_way = _Probe()
            probe.start()
    probe.join(WITHIN_S)
    if probe.is_alive():
        return {"database": f"no answer within {WITHIN_S:.0f} s"}
    return probe.failed


_turn = threading.Lock()


class _Probe(threading.Thread):
    """Asks each part in turn."""

    under_way: _Probe | None = None

    def __init__(self) -> None:
        super().__init__(name="readyz", daemon=True)
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        try:
            with outage.patience(WITHIN_S):
                for name, check in CHECKS.items():
                    try:
                        reason = check()
                    except Exception as error:  # whatever it is: that part is not ready
                        reason = f"cannot be asked ({type(error).__name__})"
                    if reason:
                        self.failed[name] = reason
                        if name == "database":
                            return
        finally:
            connection.close()


def _database() -> str:
    database_now()
    return ""


_migrated = False


def _migrations() -> str:
    """Asked until all were applied once: this process's code does not change any more."""
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            return f"{len(plan)} not applied"
        _migrated = True
    return ""


def _broker() -> str:
    late = OrmQ.objects.filter(lock__lt=database_now() - RINGS_LATE).exists()
    return f"rings have been waiting for {RINGS_LATE.seconds} s and more" if late else ""


def _workers() -> str:
    living = WorkerBeat.objects.filter(stopped_at=None)
    seen = living.aggregate(seen=Max("seen_at"))["seen"]
    if seen is None:
        return "none has been started"
    age = database_now() - seen
    return f"no sign of life for {age.total_seconds():.0f} s" if age > BEAT else ""


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "workers": _workers,
}
