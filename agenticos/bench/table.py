"""The table of figures in README: medians of several runs, beside their targets.

`docs/bench.json` keeps the last median of every benchmark, so that one of them can be measured
anew without the others; README's table is written from it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ROOT / "docs" / "bench.json"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- figures: written by `make bench` -->"
END: Final = "<!-- end of figures -->"

Figure = dict[str, Any]


class Target(NamedTuple):
    """What is wanted in words, whether a figure is that good, and which part of it that is about.

    Of several runs the one in the middle by that part counts.
    """

    words: str
    met: Callable[[Figure], bool]
    by: str = "ratio"


# From the project's plan, for two cores on PostgreSQL; `ratio` is to the limit of the same run.
TARGETS: Final = {
    "dispatch": Target(
        "ratio ≥ 0.6 and ≥ 1 500/s", lambda f: f["ratio"] >= 0.6 and f["value"] >= 1500
    ),
    "dispatch-50ms": Target("ratio ≥ 0.8", lambda f: f["ratio"] >= 0.8),
    "dispatch-2": Target("≥ 1.25 × one worker", lambda f: f["over_one"] >= 1.25, "over_one"),
    "import": Target(
        "ratio ≥ 0.1 and ≥ 10 000/s", lambda f: f["ratio"] >= 0.1 and f["value"] >= 10_000
    ),
    "rescore": Target("1 000 000 in < 60 s", lambda f: f["value"] > 1_000_000 / 60, "value"),
    "leads-page": Target("p95 ≤ 100 ms", lambda f: f["value"] <= 100, "value"),
    "claim": Target("p95 ≤ 50 ms", lambda f: f["value"] <= 50, "value"),
    "fairness": Target("≤ 5 s", lambda f: f["value"] <= 5, "value"),
    "isolation": Target("ratio ≥ 0.85", lambda f: f["ratio"] >= 0.85),
    "memory": Target(
        "≤ 150 MB sending, ≤ 250 MB importing",
        lambda f: f["cases"]["campaign"]["grown"] <= 150 and f["cases"]["import"]["grown"] <= 250,
        "value",
    ),
    "pages": Target("p95 ≤ 150 ms each", lambda f: not f["slow"], "value"),
    "preview": Target("< 1 s", lambda f: f["value"] < 1, "value"),
}


def median(figures: list[Figure]) -> Figure:
    """The run in the middle, whole, so that value, limit and ratio are of one run."""
    target = TARGETS.get(figures[0]["name"])
    by = target.by if target else "ratio"
    ordered = sorted(figures, key=lambda figure: figure[by])
    return {**ordered[len(ordered) // 2], "runs": len(ordered)}


def machine() -> str:
    """Cores and processor, as the operating system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores, {models[0] if models else platform.machine()}"


def keep(figure: Figure) -> None:
    """Put a median in the place of the last of its name and engine; write README's table."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept[f"{figure['name']} {figure['engine']}"] = {**figure, "machine": machine()}
    KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    README.write_text(placed(README.read_text(), rendered(list(kept.values()))))


def placed(page: str, table: str) -> str:
    """The page with the table between its two marks. Raises ValueError where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no place for the figures: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def rendered(figures: list[Figure]) -> str:
    """The figures as a table in Markdown, sorted by name and engine."""
    lines = [
        "| benchmark | measured | limit in the same run | ratio | wanted | |",
        "|---|---|---|---|---|---|",
    ]
    figures = sorted(figures, key=lambda one: (one["name"], one["engine"]))
    for one in (figure for figure in figures if figure["name"] != "peers"):
        target = TARGETS.get(one["name"]) if one["engine"] == "postgresql" else None
        engine = "" if one["engine"] == "postgresql" else f" ({one['engine']})"
        lines.append(
            f"| `{one['name']}`{engine}, n = {number(one['n'])} "
            f"| {number(one['value'])} {one['unit']}{_aside(one)} "
            f"| {number(one['limit'])} | {one['ratio']} "
            f"| {target.words if target else ''} "
            f"| {('✓' if target.met(one) else '**missed**') if target else ''} |"
        )
    lines += [line for one in figures if one["name"] == "peers" for line in side_by_side(one)]
    runs = sorted({(one["at"][:10], one["machine"], _versions(one)) for one in figures})
    lines += ["", *(f"{date}, {where}; {versions}.  " for date, where, versions in runs)]
    return "\n".join(lines) + "\n"


def side_by_side(figure: Figure) -> list[str]:
    """The peers under the same kills."""
    return [
        "",
        f"`make bench PEERS=1`, n = {number(figure['n'])}: messages a second undisturbed; then, "
        f"with all workers killed {figure['kills']} times, people written to twice and never.",
        "",
        "| | messages/s | doubled | lost | unknown, shown to a person |",
        "|---|---|---|---|---|",
        *(
            f"| {case['peer']} | {number(case['messages_s'])} | {case['doubled']} | {case['lost']} "
            f"| {case['unknown']} |"
            for case in figure["cases"]
        ),
    ]


def number(value: float) -> str:
    """A figure for people: thousands apart, three digits that say something."""
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _versions(figure: Figure) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(figure["versions"].items()))


def _aside(figure: Figure) -> str:
    """What is said beside a figure: how it stands to another one, or that it is no median."""
    aside = []
    if "calls_alone" in figure:
        aside.append(f"its calls alone {number(figure['calls_alone'])}")
    if "over_one" in figure:
        aside.append(f"{figure['over_one']} × one worker")
    if figure.get("runs") == 1:
        aside.append("one run")
    return f" ({', '.join(aside)})" if aside else ""
