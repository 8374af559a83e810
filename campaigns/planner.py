"""The single pass of a forecast: accounts step from gate to gate until the messages are spent.

Where `gates.gate` allows, an account sends as many as its caps, its hour and the window leave room
for, at its mean pause; where it says wait, it is looked at again when the wait is over. Accounts
that stand alike go on as one. So a plan costs hours × kinds of accounts, whatever the number of
messages. Nothing is drawn by chance: the same facts give the same plan. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from campaigns import pacing
from campaigns.codes import Code
from campaigns.gates import ALLOW, AccountFacts, CampaignFacts, DayCap, Facts, gate
from campaigns.rhythm import Rhythm

# Nobody plans further: beyond it a plan has no finish.
HORIZON: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Sender:
    """An account by name, as it stands now."""

    name: str
    facts: AccountFacts


@dataclass(frozen=True, slots=True)
class Rival:
    """Another running campaign: how much it has left, and which of the senders it shares.

    One that shares none counts where the tenant has a cap of the day.
    """

    messages: int
    senders: frozenset[int]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a plan follows from; `campaign` as it would be while it runs."""

    now: datetime
    messages: int
    campaign: CampaignFacts
    senders: tuple[Sender, ...]
    rivals: tuple[Rival, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """`count` messages of each of these senders: the first at `start`, then one every `gap`."""

    senders: tuple[int, ...]
    start: datetime
    gap: timedelta
    count: int
    day: date

    @property
    def end(self) -> datetime:
        return self.start + self.gap * (self.count - 1)

    @property
    def total(self) -> int:
        return self.count * len(self.senders)

    def until(self, moment: datetime) -> int:
        """How many of each sender have left by `moment`, that moment included."""
        if moment < self.start:
            return 0
        if not self.gap:
            return self.count
        return min(self.count, (moment - self.start) // self.gap + 1)

    def until_is(self, moment: datetime | None) -> bool:
        """Whether one of its messages leaves at that very moment."""
        if moment is None or not self.start <= moment <= self.end:
            return False
        return not self.gap or not (moment - self.start) % self.gap


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass found; `finish` is None when it is not done within the horizon."""

    runs: tuple[Run, ...]
    finish: datetime | None
    planned: int
    # Which senders waited for which gate, by their place in the inputs.
    waited: dict[Code, frozenset[int]]

    @property
    def first(self) -> datetime | None:
        return min((run.start for run in self.runs), default=None)

    def shares(self) -> list[tuple[int, date, int]]:
        """How many messages leave of which sender on which day, run by run."""
        found = []
        last = self.finish
        for run in self.runs:
            count = run.until(last) if last else run.count
            found += [(place, run.day, count) for place in run.senders if count]
        # Several may leave at the very last moment, of which not all are ours to send.
        surplus = sum(count for _, _, count in found) - self.planned
        final = [(run, place) for run in self.runs if run.until_is(last) for place in run.senders]
        for run, place in final[::-1]:
            less = min(surplus, 1 if run.gap else run.count)
            if less <= 0:
                break
            found.append((place, run.day, -less))
            surplus -= less
        return found


@dataclass(slots=True)
class Team:
    """Senders that stand alike, and so go on alike: what each has used of its day and its hour."""

    places: tuple[int, ...]
    facts: AccountFacts
    rivals: tuple[int, ...]  # who shares them
    gap: timedelta
    day_ends: datetime
    hour_ends: datetime
    turn: int = 0  # whose turn it is among the campaigns that share it; 0 is ours

    def at(self, now: datetime) -> tuple[datetime, datetime, AccountFacts]:
        """The ends of day and hour, and how it stands: new ones begin with nothing used."""
        facts, day_ends, hour_ends = self.facts, self.day_ends, self.hour_ends
        used_day, used_hour, free_at = facts.used_day, facts.used_hour, facts.free_at
        if now >= day_ends:
            used_day, day_ends = 0, pacing.next_day(now, facts.zone)
        if now >= hour_ends:
            used_hour, hour_ends = 0, pacing.next_hour(now, facts.zone)
        if free_at and free_at <= now:
            free_at = None
        return day_ends, hour_ends, _standing(facts, free_at, used_day, used_hour)

    def arrive(self, now: datetime) -> None:
        """Be at `now`."""
        self.day_ends, self.hour_ends, self.facts = self.at(now)

    def put_forward(self, by: timedelta) -> None:
        """Be as much later, and otherwise as now."""
        facts = self.facts
        free_at = facts.free_at and facts.free_at + by
        self.facts = _standing(facts, free_at, facts.used_day, facts.used_hour)
        self.day_ends += by
        self.hour_ends += by

    def send(self, count: int, last: datetime) -> datetime:
        """Note that `count` of each left, the last one then; when to ask again."""
        facts, free_at = self.facts, last + self.gap
        self.facts = _standing(facts, free_at, facts.used_day + count, facts.used_hour + count)
        return free_at

    @property
    def key(self) -> tuple[object, ...]:
        """Teams with the same key are one."""
        return (self.facts, self.rivals, self.turn, self.day_ends, self.hour_ends)


def _standing(
    facts: AccountFacts, free_at: datetime | None, used_day: int, used_hour: int
) -> AccountFacts:
    """The same account at another time; `dataclasses.replace` is five times as slow."""
    slowed = facts.slowed and free_at is not None
    return AccountFacts(
        facts.state,
        facts.block_code,
        free_at,
        facts.pace,
        used_day,
        used_hour,
        facts.zone,
        slowed,
    )


class Planner:
    """One pass: teams in the order in which they are to be looked at."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.left = [rival.messages for rival in inputs.rivals]
        # Rivals on no sender of ours share the tenant's cap alone.
        self.elsewhere = [n for n, rival in enumerate(inputs.rivals) if not rival.senders]
        self.runs: list[Run] = []
        self.waited: dict[Code, set[int]] = {}
        self.planned = 0
        self.day = date.min
        self.day_ends: datetime | None = None  # of the day that is counted, in the tenant's zone
        self.campaign = inputs.campaign  # as it stands by now: its day's caps and their use
        self._order = 0
        self.queue: list[tuple[datetime, int, Team]] = []
        now = inputs.now
        for place, sender in enumerate(inputs.senders):
            facts = sender.facts
            if facts.pace.day_cap and facts.pace.hour_cap:
                team = Team(
                    places=(place,),
                    facts=facts,
                    rivals=tuple(
                        number for number, one in enumerate(inputs.rivals) if place in one.senders
                    ),
                    gap=facts.pace.mean_gap,
                    day_ends=pacing.next_day(now, facts.zone),
                    hour_ends=pacing.next_hour(now, facts.zone),
                )
                self.put(now, team)

    @property
    def next_at(self) -> datetime | None:
        return self.queue[0][0] if self.queue else None

    @property
    def new_day(self) -> bool:
        """Whether the next one that is looked at begins a day, and not the first one."""
        return bool(self.day_ends and self.queue and self.queue[0][0] >= self.day_ends)

    def put_forward(self, by: timedelta) -> None:
        """Be as much later, and otherwise as now; the order in the queue stays."""
        for _moment, _order, team in self.queue:
            team.put_forward(by)
        self.queue = [(moment + by, order, team) for moment, order, team in self.queue]
        self.day += by
        if self.day_ends:
            self.day_ends += by

    def put(self, moment: datetime, team: Team) -> None:
        self._order += 1
        heapq.heappush(self.queue, (moment, self._order, team))

    def step(self) -> datetime:
        """Let all whose time has come go on; what time that is."""
        now = self.queue[0][0]
        teams: dict[tuple[object, ...], Team] = {}
        while self.queue and self.queue[0][0] == now:
            team = heapq.heappop(self.queue)[2]
            team.arrive(now)
            if other := teams.get(team.key):
                other.places += team.places
            else:
                teams[team.key] = team
        for team in teams.values():
            if again := self._go(team, now):
                self.put(again, team)
        return now

    def _go(self, team: Team, now: datetime) -> datetime | None:
        """Ask the gates and send what they allow; when to ask again, None when never."""
        if self.day_ends is None or now >= self.day_ends:
            self._begin_day(now)
        campaign = self.campaign
        decision = gate(Facts(campaign=campaign, account=team.facts), now)
        if decision is not ALLOW:
            if decision.code:
                self.waited.setdefault(decision.code, set()).update(team.places)
            return decision.until
        # Until the next gate may close: the account's hour, the window, the day that is counted.
        ends = min(team.hour_ends, team.day_ends, self.day_ends or team.day_ends)
        if campaign.window:
            ends = min(ends, campaign.window.next_close(now, campaign.zone))
        count = team.facts.room
        if team.gap:
            count = min(count, max(1, -((now - ends) // team.gap)))
        if campaign.tenant_day or campaign.campaign_day:
            count = self._within_caps(team, now, count)
        self._take(team, now, count)
        return team.send(count, now + team.gap * (count - 1))

    def _begin_day(self, now: datetime) -> None:
        """A new day of the tenant's zone: nothing is used of its caps."""
        campaign = self.campaign
        if self.day_ends is not None and (campaign.tenant_day or campaign.campaign_day):
            whole, own = campaign.tenant_day, campaign.campaign_day
            self.campaign = replace(
                campaign,
                tenant_day=whole and replace(whole, used=0),
                campaign_day=own and replace(own, used=0),
            )
        self.day = now.astimezone(campaign.zone).date()
        self.day_ends = pacing.next_day(now, campaign.zone)

    def _within_caps(self, team: Team, now: datetime, count: int) -> int:
        """How many of `count` of each sender the day's caps still allow, at least one.

        Where not even one of each is left, the senders that get none part from the team.
        """
        whole, own = self.campaign.tenant_day, self.campaign.campaign_day
        places = len(team.places)
        if whole:
            places = min(places, self._share_of(whole))
        if own:
            places = min(places, own.room)
        if places < len(team.places):
            self.put(now, replace(team, places=team.places[places:]))
            team.places = team.places[:places]
        if whole:
            count = min(count, self._share_of(whole) // places)
        if own:
            # Of what the senders send, only every so manieth message is this campaign's.
            takers = 1 + sum(self.left[number] > 0 for number in team.rivals)
            count = min(count, own.room // places * takers)
        return count

    def _share_of(self, whole: DayCap) -> int:
        """What is left of the tenant's day for this campaign and those that share its senders."""
        others = sum(self.left[number] > 0 for number in self.elsewhere)
        return max(1, whole.room // (1 + others))

    def _use(self, ours: int, everybody: int) -> None:
        """Note what leaves of the day's caps: the tenant's counts all its campaigns."""
        campaign = self.campaign
        whole, own = campaign.tenant_day, campaign.campaign_day
        if not (whole or own):
            return
        for number in self.elsewhere:
            theirs = min(self.left[number], ours)
            self.left[number] -= theirs
            everybody += theirs
        self.campaign = replace(
            campaign,
            tenant_day=whole and replace(whole, used=whole.used + everybody),
            campaign_day=own and replace(own, used=own.used + ours),
        )

    def _take(self, team: Team, now: datetime, count: int) -> None:
        """Of each sender's next `count` turns, ours: the campaigns that share it take turns."""
        sharing = [number for number in team.rivals if self.left[number] > 0]
        takers = 1 + len(sharing)
        skip = -team.turn % takers
        ours = max(0, -(-(count - skip) // takers))
        team.turn = (team.turn + count) % takers
        for number in sharing:
            self.left[number] -= -(-(count - ours) // len(sharing)) * len(team.places)
        self._use(ours * len(team.places), count * len(team.places))
        if ours:
            run = Run(team.places, now + team.gap * skip, team.gap * takers, ours, self.day)
            self.runs.append(run)
            self.planned += run.total


def plan(inputs: Inputs) -> Plan:
    """Let every sender go from gate to gate until the messages are spent."""
    planner = Planner(inputs)
    finish: datetime | None = None
    tail: _Tail | None = None
    stop = inputs.now + HORIZON
    rhythm = Rhythm(planner, stop)
    while (moment := planner.next_at) and moment <= (finish or stop):
        if finish is None:
            rhythm.skip()
        moment = planner.step()
        if planner.planned >= inputs.messages:
            tail = tail or _Tail.of(planner, moment)
            finish = tail.moment_of(inputs.messages, planner.runs)
    return Plan(
        runs=tuple(planner.runs),
        finish=finish,
        planned=min(planner.planned, inputs.messages),
        waited={code: frozenset(places) for code, places in planner.waited.items()},
    )


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a plan. Until `since` there were too few messages, so the last one is later."""

    since: datetime
    before: int  # messages of runs that were over by then
    over: int  # so many runs

    @classmethod
    def of(cls, planner: Planner, since: datetime) -> _Tail:
        planner.runs.sort(key=lambda run: run.end)
        over = [run.total for run in planner.runs if run.end < since]
        return cls(since, sum(over), len(over))

    def moment_of(self, number: int, runs: Sequence[Run]) -> datetime:
        """When message `number` leaves, of runs that hold at least so many."""
        runs = runs[self.over :]
        low, high = self.since, max(run.end for run in runs)
        tick = timedelta(microseconds=1)
        while low < high:
            middle = low + (high - low) // tick // 2 * tick
            if self.before + sum(run.until(middle) * len(run.senders) for run in runs) >= number:
                high = middle
            else:
                low = middle + tick
        return low
