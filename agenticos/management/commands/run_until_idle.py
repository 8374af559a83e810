"""`run_until_idle`: work everything that is due in this process, for scripts and tests."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand

from agenticos import measures, scope
from agenticos.clock import Clock
from agenticos.queue import wake_ups, work


class Command(BaseCommand):
    help = "Work until nothing is due or becomes due in time; exit 1 if due work remains."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--timeout", type=float, default=300.0, help="seconds (300)")

    def handle(self, *args: Any, **options: Any) -> None:
        code = run(Clock(), options["timeout"])
        measures.flush()
        sys.exit(code)


def run(clock: Clock, timeout_s: float) -> int:
    """Work until idle: 0, or 1 when due work remains at the deadline.

    Sleeps to the next due row when that comes before the deadline.
    """
    deadline = clock.now() + timedelta(seconds=timeout_s)
    while True:
        next_at = _work_due(clock)
        if clock.now() >= deadline:
            return 1 if next_at is not None and next_at <= clock.now() else 0
        if next_at is None or next_at > deadline:
            return 0
        clock.sleep(min(max((next_at - clock.now()).total_seconds(), 0.0), 1.0))


def _work_due(clock: Clock) -> datetime | None:
    """Do every task that is due once; when the next one is due afterwards."""
    for task, next_at in wake_ups():
        due = next_at()
        if due is not None and due <= clock.now():
            with scope.as_nobody():
                work(task)
    return min((due for _, next_at in wake_ups() if (due := next_at())), default=None)
