"""Whether anybody works: pages say so when the workers are silent while something is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max

from agenticos import queue, scope
from agenticos.models import WorkerBeat

SILENT_AFTER = timedelta(seconds=60)  # a supervisor beats every few seconds


@dataclass(frozen=True, slots=True)
class Silence:
    """No worker has shown itself for a while: `seen_at` is the last time, None for never."""

    seen_at: datetime | None


def silence(now: datetime) -> Silence | None:
    """The silence of the workers, when something is due that nobody takes up; else None.

    One query while they beat; only a silent system is asked what is due, as the tick would.
    """
    seen: datetime | None = WorkerBeat.objects.aggregate(seen=Max("seen_at"))["seen"]
    if seen is not None and seen > now - SILENT_AFTER:
        return None
    with scope.as_nobody():
        due = any((at := next_at()) is not None and at <= now for _, next_at in queue.wake_ups())
    return Silence(seen) if due else None
