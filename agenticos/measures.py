"""Adds what each process counted to the running sums in the database.

A process keeps what it has not handed over yet; `flush` hands over the differences since the last
time, in one statement. A killed process loses what it counted since then (seconds). When it is
not known whether a statement was committed, what it carried is dropped: a sum may be a little
behind, and nothing is ever counted twice. Processes that fork count nothing before (a cluster's
sentinel, a server's master), or their children would hand it over again.
"""

from __future__ import annotations

import json
import threading
import time

from agenticos import meters, sql
from agenticos.models import Measure

EVERY_S = 5.0

Series = tuple[str, str]
_lock = threading.Lock()
_handed: dict[Series, float] = {}
_handed_at = time.monotonic()


def counted() -> dict[Series, float]:
    """Everything this process has counted since it began, by series."""
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for metric in meters.REGISTRY.collect()
        for sample in metric.samples
    }


def flush() -> int:
    """Hand over what was counted since the last time; return how many series moved."""
    global _handed_at
    with _lock:
        _handed_at = time.monotonic()
        now = counted()
        # A new series is handed over at nothing too: a histogram needs its empty buckets.
        rows = sorted(
            (*key, value - _handed.get(key, 0.0))
            for key, value in now.items()
            if value != _handed.get(key)
        )
        _handed.update(now)
    if rows:
        # Sorted, so that two processes that write at once wait in the same order.
        places = ", ".join(["(%s, %s, %s)"] * len(rows))
        sql.run(
            f"INSERT INTO agenticos_measure (name, labels, value) VALUES {places} "
            "ON CONFLICT (name, labels) DO UPDATE "
            "SET value = agenticos_measure.value + excluded.value",
            [value for row in rows for value in row],
        )
    return len(rows)


def flush_now_and_then() -> None:
    """Hand over when the last time is a while ago: for loops that take long."""
    if time.monotonic() - _handed_at > EVERY_S:
        flush()


def read_labels(text: str) -> dict[str, str]:
    """The labels of a series."""
    labels: dict[str, str] = json.loads(text)
    return labels


def stored() -> dict[Series, float]:
    """The sums of all processes."""
    rows = Measure.objects.values_list("name", "labels", "value")
    return {(name, labels): value for name, labels, value in rows}
