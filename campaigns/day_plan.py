"""How much an account can send on one day of a campaign, and which of its limits says so. Pure.

What it uses today is not asked: this is the plan before the start. `capacity` looks at an account
as it stands now, `forecast` plans from now on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from campaigns import pacing
from campaigns.codes import Code

DAY_HOURS: Final = 24.0


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Messages on one open day, and the code of the limit that binds."""

    per_day: int
    binding: str


def hours_of(window: dict[str, Any]) -> float:
    """How many hours a stored window is open on one of its days.

    >>> hours_of({"days": [0], "from": "09:00", "to": "20:30"}), hours_of({})
    (11.5, 24.0)
    """
    hours = pacing.Window.from_json(window)
    if hours is None:
        return DAY_HOURS
    day = datetime(2000, 1, 1)  # noqa: DTZ001 - two times of one day, no moment
    span = datetime.combine(day, hours.closes) - datetime.combine(day, hours.opens)
    return span.total_seconds() / 3600


def of_account(pace: pacing.Pace, hours: float) -> DayPlan:
    """The least of the day cap, the hour caps of the open hours, and the pauses in them.

    >>> of_account(pacing.Pace(50, 10, 60, 90, 15), 11.0)
    DayPlan(per_day=50, binding='account_daily_cap')
    >>> of_account(pacing.Pace(50, 10, 60, 90, 15), 2.0).per_day
    20
    """
    pause = (pace.gap_min_s + pace.gap_max_s) / 2
    limits = [
        (pace.day_cap, Code.ACCOUNT_DAILY_CAP),
        (int(pace.hour_cap * hours), Code.ACCOUNT_HOURLY_CAP),
    ]
    if pause:
        limits.append((int(hours * 3600 / pause), Code.MINIMUM_GAP))
    number, code = min(limits, key=lambda limit: limit[0])
    return DayPlan(number, str(code))


def together(plans: Iterable[DayPlan], caps: Iterable[int] = ()) -> int:
    """Messages on one open day through all of these accounts, under the `caps` above theirs.

    >>> together([DayPlan(50, ""), DayPlan(50, "")], [80])
    80
    """
    return min([sum(plan.per_day for plan in plans), *caps])


def days_for(people: int, per_day: int) -> int:
    """How many open days it takes; 0 when nothing can be sent.

    >>> days_for(120, 50), days_for(5, 0)
    (3, 0)
    """
    return -(-people // per_day) if per_day else 0
