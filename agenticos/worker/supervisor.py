"""The supervisor: keeps a cluster alive, ticks, shows signs of life, and stops cleanly.

It holds no task itself. When it has seen a whole cluster die it ends that cluster's leases at
once, so recovery takes seconds and not the length of a lease.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from agenticos import leasing, queue
from agenticos.clock import counted, database_now
from agenticos.models import WorkerBeat
from agenticos.worker import posix, tick

logger = logging.getLogger(__name__)

TICK_S = 5.0
ECHO_EVERY_S = 30.0
SICK_AFTER_S = 120.0
RING_PATIENCE = timedelta(seconds=60)
STOP_WITHIN_S = 45.0
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class Life:
    """Whether a cluster still does anything: it is asked for an echo, and has time to answer.

    A dead-locked cluster is alive and begins no task. Time is counted from the asking, and a
    machine that slept asks anew, so a cluster is never called dead for time that nobody had.
    """

    def __init__(self) -> None:
        self._shown: datetime | None = None
        self._shown_at = self._ticked_at = counted()
        self._asked_at: float | None = None

    def wants_echo(self, shown: datetime | None) -> bool:
        """Note the last sign of life, at every tick; whether it is time to ask for another."""
        now = counted()
        slept = now - self._ticked_at > 4 * TICK_S
        self._ticked_at = now
        if shown != self._shown:
            self._shown, self._shown_at, self._asked_at = shown, now, None
        if slept or (self._asked_at is None and now - self._shown_at > ECHO_EVERY_S):
            self._asked_at = now
            return True
        return False

    def is_over(self, rings_wait: bool) -> bool:
        """Whether no sign came for long after the asking, while rings wait for a worker.

        Another group may have taken the echo; but where somebody works, no ring waits for long.
        """
        asked = self._asked_at
        return rings_wait and asked is not None and counted() - asked > SICK_AFTER_S


class Supervisor:
    """One group of worker processes on this machine."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # Containers may share host names and process ids, and leases are ended by this name.
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(3)}"
        self.life = Life()
        self.generation = 0
        self.crashes = 0
        self.child: subprocess.Popen[bytes] | None = None
        self.dead: list[tuple[int, str]] = []  # groups that may still have a dying process
        self.stop_asked = False
        self.started_at = 0.0
        folder = Path(settings.VAR_DIR) / "run"
        folder.mkdir(parents=True, exist_ok=True)
        self.run_folder = Path(tempfile.mkdtemp(prefix="workers-", dir=folder))
        self.stop_file = self.run_folder / "stop"

    @property
    def owner(self) -> str:
        """The name under which this generation's leases are held."""
        return f"{self.name}:{self.generation}"

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return 0 after a clean stop, 1 when it took force."""
        posix.adopt_orphans()
        self._take_up_rings()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_stop)
        self._start()
        next_tick = time.monotonic()
        while not self.stop_asked:
            if self.child is not None and self.child.poll() is not None:
                self._bury(f"the cluster ended with code {self.child.returncode}")
                time.sleep(BACK_OFF_S[min(self.crashes, len(BACK_OFF_S) - 1)])
                self.crashes += 1
                if not self.stop_asked:
                    self._start()
                next_tick = time.monotonic()
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = time.monotonic() + TICK_S
            self._end_dead_leases()
            time.sleep(0.1)
        return self._stop()

    def _take_up_rings(self) -> None:
        """A predecessor that was killed may have left rings that nobody holds any more."""
        try:
            queue.ring_again()
        except (DatabaseError, InterfaceError):
            connections.close_all()

    def _ask_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_asked = True

    def _start(self) -> None:
        self.generation += 1
        self.started_at = time.monotonic()
        self.life = Life()
        # The cluster forks: it must not inherit this process's connections.
        connections.close_all()
        self.child = subprocess.Popen(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "qworker", str(os.getpid())],
            env={
                **os.environ,
                "Q_WORKERS": str(self.workers),
                leasing.OWNER_VARIABLE: self.owner,
                leasing.STOP_VARIABLE: str(self.stop_file),
            },
            start_new_session=True,  # Ctrl-C in the terminal reaches the supervisor alone
            stdin=subprocess.DEVNULL,
        )
        logger.info("workers started: %s processes as %s", self.workers, self.owner)

    def _bury(self, why: str) -> None:
        """Make sure that nothing of the group lives on, and let its leases end."""
        child, self.child = self.child, None
        if child is None:
            return
        logger.warning("workers %s: %s; starting anew", self.owner, why)
        self._kill_group(child.pid)
        child.wait()
        self.dead.append((child.pid, self.owner))
        if time.monotonic() - self.started_at > 60:
            self.crashes = 0

    def _kill_group(self, group: int) -> None:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _end_dead_leases(self) -> None:
        """End the leases of groups of which no process is left."""
        for group, owner in list(self.dead):
            if not posix.group_is_gone(group):
                continue
            try:
                now = database_now()
                ended = leasing.end_leases(owner, now)
                if not self.stop_asked:
                    queue.ring_again()
                    tick.ring_for_due(now, grace=timedelta(0))
            except (DatabaseError, InterfaceError):
                connections.close_all()
                continue
            self.dead.remove((group, owner))
            logger.info("workers %s are gone; %s leases ended", owner, ended)

    def _tick(self) -> None:
        try:
            now = database_now()
            self._beat(now)
            if self.life.is_over(queue.rings_wait(now - RING_PATIENCE)):
                self._bury("no task has come back for too long")
                self._start()
            tick.ring_for_due(now)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("tick: the database does not answer (%s)", type(error).__name__)
            connections.close_all()
        except Exception:  # the tick is the clock of everything: it must not stop
            logger.exception("tick failed")

    def _beat(self, now: datetime) -> None:
        beat, created = WorkerBeat.objects.update_or_create(
            owner=self.owner,
            defaults={"seen_at": now, "stopped_at": None},
            create_defaults={"seen_at": now, "started_at": now},
        )
        if created:
            WorkerBeat.objects.filter(seen_at__lt=now - timedelta(days=1)).delete()
        if self.life.wants_echo(beat.echoed_at):
            queue.enqueue("agenticos.queue.echo")

    def _stop(self) -> int:
        """Let slices end between two sends, so nothing stays claimed; then be sure."""
        code = 0
        self.stop_file.touch()
        child = self.child
        if child is not None:
            child.terminate()
            try:
                child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                logger.error("workers did not stop within %s s; killing them", STOP_WITHIN_S)
                code = 1
            self._kill_group(child.pid)
            child.wait()
            self.dead.append((child.pid, self.owner))
        deadline = time.monotonic() + 5
        while self.dead and time.monotonic() < deadline:
            self._end_dead_leases()
            time.sleep(0.05)
        try:
            WorkerBeat.objects.filter(owner=self.owner).update(stopped_at=database_now())
        except (DatabaseError, InterfaceError):
            pass
        self.stop_file.unlink(missing_ok=True)
        self.run_folder.rmdir()
        logger.info("workers stopped")
        return code
