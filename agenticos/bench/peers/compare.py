"""The dispatch work side by side: AgenticOS, Celery, and the design of the first system.

The same messages to the same loopback provider, first undisturbed, then with every worker process
killed (SIGKILL) and started again at the same points of progress. What counts is what the provider
received: a person written to twice is doubled, one never written to is lost. AgenticOS does all of
its work meanwhile (gates, limits, claims, rendering, the CRM); the peers do nothing but send.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from agenticos.bench.peers.contest import PEERS, PYTHON, ROOT

KILLS: Final = 5


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `peers`."""
    if not PYTHON.exists():
        raise SystemExit("`make bench PEERS=1` installs what the peers need.")
    if not database_url:
        raise SystemExit("The peers are compared on PostgreSQL.")
    n = n or 2_000
    cases = []
    for place in range(len(PEERS)):
        calm, killed = (_one(place, kills, n, database_url) for kills in (0, KILLS))
        cases.append({**killed, "messages_s": calm["messages_s"], "calm": calm})
    ours, *others = cases
    best = max(other["messages_s"] for other in others)
    return {
        "name": name,
        "value": ours["messages_s"],
        "unit": "messages/s",
        "limit": best,
        "ratio": round(ours["messages_s"] / best, 3),
        "kills": KILLS,
        "cases": cases,
        "n": n,
        "engine": "postgresql",
    }


def _one(place: int, kills: int, n: int, url: str) -> dict[str, Any]:
    words = [str(word) for word in (place, kills, n)]
    done = subprocess.run(
        [sys.executable, "-m", "agenticos.bench.peers.contest", *words, url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
