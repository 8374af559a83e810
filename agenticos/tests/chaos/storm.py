"""The blows, by a seeded choice, and what each one showed."""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from agenticos.bench.stage import Stage
from agenticos.tests.chaos import hosts
from agenticos.tests.chaos.crowd import STUCK, Crowd
from agenticos.tests.chaos.hosts import Host, Namespace
from agenticos.tests.chaos.servers import Postgres, Redis
from agenticos.tests.chaos.world import World, steadily

PROCESSES: Final = 2  # worker processes of a group
TIMEOUT_S: Final = 2  # of a call to a provider; a lease lasts three times as long
CLAIM_S: Final = 3.0  # a living worker holds nothing for so long
RECOVERS_S: Final = 90.0
STOPS_S: Final = 10.0  # in order, with nothing left claimed
HANG_S: Final = 10.0
CUT_S: Final = 12.0  # a lease is over meanwhile
DELAY_MS: Final = 120
KILLS: Final = (
    "busy worker", "idle worker", "monitor", "pusher", "sentinel", "cluster", "supervisor", "group",
)  # fmt: skip
# How often each comes in a hundred.
WEIGHTS: Final = {
    **dict.fromkeys(KILLS, 5),
    "web": 9,
    "deploy": 4,
    "connections": 5,
    "postgresql restarted": 5,
    "postgresql crashed": 5,
    "postgresql hangs": 3,
    "redis flushed": 5,
    "redis stopped": 4,
    "provider": 14,
    "clock": 6,
}
HOST_WEIGHTS: Final = {"host cut off": 12, "host killed": 12}
INSTAGRAM: Final[tuple[dict[str, Any], ...]] = (
    {"status": 429, "retry_after": 1, "next": 15},
    {"status": 503, "next": 10},
    {"status": 500, "next": 4},
    {"status": 500, "accept": True, "next": 4},
    {"cut": "before", "next": 6},
    {"cut": "after", "next": 4},
    {"garbage": True, "next": 4},
    {"delay_ms": 1000 * TIMEOUT_S + 500, "next": 4},
)
GHL: Final[tuple[dict[str, Any], ...]] = (
    {"status": 429, "retry_after": 1, "next": 4},
    {"status": 500, "next": 6},
    {"cut": "before", "next": 5},
    {"cut": "after", "next": 5},
    {"garbage": True, "next": 4},
)


