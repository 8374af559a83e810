"""Days that are like others need not be planned again.

Once a campaign has settled down, each of its days, or each of its weeks where it rests on some,
is the same as the one before: the same senders, as far as they were then, at the same hours. Then
the messages of that time are copied as often as it surely repeats, and the clock is put forward. A
year takes the steps of a few weeks; what is found is the same to the message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from campaigns.planner import Planner

DAY: Final = timedelta(days=1)


class _Seen(NamedTuple):
    """A day's beginning: how all stood; so many runs, messages, and what is left of the others."""

    picture: tuple[Any, ...]
    runs: int
    planned: int
    left: tuple[int, ...]


class Rhythm:
    """What a plan looked like at the beginning of each day that it came by."""

    def __init__(self, planner: Planner, stop: datetime) -> None:
        self.planner, self.stop = planner, stop
        campaign = planner.inputs.campaign
        self.zone = campaign.zone
        self.zones = {self.zone, *(sender.facts.zone for sender in planner.inputs.senders)}
        rests = campaign.window is not None and len(campaign.window.days) < 7
        self.period = 7 * DAY if rests else DAY
        self.seen: dict[date, _Seen] = {}

    def skip(self) -> None:
        """At the beginning of a day: put the clock forward by as many periods as surely repeat."""
        planner = self.planner
        if not planner.new_day:
            return
        moment = planner.queue[0][0]
        today = moment.astimezone(self.zone).date()
        picture = tuple(self._picture(datetime.combine(today, time(), self.zone)))
        now = _Seen(picture, len(planner.runs), planner.planned, tuple(planner.left))
        then = self.seen.get(today - self.period)
        self.seen[today] = now
        if then is None or then.picture != now.picture:
            return
        times = self._times(moment, then, now)
        if times < 1:
            return
        shifts = [number * self.period for number in range(1, times + 1)]
        planner.runs += [
            replace(run, start=run.start + shift, day=run.day + shift)
            for shift in shifts
            for run in planner.runs[then.runs :]
        ]
        planner.planned += times * (now.planned - then.planned)
        for number, (before, left) in enumerate(zip(then.left, now.left, strict=True)):
            planner.left[number] -= times * (before - left)
        planner.put_forward(shifts[-1])

    def _picture(self, midnight: datetime) -> Iterator[tuple[Any, ...]]:
        """Who is looked at when, and how each will stand then, all of it told from midnight on."""
        yield tuple(left > 0 for left in self.planner.left)
        for moment, _order, team in sorted(self.planner.queue, key=lambda entry: entry[:2]):
            day_ends, hour_ends, facts = team.at(moment)
            yield (
                moment - midnight,
                team.places,
                team.turn,
                day_ends - midnight,
                hour_ends - midnight,
                facts.free_at and facts.free_at - midnight,
                facts.used_day,
                facts.used_hour,
                facts.slowed,
            )

    def _times(self, moment: datetime, then: _Seen, now: _Seen) -> int:
        """How often the last period repeats: not into the last message, ours or of another
        campaign that takes turns, nor across a change of the clocks, nor beyond the horizon.
        """
        each = now.planned - then.planned
        left = self.planner.inputs.messages - now.planned
        if not each or left <= each:
            return 0
        times = min((left - 1) // each, (self.stop - moment) // self.period)
        for had, has in zip(then.left, now.left, strict=True):
            if has > 0 and had > has:
                times = min(times, (has - 1) // (had - has) - 1)
        # As far as anything is waited for already, the clocks must not change either. A change
        # stays for weeks, so a day shows it.
        ends = max(max(when, team.day_ends, team.hour_ends) for when, _, team in self.planner.queue)
        days = -((moment - ends - self.period) // DAY)
        before = self._offsets(moment - self.period)
        for number in range(1, times + 1):
            here = moment + (number - 1) * self.period
            if any(self._offsets(here + day * DAY) != before for day in range(days + 1)):
                return number - 1
        return times

    def _offsets(self, moment: datetime) -> list[timedelta | None]:
        return [moment.astimezone(zone).utcoffset() for zone in self.zones]
