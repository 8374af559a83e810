"""The kill test: SIGKILL parts of the workers while they send, and count at the provider.

Run as a program (`make chaos-kill`), or in a short form by `test_killing.py`. It makes a database
of its own, seeds a campaign, starts `runworkers` as production does, kills victims by a seeded
choice, and reports what the provider received: doubled, lost, unknown. Exit 0 when the promises
held.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from agenticos.bench.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
VICTIMS = (
    "busy worker",
    "idle worker",
    "monitor",
    "pusher",
    "sentinel",
    "cluster",
    "supervisor",
    "group",
)


def probe(folder_id: int, number: int) -> None:
    """A task that leaves a file: rung after each kill, and looked for."""
    (Path(os.environ["KILL_PROBES"]) / str(number)).touch()


def victims_of(pid: int, workers: int) -> dict[str, list[Any]]:
    """The processes of one supervisor, by what they are. Raises psutil.NoSuchProcess."""
    import psutil

    found: dict[str, list[Any]] = {"supervisor": [psutil.Process(pid)]}
    clusters = found["supervisor"][0].children()
    found["cluster"] = clusters[:1]
    sentinels = clusters[0].children() if clusters else []
    found["sentinel"] = sentinels[:1]
    if sentinels:
        # django-q starts the workers, then the monitor, then the pusher.
        family = sorted(sentinels[0].children(), key=lambda p: (p.create_time(), p.pid))
        if len(family) >= workers + 2:
            found["monitor"] = [family[workers]]
            found["pusher"] = [family[workers + 1]]
            found["busy worker"] = [w for w in family[:workers] if w.num_threads() > 2]
            found["idle worker"] = [w for w in family[:workers] if w.num_threads() <= 2]
    return found


class Run:
    """One kill test from seed to report."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.stage = Stage(folder, args.database_url)
        self.chance = random.Random(args.seed)
        self.supervisors: list[subprocess.Popen[bytes]] = []
        self.kills: Counter[str] = Counter()
        self.by_kind: list[tuple[str, float]] = []
        self.probes = 0
        self.while_open = 0
        self.recoveries: list[float] = []

    # --- The stage ---

    def prepare(self, sandbox: Any) -> None:
        """Settings of this process and of all it starts; the tenant; the started campaign."""
        (self.folder / "probes").mkdir()
        self.stage.enter(
            sandbox.url,
            HTTP_TIMEOUT_S=str(self.args.timeout_s),
            REDIS_URL=self.args.redis_url,
            KILL_PROBES=str(self.folder / "probes"),
        )
        self.stage.build(messages=self.args.messages, accounts=self.args.accounts)
        self.campaign = self.stage.start(limit=self.args.messages)

    def start_supervisor(self) -> None:
        self.supervisors.append(
            subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "manage.py"),
                    "runworkers",
                    "--workers",
                    str(self.args.processes),
                ],
                cwd=ROOT,
                start_new_session=True,
                stdout=self.log,
                stderr=self.log,
            )
        )

    # --- The kills ---

    def victims(self, supervisor: subprocess.Popen[bytes]) -> dict[str, list[Any]]:
        return victims_of(supervisor.pid, self.args.processes)

    def cut(self) -> None:
        """Cut every connection to the database but our own, and empty Redis."""
        from django.core.cache import cache
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            (number,) = cursor.fetchone()
        cache.clear()
        self.kills["connections"] += number

    def kill_one(self, kind: str) -> bool:
        """SIGKILL one victim of a kind; whether there was one."""
        import psutil

        index = self.chance.randrange(len(self.supervisors))
        supervisor = self.supervisors[index]
        try:
            found = self.victims(supervisor)
            if kind == "group":
                everything = [*found["supervisor"], *found["supervisor"][0].children(True)]
                for process in everything:
                    process.kill()
            else:
                if not found.get(kind):
                    return False
                self.chance.choice(found[kind]).kill()
        except psutil.NoSuchProcess:
            return False
        self.kills[kind] += 1
        if kind in ("supervisor", "group"):
            supervisor.wait()
            self.supervisors.pop(index)
            self.start_supervisor()  # as systemd or the container's restart policy would
        return True

    def freeze_one(self) -> bool:
        """SIGSTOP a busy worker until its lease is long over, then wake it."""
        import psutil

        for supervisor in self.supervisors:
            try:
                busy = self.victims(supervisor).get("busy worker", [])
                if busy:
                    busy[0].suspend()
                    time.sleep(4 * self.args.timeout_s)  # LEASE_S is three times the timeout
                    busy[0].resume()
                    self.kills["frozen"] += 1
                    return True
            except psutil.NoSuchProcess:
                # Its cluster ended in the meantime (a cut connection, say) and took it along.
                continue
        return False

    # --- The run ---

    def go(self) -> dict[str, Any]:
        from integrations.tests.live import LiveSandbox

        sandbox = LiveSandbox()
        self.log = (self.folder / "workers.log").open("wb")
        try:
            self.prepare(sandbox)
            if self.args.delay_ms:
                sandbox.faults(
                    [
                        {
                            "provider": "instagram",
                            "path": ".*",
                            "probability": 1.0,
                            "delay_ms": self.args.delay_ms,
                        }
                    ]
                )
            for _ in range(self.args.workers):
                self.start_supervisor()
            began = time.monotonic()
            self.storm(sandbox)
            self.finish(began)
            return self.report(sandbox, time.monotonic() - began)
        finally:
            for supervisor in self.supervisors:
                supervisor.terminate()
            for supervisor in self.supervisors:
                supervisor.wait(60)
            sandbox.stop()
            self.log.close()

    def storm(self, sandbox: Any) -> None:
        """Kill until the number is reached, while messages leave."""
        plan = [VICTIMS[n % len(VICTIMS)] for n in range(self.args.kills)]
        self.chance.shuffle(plan)
        for number, kind in enumerate(plan):
            if self.args.cuts and number % 3 == 1:
                self.cut()
            if self.args.freeze and number == len(plan) // 2:
                self.until(self.freeze_one, 20)
            time.sleep(self.chance.uniform(0.3, 1.2))
            self.while_open += self.open()
            if not self.until(lambda kind=kind: self.kill_one(kind), 15):
                self.kill_one("group")
            self.ring_probe()
            # The next kill waits for life: a storm that only hits the start-up proves little.
            began, before = time.monotonic(), self.sent()
            self.until(lambda before=before: self.sent() > before or not self.open(), 40)
            self.recoveries.append(time.monotonic() - began)
            self.by_kind.append((kind, round(self.recoveries[-1], 2)))

    def until(self, done: Any, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if done():
                return True
            time.sleep(0.05)
        return False

    def ring_probe(self) -> None:
        from agenticos import queue, scope

        self.probes += 1
        with scope.as_tenant(self.stage.tenant):
            queue.enqueue("campaigns.tests.killing.probe", 0, self.probes)

    def counts(self) -> dict[str, int]:
        return self.stage.counts(self.campaign)

    def sent(self) -> int:
        return self.counts()["sent"]

    def open(self) -> bool:
        counts = self.counts()
        return not counts["audience"] or bool(counts["queued"] + counts["claimed"])

    def finish(self, began: float) -> None:
        self.until(lambda: not self.open(), self.args.within_s)
        probes = self.folder / "probes"
        self.until(lambda: len(list(probes.iterdir())) >= self.probes, 90)

    def report(self, sandbox: Any, seconds: float) -> dict[str, Any]:
        import psutil

        from agenticos import scope
        from campaigns.models import Message

        deliveries: Counter[str] = Counter(row["key"] for row in sandbox.state()["deliveries"])
        with scope.as_tenant(self.stage.tenant):
            rows = list(
                Message.objects.filter(campaign=self.campaign.pk).values_list(
                    "key", "state", "reason"
                )
            )
            keys = {key for key, _, _ in rows}
        groups = {process.pid for process in self.supervisors}
        for supervisor in self.supervisors:
            supervisor.terminate()
        for supervisor in self.supervisors:
            supervisor.wait(60)
        self.supervisors = []
        orphans = [
            process.pid
            for process in psutil.process_iter(["environ"])
            if process.pid != os.getpid()
            and (process.info["environ"] or {}).get("KILL_PROBES") == os.environ["KILL_PROBES"]
            and process.pid not in groups
        ]
        states = Counter(state for _, state, _ in rows)
        unknown = [(key, reason) for key, state, reason in rows if state == "unknown"]
        return {
            "engine": self.stage.engine,
            "messages": len(rows),
            "states": dict(states),
            "doubled": sum(1 for number in deliveries.values() if number > 1),
            "strangers": sum(1 for key in deliveries if key not in keys),
            # Sent by our book and never delivered, or delivered while our book still says open.
            "lost": sum(1 for key, state, _ in rows if state == "sent" and not deliveries[key]),
            "unsettled": sum(
                1 for key, state, _ in rows if deliveries[key] and state not in ("sent", "unknown")
            ),
            "unknown": len(unknown),
            "unknown_delivered": sum(1 for key, _ in unknown if deliveries[key]),
            "unexplained": sum(1 for _, reason in unknown if not reason),
            "open": states["queued"] + states["claimed"],
            "counts_agree": self.counts()
            == {"audience": len(rows), **{b: states[b] for b in self.counts() if b != "audience"}},
            "kills": dict(self.kills),
            "kills_while_sending": self.while_open,
            "probes": f"{len(list((self.folder / 'probes').iterdir()))} of {self.probes}",
            "recovery_s": {
                "median": round(sorted(self.recoveries)[len(self.recoveries) // 2], 2),
                "worst": round(max(self.recoveries), 2),
                "each": self.by_kind,
            }
            if self.recoveries
            else {},
            "orphans": orphans,
            "seconds": round(seconds, 1),
        }


def held(report: dict[str, Any]) -> bool:
    """Whether the promises held."""
    done, rung = report["probes"].split(" of ")
    return (
        not any(
            report[name]
            for name in (
                "doubled",
                "strangers",
                "lost",
                "unsettled",
                "unexplained",
                "open",
                "orphans",
            )
        )
        and report["counts_agree"]
        and done == rung
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database-url", default="", help="a PostgreSQL server; empty: SQLite")
    parser.add_argument("--redis-url", default="")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--accounts", type=int, default=40)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2, help="supervised groups")
    parser.add_argument("--processes", type=int, default=2, help="worker processes of a group")
    parser.add_argument("--delay-ms", type=int, default=400)
    parser.add_argument("--timeout-s", type=int, default=2)
    parser.add_argument("--within-s", type=float, default=300)
    parser.add_argument("--freeze", action="store_true", help="freeze a worker past its lease")
    parser.add_argument("--cuts", action="store_true", help="cut connections, empty the cache")
    parser.add_argument("--log", default="", help="keep the workers' log here")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    # A second copy of this module would not be the one that the workers import.
    from campaigns.tests import killing

    with tempfile.TemporaryDirectory() as name:
        run = killing.Run(args, Path(name))
        try:
            report = run.go()
        except Exception:
            sys.stderr.write((Path(name) / "workers.log").read_text()[-4000:])
            raise
        finally:
            run.stage.leave()
        if not held(report):
            sys.stderr.write((Path(name) / "workers.log").read_text()[-4000:])
        if args.log:
            Path(args.log).write_text((Path(name) / "workers.log").read_text())
    print(json.dumps(report, indent=1))  # noqa: T201  # read by the parent
    return 0 if held(report) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