class Storm:
    """A run from an empty database to the report."""

    def __init__(self, *, blows: int, seed: int, with_hosts: bool, only: str = "") -> None:
        self.blows, self.seed, self.only = blows, seed, only
        self.messages, self.accounts = 60 * blows + 200, 40
        self.chance = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="agenticos-chaos-"))
        self.folder.chmod(0o755)  # PostgreSQL's own user must get through
        self.with_hosts = with_hosts
        self.apart = with_hosts and hosts.namespaces_allowed()
        self.done: Counter[str] = Counter()
        self.recoveries: list[tuple[str, float]] = []
        self.stops: list[float] = []
        self.hangs: list[dict[str, Any]] = []
        self.left_claimed = 0
        self.no_recovery = 0
        self.supervisors: dict[Host, subprocess.Popen[bytes]] = {}

    # --- The stage ---

    def go(self) -> dict[str, Any]:
        from integrations.tests.live import LiveSandbox

        began = time.monotonic()
        if self.apart:
            hosts.make_bridge()
        centre = hosts.CENTRE if self.apart else "127.0.0.1"
        self.log = (self.folder / "processes.log").open("wb")
        self.postgres = Postgres(self.folder, centre, hosts.NETWORK if self.apart else "")
        self.redis = Redis(self.folder, centre)
        self.sandbox = LiveSandbox(host=centre)
        self.places = self._places()
        self.skews = {place.name: round(place.skew_s) for place in self.places}
        self.crowd: Crowd | None = None
        try:
            self._prepare()
            self._storm()
            self._calm_down()
            report = self._report(time.monotonic() - began)
        finally:
            self._close()
        return report

    def _places(self) -> list[Host]:
        """The web's host first, then one for each worker group."""
        names = ("web", "one", "two")
        skews = [self.chance.uniform(-600, 600) if self.with_hosts else 0.0 for _ in names]
        if self.apart:
            return [
                Namespace(name, self.folder, skew, number)
                for number, (name, skew) in enumerate(zip(names, skews, strict=True))
            ]
        return [Host(name, self.folder, skew) for name, skew in zip(names, skews, strict=True)]

    def _prepare(self) -> None:
        stage = Stage(self.folder, self.postgres.url)
        stage.enter(
            self.sandbox.url,
            HTTP_TIMEOUT_S=str(TIMEOUT_S),
            REDIS_URL=self.redis.url,
            REQUIRE_MFA="off",
        )
        from django.conf import settings
        from django.core.management import call_command

        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        call_command("collectstatic", interactive=False, verbosity=0)
        self.world = World(stage, messages=self.messages, accounts=self.accounts)
        cookie, key = self.world.owner()
        self._faults()
        self._start_web()
        for place in self.places[1:]:
            self._start_workers(place)
        pages = [
            f"/t/acme/{page}" for page in ("", "campaigns/", "leads/", "ops/", "integrations/")
        ]
        self.crowd = Crowd(f"http://{self.places[0].address}:{self.port}", pages, cookie, key)
        self._until(self.crowd.is_welcome, RECOVERS_S)  # or who comes first would be turned away
        self.crowd.start()
        self._until(lambda: steadily(self.world.sent, 0) > 0, RECOVERS_S)

    def _start_web(self) -> None:
        from agenticos.tests.chaos.servers import free_port

        self.port = getattr(self, "port", None) or free_port()
        host = self.places[0].address
        self.web = self.places[0].manage(self.log, "web", f"--host={host}", f"--port={self.port}")

    def _start_workers(self, place: Host) -> None:
        self.supervisors[place] = place.manage(self.log, "runworkers", "--workers", str(PROCESSES))

    def _faults(self, *rules: dict[str, Any]) -> None:
        """These rules, and behind them the time that a provider takes."""
        slow = {"provider": "instagram", "delay_ms": DELAY_MS}
        self.sandbox.faults([*rules, slow])

    def _until(self, done: Callable[[], Any], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if done():
                return True
            time.sleep(0.05)
        return False

    # --- The storm ---

    def _plan(self) -> list[str]:
        """The blows in their order: each kind once, as far as they go, then by weight."""
        weights = {**WEIGHTS, **(HOST_WEIGHTS if self.with_hosts else {})}
        if self.with_hosts and not self.apart:
            del weights["host cut off"]
        if self.only:
            weights = {self.only: 1}
        plan = list(weights)
        self.chance.shuffle(plan)
        plan.sort(key=lambda kind: kind not in HOST_WEIGHTS)  # what the mode is for comes surely
        plan = plan[: self.blows]
        more = self.blows - len(plan)
        plan += self.chance.choices(list(weights), list(weights.values()), k=more)
        self.chance.shuffle(plan)
        return plan

    def _storm(self) -> None:
        for number, kind in enumerate(self._plan()):
            time.sleep(self.chance.uniform(0.2, 0.8))
            if number % 10 == 3:
                self._more_work(number // 10)
            blow = {
                "web": self._web,
                "deploy": self._deploy,
                "connections": self._connections,
                "postgresql restarted": lambda: self._database(signal.SIGINT),
                "postgresql crashed": lambda: self._database(
                    self.chance.choice((signal.SIGQUIT, signal.SIGKILL))
                ),
                "postgresql hangs": self._hang,
                "redis flushed": self.redis.flush,
                "redis stopped": self._redis,
                "provider": self._provider,
                "clock": self._clock,
                "host cut off": self._cut,
                "host killed": self._host,
            }.get(kind)
            if blow is not None:
                blow()
            elif not self._until(partial(self._kill, kind), 15):
                self._kill("group")
            self.done[kind] += 1
            self._wait_for_life(kind)

    def _wait_for_life(self, kind: str) -> None:
        """The next blow waits until messages leave again: hitting what lies proves little."""
        began = time.monotonic()
        before = None

        def alive() -> bool:
            nonlocal before
            sent = steadily(self.world.sent, None)
            if sent is None:
                return False
            before = sent if before is None else before
            return bool(sent > before) or not steadily(self.world.open, {"?": 1}).get("messages")

        if not self._until(alive, RECOVERS_S):
            self.no_recovery += 1
        self.recoveries.append((kind, round(time.monotonic() - began, 2)))

    def _more_work(self, number: int) -> None:
        crowd = self.crowd
        assert crowd is not None

        def bring() -> bool:
            self.world.bring_a_file(number)
            crowd.drafts.append(self.world.draft(number))
            return True

        steadily(bring, False)

    def _kill(self, kind: str) -> bool:
        """SIGKILL one part of a worker group; whether there was one."""
        import psutil

        from campaigns.tests.killing import victims_of

        place = self.chance.choice(list(self.supervisors))
        supervisor = self.supervisors[place]
        try:
            found = victims_of(supervisor.pid, PROCESSES)
            if kind == "group":
                for process in [*found["supervisor"], *found["supervisor"][0].children(True)]:
                    process.kill()
            elif not found.get(kind):
                return False
            else:
                self.chance.choice(found[kind]).kill()
        except psutil.NoSuchProcess:
            return False
        if kind in ("supervisor", "group"):
            supervisor.wait()
            self._start_workers(place)  # as systemd or the container's restart policy would
        return True

    def _web(self) -> None:
        self.web.kill()
        self.web.wait()
        self._start_web()

    def _deploy(self) -> None:
        """Stop a worker group in order, as a deploy does; it must leave nothing claimed."""
        import socket

        place = self.chance.choice(list(self.supervisors))
        old = self.supervisors[place]
        held = partial(self.world.claims, f"{socket.gethostname()[:40]}:{old.pid}:")
        # What a worker held that was killed stays claimed until its lease is over: not the stop's.
        orphaned = steadily(held, set())
        time.sleep(CLAIM_S)
        orphaned &= steadily(held, set())
        began = time.monotonic()
        old.terminate()
        old.wait(60)
        self.stops.append(round(time.monotonic() - began, 2))
        self.left_claimed += len(steadily(held, set()) - orphaned)
        self._start_workers(place)

    def _connections(self) -> None:
        """Cut every connection to the database but our own."""
        from django.db import connection

        def cut() -> None:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        steadily(cut, None)

    def _database(self, how: signal.Signals) -> None:
        self.postgres.end(how)
        time.sleep(self.chance.uniform(0.0, 1.5))
        self.postgres.start()

    def _hang(self) -> None:
        """PostgreSQL stands still and says nothing: the worst way to fail."""
        crowd = self.crowd
        assert crowd is not None
        # The blow before may have killed the web process, whose successor takes seconds.
        self._until(crowd.is_welcome, RECOVERS_S)
        crowd.seen()
        frozen = self.postgres.freeze()
        try:
            time.sleep(HANG_S)
        finally:
            during = crowd.seen()
            self.postgres.thaw(frozen)
        began = time.monotonic()
        back = self._until(lambda: crowd.seen().pages[200], 30)
        self.hangs.append(
            {
                "pages": {str(status): n for status, n in during.pages.items()},
                "slowest_s": round(during.slowest_s, 1),
                "healthz": {str(status): n for status, n in during.alive.items()},
                "healthz_slowest_s": round(during.alive_slowest_s, 2),
                "pages_again_after_s": round(time.monotonic() - began, 1) if back else None,
            }
        )

    def _redis(self) -> None:
        self.redis.kill()
        time.sleep(self.chance.uniform(0.5, 2.5))
        self.redis.start()

    def _provider(self) -> None:
        self._faults(
            {"provider": "instagram", "path": "/messages$", **self.chance.choice(INSTAGRAM)},
            {"provider": "ghl", **self.chance.choice(GHL)},
        )

    def _clock(self) -> None:
        """A wall clock jumps, by up to ten minutes either way."""
        self.chance.choice(self.places).set_clock(round(self.chance.uniform(-600, 600), 1))

    def _cut(self) -> None:
        """A host of workers loses its network for longer than a lease, and works on behind it."""
        place = self.chance.choice([one for one in self.places[1:] if isinstance(one, Namespace)])
        place.pull()
        time.sleep(CUT_S)
        place.plug()

    def _host(self) -> None:
        """A host loses its power, and comes back."""
        place = self.chance.choice(self.places)
        place.kill()
        if place is self.places[0]:
            self._start_web()
        else:
            time.sleep(self.chance.uniform(0.0, 2.0))
            self._start_workers(place)

    # --- The end ---

    def _calm_down(self) -> None:
        self.sandbox.clear()
        for place in self.places:
            place.set_clock(0)
        crowd = self.crowd
        assert crowd is not None
        self._until(lambda: not crowd.drafts, 60)
        self._until(lambda: steadily(self.world.hurry, False), 30)
        # An unsure create of a contact is searched for a minute later.
        self._until(lambda: not steadily(self.world.open, {"?": 1}), 240)

    def _report(self, seconds: float) -> dict[str, Any]:
        import psutil

        crowd = self.crowd
        assert crowd is not None
        crowd.close()
        for supervisor in self.supervisors.values():
            began = time.monotonic()
            supervisor.terminate()
            supervisor.wait(60)
            self.stops.append(round(time.monotonic() - began, 2))
        self.left_claimed += len(self.world.claims())
        ours = str(self.folder)
        orphans = [
            process.pid
            for process in psutil.process_iter(["environ"])
            if (process.info["environ"] or {}).get("CHAOS_CLOCK", "").startswith(ours)
            and process.pid != self.web.pid
        ]
        times = sorted(taken for _, taken in self.recoveries) or [0.0]
        worst = max(self.recoveries, key=lambda one: one[1], default=("", 0.0))
        return {
            "blows": dict(self.done),
            "seed": self.seed,
            "hosts": [
                {"name": p.name, "address": p.address, "clock_s": self.skews[p.name]}
                for p in (self.places if self.with_hosts else [])
            ],
            **self.world.count(self.sandbox.state()),
            "no_recovery": self.no_recovery,
            "recovery_s": {
                "median": times[len(times) // 2],
                "worst": worst[1],
                "after": worst[0],
            },
            "stop_s": {"number": len(self.stops), "worst": max(self.stops)},
            "slow_stops": sum(taken > STOPS_S for taken in self.stops),
            "left_claimed": self.left_claimed,
            "orphans": orphans,
            "hangs": self.hangs,
            "unanswered_in_hangs": sum(
                hang[asked].get("0", 0) for hang in self.hangs for asked in ("pages", "healthz")
            ),
            "pages": {str(status): n for status, n in sorted(crowd.total.items())},
            "stuck_pages": crowd.total[STUCK],
            "broken_pages": dict(crowd.broken),
            "seconds": round(seconds, 1),
        }

    def _close(self) -> None:
        import shutil

        if self.crowd is not None:
            self.crowd.close()
        for place in self.places:
            place.close()
        world = getattr(self, "world", None)
        if world is not None:
            world.clear()
        self.sandbox.stop()
        self.redis.close()
        self.postgres.close()
        self.log.close()
        if self.apart:
            hosts.remove_bridge()
        self.tail = (self.folder / "processes.log").read_text(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
