"""Windows, periods and pauses, also where clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from campaigns import pacing

SAO_PAULO = ZoneInfo("America/Sao_Paulo")
NEW_YORK = ZoneInfo("America/New_York")
WORK = pacing.Window(frozenset(range(6)), time(9), time(20))


def test_an_open_window_lets_go_now():
    noon = datetime(2026, 3, 4, 15, tzinfo=UTC)
    assert WORK.next_open(noon, SAO_PAULO) == noon


def test_the_closing_time_is_closed_already():
    closing = datetime(2026, 3, 4, 20, tzinfo=SAO_PAULO)
    assert WORK.next_open(closing, SAO_PAULO) == datetime(2026, 3, 5, 12, tzinfo=UTC)


def test_sunday_waits_for_monday():
    sunday = datetime(2026, 3, 8, 12, tzinfo=SAO_PAULO)
    assert WORK.next_open(sunday, SAO_PAULO).astimezone(SAO_PAULO).weekday() == 0


def test_an_opening_time_that_the_clock_skips_still_opens():
    # New York, 8 March 2026: 02:00 becomes 03:00.
    window = pacing.Window(frozenset({6}), time(2, 30), time(5))
    before = datetime(2026, 3, 8, 1, tzinfo=NEW_YORK)
    opens = window.next_open(before, NEW_YORK)
    assert before < opens <= datetime(2026, 3, 8, 3, 30, tzinfo=NEW_YORK)


def test_the_hour_that_comes_twice_is_two_hours():
    # New York, 1 November 2026: 02:00 becomes 01:00.
    first = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    second = first + timedelta(hours=1)
    assert first.astimezone(NEW_YORK).hour == second.astimezone(NEW_YORK).hour == 1
    assert pacing.hour_period(first, NEW_YORK) != pacing.hour_period(second, NEW_YORK)
    assert pacing.day_period(first, NEW_YORK) == pacing.day_period(second, NEW_YORK)


@pytest.mark.parametrize(
    "data",
    [
        {"days": [], "from": "09:00", "to": "20:00"},
        {"days": [7], "from": "09:00", "to": "20:00"},
        {"days": [1], "from": "20:00", "to": "09:00"},
        {"days": [1], "from": "nine", "to": "20:00"},
        {"days": [1]},
    ],
)
def test_a_window_that_makes_no_sense_is_refused(data):
    with pytest.raises(pacing.BadWindow):
        pacing.Window.from_json(data)


def test_an_empty_window_is_always_open():
    assert pacing.Window.from_json({}) is None


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_a_window_opens_within_a_week_and_is_open_then(now):
    opens = WORK.next_open(now, NEW_YORK)
    assert now <= opens <= now + timedelta(days=3)
    assert WORK.is_open(opens.astimezone(NEW_YORK))


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_the_next_day_and_hour_are_ahead_and_new(now):
    for zone in (SAO_PAULO, NEW_YORK):
        assert pacing.day_period(pacing.next_day(now, zone), zone) > pacing.day_period(now, zone)
        following = pacing.next_hour(now, zone)
        assert now < following <= now + timedelta(hours=1)
        assert pacing.hour_period(following, zone) != pacing.hour_period(now, zone)


@given(st.text(max_size=20))
def test_a_pause_keeps_to_its_bounds_and_is_the_same_each_time(seed):
    pace = pacing.Pace(50, 10, 60, 90, 15)
    gap = pace.gap(seed)
    assert timedelta(seconds=60 * 0.85) <= gap <= timedelta(seconds=90 * 1.15)
    assert gap == pace.gap(seed)


def test_back_off_grows_and_has_an_end():
    waits = [pacing.back_off(tries, "m").total_seconds() for tries in range(1, 20)]
    assert waits[0] <= 3
    assert max(waits) <= 1.5 * pacing.MAX_BACK_OFF.total_seconds()
    assert waits[10] > waits[2]
