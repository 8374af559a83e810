"""Time as the database tells it, so that all workers agree whatever their own clocks say."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from django.db import connection

# Counts through a suspended machine, unlike MONOTONIC on Linux. macOS has no BOOTTIME and its
# MONOTONIC counts sleep.
_COUNTING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


# "Due, since whenever": what a `next_…_at` function answers for work that waits already. Not the
# present time, which every caller's own "now" would be a moment behind.
OVERDUE = datetime(2000, 1, 1, tzinfo=UTC)


def counted() -> float:
    """Seconds that pass for everybody, also for a process that was frozen."""
    return time.clock_gettime(_COUNTING)


def database_now() -> datetime:
    """The database's time, aware. SQLite lives in this process, so there it is our own clock."""
    if connection.vendor != "postgresql":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


class Clock:
    """A slice's time: the database's when the slice began, plus what has passed since."""

    def __init__(self) -> None:
        self._began = database_now()
        self._mark = counted()

    def now(self) -> datetime:
        return self._began + timedelta(seconds=counted() - self._mark)

    def elapsed(self) -> float:
        """Seconds since this clock was made."""
        return counted() - self._mark

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
