"""README's table of figures: the run in the middle, beside its target."""

from __future__ import annotations

import pytest

from agenticos.bench import __main__, table


def figure(**more):
    return {
        "name": "dispatch",
        "value": 600.0,
        "unit": "messages/s",
        "limit": 1000.0,
        "ratio": 0.6,
        "n": 20_000,
        "engine": "postgresql",
        "at": "2026-11-25T12:00:00+00:00",
        "machine": "2 cores",
        "versions": {"python": "3.11.7"},
        **more,
    }


def test_the_median_is_one_whole_run():
    runs = [figure(ratio=0.7, value=1.0), figure(ratio=0.5), figure(ratio=0.6, value=2.0)]
    found = table.median(runs)
    assert (found["ratio"], found["value"], found["runs"]) == (0.6, 2.0, 3)


def test_the_median_is_by_what_is_wanted():
    runs = [
        figure(name="rescore", ratio=r, value=v) for r, v in ((0.5, 3.0), (0.6, 1.0), (0.7, 2.0))
    ]
    assert table.median(runs)["value"] == 2.0


def test_a_figure_that_misses_its_target_says_so():
    assert "**missed**" in table.rendered([figure(value=700.0)])
    assert "✓" in table.rendered([figure(value=1700.0)])


def test_what_is_no_median_says_so_and_two_workers_stand_beside_one():
    assert "600 messages/s (one run) |" in table.rendered([figure(runs=1)])
    assert "(1.5 × one worker) |" in table.rendered([figure(over_one=1.5, runs=3)])


def test_sqlite_has_no_target():
    line = table.rendered([figure(engine="sqlite")]).splitlines()[2]
    assert line.startswith("| `dispatch` (sqlite), n = 20 000 | 600 messages/s | 1 000 | 0.6 |")
    assert "missed" not in line


def test_only_what_is_between_the_marks_is_written():
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.placed(page, "new\n") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="no place"):
        table.placed("a page without marks", "new\n")


def test_readme_has_the_place_and_every_target_is_of_a_benchmark():
    page = table.README.read_text()
    assert table.placed(page, "")
    assert set(table.TARGETS) <= set(__main__.NAMES)


@pytest.mark.parametrize(
    ("value", "shown"), [(1_234_567, "1 234 567"), (0.456, "0.456"), (12.34, "12.3"), (5.0, "5")]
)
def test_figures_are_for_people(value, shown):
    assert table.number(value) == shown


def test_peers_stand_side_by_side():
    case = {"peer": "A queue", "messages_s": 200.0, "doubled": 3, "lost": 1, "unknown": 0}
    shown = table.rendered([figure(name="peers", kills=5, cases=[case])])
    assert "| A queue | 200 | 3 | 1 | 0 |" in shown
    assert "| `peers`" not in shown
