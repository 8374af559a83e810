"""When something may be sent: windows, caps, pauses and back-off. Pure arithmetic on times.

Times are aware; days and hours are those of the zone passed in. Nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

MAX_BACK_OFF = timedelta(hours=1)
MIDNIGHT = time(23, 59, 59, 999999)  # the end of a day, as a closing time
DEFAULT_WINDOW = {"days": [0, 1, 2, 3, 4, 5], "from": "09:00", "to": "20:00"}


class BadWindow(ValueError):
    """The description of a sending window does not make sense."""


@dataclass(frozen=True, slots=True)
class Window:
    """Days of the week (0 is Monday) and the hours of the day in which messages may leave."""

    days: frozenset[int]
    opens: time
    closes: time

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Window | None:
        """The window a campaign stores; None, always open, for an empty one. Raises BadWindow."""
        if not data:
            return None
        try:
            days = frozenset(int(day) for day in data["days"])
            opens = time.fromisoformat(data["from"])
            closes = MIDNIGHT if data["to"] == "24:00" else time.fromisoformat(data["to"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadWindow('Expected {"days": [0-6], "from": "HH:MM", "to": "HH:MM"}.') from error
        if not days or not days <= set(range(7)) or opens >= closes:
            raise BadWindow(
                "A window needs a day (0-6, Monday first) and must open before it closes."
            )
        return cls(days, opens, closes)

    def is_open(self, local: datetime) -> bool:
        return local.weekday() in self.days and self.opens <= local.time() < self.closes

    def next_open(self, now: datetime, zone: ZoneInfo) -> datetime:
        """`now` while the window is open, else when it next opens, in UTC.

        An opening time that a change of clocks skips is moved forward by the skipped hour.

        >>> window = Window(frozenset({0}), time(9), time(20))
        >>> window.next_open(datetime(2026, 11, 22, 12, tzinfo=UTC), ZoneInfo("America/Sao_Paulo"))
        datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.timezone.utc)
        """
        local = now.astimezone(zone)
        if self.is_open(local):
            return now
        for ahead in range(8):
            day = local.date() + timedelta(days=ahead)
            opening = datetime.combine(day, self.opens, zone)
            if day.weekday() in self.days and opening.astimezone(UTC) > now:
                return opening.astimezone(UTC)
        raise BadWindow("This window never opens.")

    def next_close(self, now: datetime, zone: ZoneInfo) -> datetime:
        """When the window that is open at `now` closes, in UTC.

        A closing time that a change of clocks skips or repeats is the earlier of its two readings.

        >>> window = Window(frozenset({0}), time(9), time(20))
        >>> window.next_close(datetime(2026, 11, 23, 12, tzinfo=UTC), ZoneInfo("America/Sao_Paulo"))
        datetime.datetime(2026, 11, 23, 23, 0, tzinfo=datetime.timezone.utc)
        """
        closing = datetime.combine(now.astimezone(zone).date(), self.closes, zone)
        readings = (closing.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        return min((moment for moment in readings if moment > now), default=now)


def day_period(now: datetime, zone: ZoneInfo) -> str:
    """The name of the day, as `AccountUsage.period` stores it.

    >>> day_period(datetime(2026, 11, 22, 1, tzinfo=UTC), ZoneInfo("America/Sao_Paulo"))
    '2026-11-21'
    """
    return now.astimezone(zone).strftime("%Y-%m-%d")


def hour_period(now: datetime, zone: ZoneInfo) -> str:
    """The name of the clock hour, with the offset: the hour that repeats in autumn is two hours.

    >>> hour_period(datetime(2026, 11, 22, 1, tzinfo=UTC), ZoneInfo("America/Sao_Paulo"))
    '2026-11-21T22-0300'
    """
    return now.astimezone(zone).strftime("%Y-%m-%dT%H%z")


def next_day(now: datetime, zone: ZoneInfo) -> datetime:
    """When the next day of the zone begins, in UTC."""
    tomorrow = now.astimezone(zone).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), zone).astimezone(UTC)


def next_hour(now: datetime, zone: ZoneInfo) -> datetime:
    """When the next clock hour of the zone begins, in UTC."""
    local = now.astimezone(zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return now.astimezone(UTC) - past + timedelta(hours=1)


def unit(seed: str) -> float:
    """A number in [0, 1) that is always the same for a seed: chance that can be repeated."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass(frozen=True, slots=True)
class Pace:
    """An account's limits: messages a day and an hour, and the pause between two."""

    day_cap: int
    hour_cap: int
    gap_min_s: int
    gap_max_s: int
    jitter_percent: int

    @property
    def has_gap(self) -> bool:
        return self.gap_max_s > 0

    @property
    def mean_gap(self) -> timedelta:
        """The pause that is to be expected: the jitter goes both ways alike."""
        return timedelta(seconds=(self.gap_min_s + self.gap_max_s) / 2)

    @property
    def gap_deviation(self) -> timedelta:
        """The standard deviation of `gap`: an even draw between the bounds times an even jitter."""
        mean = (self.gap_min_s + self.gap_max_s) / 2
        spread = (self.gap_max_s - self.gap_min_s) ** 2 / 12
        jitter = (self.jitter_percent / 100) ** 2 / 3
        return timedelta(seconds=math.sqrt(spread * (1 + jitter) + mean**2 * jitter))

    def gap(self, seed: str) -> timedelta:
        """The pause after a message: between the bounds, then ± the jitter.

        Seeded by the message's key, so a forecast and the worker reckon with the same pause.
        """
        bare = self.gap_min_s + unit(seed + ":gap") * (self.gap_max_s - self.gap_min_s)
        jitter = 1 + (2 * unit(seed + ":jitter") - 1) * self.jitter_percent / 100
        return timedelta(seconds=bare * jitter)


def back_off(tries: int, seed: str) -> timedelta:
    """How long to wait after `tries` times "later": doubling from 2 s, at most an hour, ± half.

    >>> timedelta(seconds=1) <= back_off(1, "m") <= timedelta(seconds=3)
    True
    """
    bare = min(MAX_BACK_OFF.total_seconds(), 2.0 ** min(max(tries, 1), 12))
    return timedelta(seconds=bare * (0.5 + unit(f"{seed}:{tries}")))
