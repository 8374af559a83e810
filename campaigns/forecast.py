"""When a campaign will be done, what holds it up, and what would change that. Pure.

The plan itself is `planner.plan`, which asks the worker's own gates. Here it is asked several
times: as things stand, carefully (p90), with one limit lifted after the other (the bottleneck is
the limit whose lifting gains most), and under the circumstances of a "what if".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from campaigns import pacing
from campaigns.codes import Code
from campaigns.gates import AccountFacts
from campaigns.planner import HORIZON, Inputs, Plan, Sender, plan

# The careful plan (p90): one message in ten needs a second turn, and the pauses come out long.
SECOND_TURNS: Final = 0.10
P90_DEVIATIONS: Final = 1.2816
UNLIMITED: Final = 10**9
ENOUGH_DAYS: Final = 10  # of sending tell what holds a campaign up
# A limit whose lifting gains less is no bottleneck worth naming.
WORTH_NAMING: Final = timedelta(minutes=1)
NO_PAUSE: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a campaign is done, what holds it up, and what leaves on which day and from whom.

    `never` says why nothing would ever be sent; then the rest is empty. Times are None without a
    finish within `HORIZON`.
    """

    messages: int
    never: Code | None = None
    first: datetime | None = None
    p50: datetime | None = None
    p90: datetime | None = None
    days: tuple[tuple[date, int], ...] = ()
    by_sender: tuple[tuple[str, int], ...] = ()
    bottleneck: Code | None = None
    holding: tuple[str, ...] = ()  # the senders that the bottleneck holds up


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Changed circumstances; None leaves them as they are."""

    senders: int | None = None
    day_cap: int | None = None
    hours: int | None = None  # that the window is open a day

    @property
    def changes(self) -> bool:
        return any(value is not None for value in (self.senders, self.day_cap, self.hours))


def forecast(inputs: Inputs) -> Forecast:
    """Plan what is left of a campaign: likely and careful finish, days, and the bottleneck."""
    never = why_never(inputs)
    if never or not inputs.messages:
        return Forecast(inputs.messages, never)
    likely = plan(inputs)
    days: Counter[date] = Counter()
    senders: Counter[str] = Counter()
    for place, day, count in likely.shares():
        days[day] += count
        senders[inputs.senders[place].name] += count
    bottleneck = _bottleneck(inputs, likely, days)
    holding = likely.waited.get(bottleneck, frozenset()) if bottleneck else frozenset()
    return Forecast(
        messages=inputs.messages,
        first=likely.first,
        p50=likely.finish,
        p90=plan(_careful(inputs)).finish if likely.finish else None,
        days=tuple(sorted(days.items())),
        by_sender=tuple(sorted(senders.items())),
        bottleneck=bottleneck,
        holding=tuple(inputs.senders[place].name for place in sorted(holding)),
    )


def why_never(inputs: Inputs) -> Code | None:
    """Why not one message would ever leave, whatever the hour; None when some would."""
    if inputs.campaign.tenant_stopped:
        return Code.TENANT_STOP
    able = [sender.facts for sender in inputs.senders if sender.facts.state == "active"]
    if not able:
        return Code.NO_ELIGIBLE_ACCOUNT
    if not any(facts.pace.day_cap for facts in able):
        return Code.ACCOUNT_DAILY_CAP
    if not any(facts.pace.day_cap and facts.pace.hour_cap for facts in able):
        return Code.ACCOUNT_HOURLY_CAP
    for day, code in (
        (inputs.campaign.tenant_day, Code.TENANT_CAP),
        (inputs.campaign.campaign_day, Code.CAMPAIGN_CAP),
    ):
        if day is not None and not day.cap:
            return code
    return None


def changed(inputs: Inputs, what_if: WhatIf) -> Inputs:
    """The inputs under other circumstances.

    Fewer senders: those with most room today. More: copies of the last that may send, fresh.
    """
    senders, rivals, campaign = inputs.senders, inputs.rivals, inputs.campaign
    if what_if.senders is not None:
        able = [place for place, one in enumerate(senders) if one.facts.state == "active"]
        able.sort(key=lambda place: -senders[place].facts.room)
        kept = able[: what_if.senders]
        model = senders[able[-1]].facts if able else _fresh_facts(campaign.zone)
        fresh = replace(model, free_at=None, used_day=0, used_hour=0, slowed=False)
        more = range(1, what_if.senders - len(able) + 1)
        senders = (
            *(senders[place] for place in kept),
            *(Sender(f"+{number}", fresh) for number in more),
        )
        rivals = tuple(
            replace(rival, senders=frozenset(map(kept.index, rival.senders & set(kept))))
            for rival in rivals
        )
    if (cap := what_if.day_cap) is not None:
        senders = tuple(_with_pace(sender, day_cap=cap) for sender in senders)
    if what_if.hours is not None:
        campaign = replace(campaign, window=open_for(campaign.window, what_if.hours))
    return replace(inputs, senders=senders, campaign=campaign, rivals=rivals)


def open_for(window: pacing.Window | None, hours: int) -> pacing.Window | None:
    """The same days and, where the day is long enough, the same opening time, for `hours` a day."""
    days = window.days if window else frozenset(range(7))
    if hours >= 24:
        return replace(window, opens=time(), closes=pacing.MIDNIGHT) if window else None
    opens = window.opens if window else time(9)
    minutes = opens.hour * 60 + opens.minute
    minutes = min(minutes, (24 - hours) * 60)
    closes = minutes + hours * 60
    end = pacing.MIDNIGHT if closes == 24 * 60 else time(closes // 60, closes % 60)
    return pacing.Window(days, time(minutes // 60, minutes % 60), end)


def hours_of(window: pacing.Window | None) -> int:
    """How long a window is open a day, in whole hours, at least one."""
    if window is None:
        return 24
    minutes = (window.closes.hour - window.opens.hour) * 60
    minutes += window.closes.minute - window.opens.minute + (window.closes == pacing.MIDNIGHT)
    return max(1, round(minutes / 60))


# --- Careful, and what if -----------------------------------------------------------------------


def _careful(inputs: Inputs) -> Inputs:
    """The inputs of the careful plan: second turns, and pauses as long as nine sums in ten."""
    each = max(1, inputs.messages // max(1, len(inputs.senders)))
    slow = P90_DEVIATIONS / each**0.5
    senders = []
    for sender in inputs.senders:
        pace = sender.facts.pace
        longer = pace.mean_gap.total_seconds() + slow * pace.gap_deviation.total_seconds()
        senders.append(_with_pace(sender, gap_min_s=round(longer), gap_max_s=round(longer)))
    messages = inputs.messages + max(1, round(inputs.messages * SECOND_TURNS))
    return replace(inputs, messages=messages, senders=tuple(senders))


def _bottleneck(inputs: Inputs, likely: Plan, days: Mapping[date, int]) -> Code | None:
    """The limit whose lifting alone would bring the finish forward most; None when none would."""
    # What holds up a long campaign shows in its first weeks.
    if len(days) > ENOUGH_DAYS:
        few = sum(days[day] for day in sorted(days)[:ENOUGH_DAYS])
        inputs = replace(inputs, messages=few)
        likely = plan(inputs)
    best = _rank(inputs, likely, WORTH_NAMING)
    found: Code | None = None
    # The pause and the turns hold up within a step, so nobody was seen to wait for them.
    asked = {*likely.waited, Code.MINIMUM_GAP, Code.FAIR_SHARE_TURN}
    for code in _LIFTED:
        lifted = _lift(inputs, code) if code in asked else inputs
        if lifted == inputs:
            continue
        rank = _rank(inputs, plan(lifted), NO_PAUSE)
        if rank < best:
            best, found = rank, code
    return found


def _rank(inputs: Inputs, found: Plan, bonus: timedelta) -> tuple[datetime, int]:
    """Earlier is less; without a finish, more within the horizon is less."""
    late = inputs.now + 2 * HORIZON
    return (found.finish - bonus if found.finish else late, -found.planned)


# In the order in which one of equals is named.
_LIFTED: Final = (
    Code.ACCOUNT_DAILY_CAP,
    Code.ACCOUNT_HOURLY_CAP,
    Code.CAMPAIGN_CAP,
    Code.TENANT_CAP,
    Code.OUTSIDE_WINDOW,
    Code.MINIMUM_GAP,
    Code.FAIR_SHARE_TURN,
)


def _lift(inputs: Inputs, code: Code) -> Inputs:
    """The inputs without one of their limits."""
    if code is Code.FAIR_SHARE_TURN:
        return replace(inputs, rivals=())
    if code is Code.OUTSIDE_WINDOW:
        return replace(inputs, campaign=replace(inputs.campaign, window=None))
    if code is Code.CAMPAIGN_CAP:
        return replace(inputs, campaign=replace(inputs.campaign, campaign_day=None))
    if code is Code.TENANT_CAP:
        return replace(inputs, campaign=replace(inputs.campaign, tenant_day=None))
    pace = {
        Code.ACCOUNT_DAILY_CAP: {"day_cap": UNLIMITED},
        Code.ACCOUNT_HOURLY_CAP: {"hour_cap": UNLIMITED},
        Code.MINIMUM_GAP: {"gap_min_s": 0, "gap_max_s": 0},
    }[code]
    return replace(inputs, senders=tuple(_with_pace(sender, **pace) for sender in inputs.senders))


def _with_pace(sender: Sender, **pace: int) -> Sender:
    facts = sender.facts
    return replace(sender, facts=replace(facts, pace=replace(facts.pace, **pace)))


def _fresh_facts(zone: ZoneInfo) -> AccountFacts:
    """An account with the usual limits, for a "what if" of a campaign that has none."""
    pace = pacing.Pace(day_cap=50, hour_cap=10, gap_min_s=60, gap_max_s=90, jitter_percent=15)
    return AccountFacts("active", "", None, pace, 0, 0, zone)
