"""Days that repeat are copied: what is planned is the same as by taking every step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from campaigns import planner
from campaigns.gates import DayCap
from campaigns.planner import Planner, Rival, plan
from campaigns.tests.test_forecast import OFFICE, inputs, inputs_given, sender, times

caps_given = st.none() | st.builds(DayCap, st.integers(1, 60), st.just(0))
long_given = st.builds(
    lambda asked, messages, whole, own, rivals: replace(
        asked,
        messages=messages,
        campaign=replace(asked.campaign, tenant_day=whole, campaign_day=own),
        rivals=tuple(
            Rival(number, frozenset(place for place in places if place < len(asked.senders)))
            for number, places in rivals
        ),
    ),
    inputs_given,
    st.integers(200, 6_000),
    caps_given,
    caps_given,
    st.lists(
        st.tuples(
            st.integers(0, 80) | st.integers(100, 9_000), st.sets(st.integers(0, 3), max_size=2)
        ),
        max_size=2,
    ),
)


class NoRhythm:
    def __init__(self, *_args):
        pass

    def skip(self):
        pass


def step_by_step(asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "Rhythm", NoRhythm)
        return plan(asked)


@given(long_given)
@hypothesis_settings(max_examples=60, deadline=None)
def test_copied_days_are_what_the_steps_give(asked):
    found, slow = plan(asked), step_by_step(asked)
    assert (found.finish, found.planned, found.waited) == (slow.finish, slow.planned, slow.waited)
    assert times(found) == times(slow)
    assert found.shares() == slow.shares()


@pytest.mark.parametrize("window", [OFFICE, None])
def test_a_year_takes_the_steps_of_weeks(monkeypatch, window):
    steps = []
    step = Planner.step
    monkeypatch.setattr(Planner, "step", lambda self: steps.append(1) or step(self))
    asked = inputs(30_000, sender(), sender("@b"), window=window)
    found = plan(asked)
    few = len(steps)
    steps.clear()
    assert step_by_step(asked).finish == found.finish
    assert few < len(steps) / 8


def test_a_change_of_clocks_is_not_copied_over():
    from zoneinfo import ZoneInfo

    berlin = ZoneInfo("Europe/Berlin")
    asked = inputs(8_000, sender(zone=berlin), sender("@b", zone=berlin), zone=berlin)
    opened = {moment.astimezone(berlin).hour for _, moment in times(plan(asked))}
    assert min(opened) == OFFICE.opens.hour
    assert max(opened) < OFFICE.closes.hour


def test_campaigns_that_take_turns_are_copied_too(monkeypatch):
    steps = []
    step = Planner.step
    monkeypatch.setattr(Planner, "step", lambda self: steps.append(1) or step(self))
    asked = inputs(5_000, sender(), rivals=(Rival(10**6, frozenset({0})),))
    found = plan(asked)
    few = len(steps)
    steps.clear()
    slow = step_by_step(asked)
    assert (found.finish, times(found)) == (slow.finish, times(slow))
    assert few < len(steps) / 8
