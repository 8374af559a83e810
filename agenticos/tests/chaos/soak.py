"""`python -m agenticos.tests.chaos.soak MINUTES`: long, ordinary work, and what it leaves behind.

The stage of `chaos` without its blows: two worker groups and a web process on a PostgreSQL and a
Redis of their own; campaigns send, files are imported, drafts are started, people open pages. Each
sample notes memory, threads and open files of every process, connections, and the rows and size of
every table. Exit 0 when memory stayed flat, no connection leaked, no table grew that should not,
and each page had an answer.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Final

from agenticos.tests.chaos.crowd import NOBODY
from agenticos.tests.chaos.storm import PROCESSES, Storm
from agenticos.tests.chaos.world import WRONG, steadily
from campaigns.tests.killing import victims_of

SAMPLE_S: Final = 10.0
WORK_S: Final = 30.0  # a file and a draft come so often
RATE: Final = 6  # messages a second that the accounts can send at the most
ACCOUNTS: Final = 8  # with a pause of 1 to 2 s each
MEMORY_MIB: Final = 10.0  # what a process may have more at the end than at the beginning
CONNECTIONS: Final = 2
FILES: Final = 2
# A worker that takes a recycled one's place is forked later, and so inherits the pipes of those
# that were started after its forerunner: once. A sentinel's own files are watched like the others.
INHERITED: Final = 8
# Their rows are the work itself: a message, a lead, a wish, and what was noted about each.
GROWING: Final = (
    "campaigns_", "leads_", "integrations_externalid", "integrations_sync", "tenants_audit",
    "tenants_notification", "tenants_idempotency", "tenants_usage",
)  # fmt: skip
ROWS: Final = 200  # what any other table may gain
# In the order in which django-q starts them.
ROLES: Final = (*(f"worker {number + 1}" for number in range(PROCESSES)), "monitor", "pusher")
_AWAY: Final[dict[str, Any]] = {"connections": 0, "idle_in_transaction": 0, "tables": {}}


class Soak(Storm):
    """A storm without blows, watched."""

    def __init__(self, *, minutes: float, seed: int) -> None:
        super().__init__(blows=0, seed=seed, with_hosts=False)
        self.seconds = 60 * minutes
        self.messages = int(self.seconds * RATE)
        self.accounts = ACCOUNTS
        self.roles: dict[str, dict[int, str]] = {}
        self.samples: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {}

    def _storm(self) -> None:
        began = work = time.monotonic()
        number = 0
        while time.monotonic() - began < self.seconds:
            self.samples.append(self._sample(time.monotonic() - began))
            if time.monotonic() >= work:
                self._more_work(number)
                number, work = number + 1, work + WORK_S
            time.sleep(SAMPLE_S)
        self.found = verdict(self.samples)

    def _sample(self, seconds: float) -> dict[str, Any]:
        return {
            "at_s": round(seconds),
            "sent": steadily(self.world.sent, 0),
            "processes": self._processes(),
            **_database(),
            "redis_keys": self._redis_keys(),
        }

    def _processes(self) -> dict[str, dict[str, float]]:
        """What each process has, by its place."""
        import psutil

        found = {"web": psutil.Process(self.web.pid)}
        for place, supervisor in self.supervisors.items():
            parts = victims_of(supervisor.pid, PROCESSES)
            for role in ("supervisor", "cluster", "sentinel"):
                found |= {f"{place.name} {role}": one for one in parts.get(role, ())}
            for sentinel in parts.get("sentinel", ()):
                family = sorted(sentinel.children(), key=lambda one: (one.create_time(), one.pid))
                for one in family:
                    found[f"{place.name} {self._role(place.name, one.pid, family)}"] = one
        return {name: measured for name, one in found.items() if (measured := _measured(one))}

    def _role(self, place: str, pid: int, family: list[Any]) -> str:
        """A worker that is recycled leaves its place to the next; monitor and pusher stay."""
        roles = self.roles.setdefault(place, {})
        living = {one.pid for one in family}
        for gone in [known for known in roles if known not in living]:
            del roles[gone]
        if pid not in roles:
            free = [role for role in ROLES if role not in roles.values()]
            roles[pid] = free[0] if free else "another"
        return roles[pid]

    def _redis_keys(self) -> int:
        import redis

        with redis.Redis(self.redis.address, self.redis.port) as link:
            return int(link.dbsize())


def _measured(process: Any) -> dict[str, float]:
    import psutil

    try:
        return {
            "rss_mib": round(process.memory_info().rss / 2**20, 1),
            "threads": process.num_threads(),
            "files": process.num_fds(),
        }
    except psutil.NoSuchProcess:
        return {}


def _database() -> dict[str, Any]:
    """Connections, and each table's live rows and size; nothing while the database is away."""
    from django.db import connection

    def ask() -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%%') "
                "FROM pg_stat_activity WHERE datname = current_database()"
            )
            connections, idle = cursor.fetchone()
            cursor.execute(
                "SELECT relname, n_live_tup, pg_total_relation_size(relid) "
                "FROM pg_stat_user_tables ORDER BY relname"
            )
            tables = {name: {"rows": rows, "bytes": size} for name, rows, size in cursor}
        return {"connections": connections, "idle_in_transaction": idle, "tables": tables}

    found: dict[str, Any] = steadily(ask, dict(_AWAY))
    return found


def verdict(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """The second fifth beside the last one: the first is warming up.

    Returns the medians of both, and under `grew` what is more than it may be; empty is good.
    """
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    memory, files = (
        {
            name: [_median(part, name, what) for part in (early, late)]
            for name in sorted(late[-1]["processes"])
        }
        for what in ("rss_mib", "files")
    )
    connections = [max(one["connections"] for one in part) for part in (early, late)]
    gained: dict[str, int] = defaultdict(int)
    for name, table in late[-1]["tables"].items():
        rows = table["rows"] - early[0]["tables"].get(name, {"rows": 0})["rows"]
        if rows > 0:
            gained[name] = rows
    grew = [f"memory of {name}" for name, (a, b) in memory.items() if b - a > MEMORY_MIB]
    grew += [
        f"open files of {name}"
        for name, (a, b) in files.items()
        if b - a > FILES + (INHERITED if " worker " in name else 0)
    ]
    grew += ["connections"] if connections[1] - connections[0] > CONNECTIONS else []
    grew += [
        f"rows of {name}"
        for name, rows in gained.items()
        if rows > ROWS and not name.startswith(GROWING)
    ]
    return {
        "samples": len(samples),
        "memory_mib": memory,
        "open_files": files,
        "connections": connections,
        "redis_keys": [early[0]["redis_keys"], late[-1]["redis_keys"]],
        "rows_gained": dict(gained),
        "database_mib": [
            round(sum(table["bytes"] for table in part["tables"].values()) / 2**20, 1)
            for part in (early[0], late[-1])
        ],
        "grew": grew,
    }


def _median(part: Iterable[dict[str, Any]], name: str, what: str) -> float:
    values = [one["processes"][name][what] for one in part if name in one["processes"]]
    return round(median(values), 1) if values else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="write every sample here, one JSON line each")
    args = parser.parse_args()
    soak = Soak(minutes=args.minutes, seed=args.seed)
    try:
        report = soak.go()
    finally:
        if args.samples:
            args.samples.write_text("".join(json.dumps(one) + "\n" for one in soak.samples))
    wrong = [name for name in WRONG if report[name]] + soak.found["grew"]
    # Nothing is killed here, so each page has an answer.
    wrong += ["pages without an answer"] if report["pages"].get(str(NOBODY)) else []
    sys.stdout.write(json.dumps({**report, **soak.found, "wrong": wrong}, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
