"""`manage.py up`: what `make run` starts. Web, workers and the sandbox together, and an end to all.

Each child has a session of its own, so the terminal's Ctrl-C reaches this process alone, which
stops them in order: the workers first, that nothing is cut off in flight.
"""

from __future__ import annotations

import ctypes
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection

from agenticos import demo, running

LOCK = settings.VAR_DIR / "run.lock"
START_S = 60


@dataclass(slots=True)
class Child:
    """A process that must live as long as this one, and how it is asked to end."""

    name: str
    process: subprocess.Popen[bytes]
    ask: signal.Signals
    patience_s: float


def _end_with_parent() -> None:
    """In the child: end when the parent is killed, where the system can do that."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Command(BaseCommand):
    help = "Prepare the database, then run web, workers and the sandbox until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        self.port: int = options["port"]
        self.children: list[Child] = []
        self.stop = threading.Event()
        self.stopping = False
        if not 1 <= self.port <= 65535:
            raise CommandError(f"PORT is {self.port}; expected a port from 1 to 65535.")
        try:
            with running.only_one(LOCK):
                self._run()
        except running.AlreadyRunning as error:
            raise CommandError(
                f"AgenticOS already runs from this folder (process {error.pid}). Stop it with "
                "Ctrl-C in its terminal first."
            ) from None

    def _run(self) -> None:
        self._check_ports()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupted)
        began = time.monotonic()
        self._prepare()
        try:
            if not self.stop.is_set():
                self._start_children()
                self._wait_for_the_page()
                if not self.stop.is_set():
                    self._greet(time.monotonic() - began)
            self._watch()
        finally:
            self._stop_children()

    def _interrupted(self, number: int, frame: object) -> None:
        if self.children and not self.stop.is_set():
            self.stdout.write("\nStopping: the workers end what is in flight ...")
        self.stop.set()

    # --- Before ---------------------------------------------------------------------------------

    def _check_ports(self) -> None:
        if not running.is_free(self.port):
            other = next(
                (
                    port
                    for port in range(self.port + 1, min(self.port + 100, 65535))
                    if running.is_free(port)
                ),
                self.port + 1,
            )
            raise CommandError(
                f"Port {self.port} is taken by another program. Stop that one, or take another "
                f"port: make run PORT={other}"
            )
        if self._uses_sandbox() and not running.is_free(settings.SANDBOX_PORT):
            raise CommandError(
                f"Port {settings.SANDBOX_PORT}, which the sandbox providers need, is taken by "
                f"another program. Stop that one, or take another port: "
                f"make run SANDBOX_PORT={settings.SANDBOX_PORT + 1}"
            )

    def _uses_sandbox(self) -> bool:
        """Whether the settings send the adapters to the sandbox on this machine."""
        return any(
            (parts := urlsplit(address)).hostname in settings.LOOPBACK
            and parts.port == settings.SANDBOX_PORT
            for address in (settings.GHL_BASE_URL, settings.INSTAGRAM_GRAPH_BASE_URL)
        )

    def _prepare(self) -> None:
        settings.VAR_DIR.mkdir(exist_ok=True)
        self.stdout.write("Preparing the database ...")
        try:
            call_command("migrate", verbosity=0, interactive=False)
            call_command("createcachetable", verbosity=0)
        except OperationalError as error:
            raise CommandError(
                f"The database does not answer; DATABASE_URL says where it is. {error}"
            ) from None
        self._collect_static()
        if settings.IS_LOCAL and demo.is_wanted():
            self.stdout.write("The database is empty: making the demo ...")
            demo.seed()

    def _collect_static(self) -> None:
        """Gather and compress the static files, if any changed since the last time."""
        mark = settings.STATIC_ROOT / ".fingerprint"
        now = _fingerprint()
        if not mark.is_file() or mark.read_text() != now:
            self.stdout.write("Gathering the static files ...")
            call_command("collectstatic", verbosity=0, interactive=False, clear=True)
            mark.write_text(now)

    # --- Running --------------------------------------------------------------------------------

    def _start_children(self) -> None:
        manage = [sys.executable, str(settings.BASE_DIR / "manage.py")]
        if self._uses_sandbox():
            state = str(settings.VAR_DIR / "sandbox.jsonl")
            port = str(settings.SANDBOX_PORT)
            sandbox = [*manage, "sandbox", "--port", port, "--state", state]
            self._start("sandbox", sandbox, signal.SIGTERM, 5)
        self._start("web server", [*manage, "web", f"--port={self.port}"], signal.SIGTERM, 10)
        self._start("workers", [*manage, "runworkers"], signal.SIGTERM, 45)

    def _start(self, name: str, command: list[str], ask: signal.Signals, patience: float) -> None:
        process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        self.children.append(Child(name, process, ask, patience))

    def _wait_for_the_page(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.stop.is_set() and not self._dead():
            status = _status_of_the_page(self.port)
            if status >= 500:
                raise CommandError(
                    f"The page answers with an error ({status}). What it says stands above."
                )
            if status:
                return
            if time.monotonic() > deadline:
                raise CommandError(f"The page did not answer within {START_S} seconds.")
            self.stop.wait(0.1)

    def _dead(self) -> Child | None:
        return next((child for child in self.children if child.process.poll() is not None), None)

    def _watch(self) -> None:
        while not self.stop.wait(0.3):
            if child := self._dead():
                raise CommandError(
                    f"The {child.name} ended by themselves (code {child.process.returncode}), so "
                    "everything is stopped. What they said stands above."
                    if child.name.endswith("s")
                    else f"The {child.name} ended by itself (code {child.process.returncode}), so "
                    "everything is stopped. What it said stands above."
                )

    def _stop_children(self) -> None:
        """Ask each child to end, the last one started first; kill those that do not."""
        for child in reversed(self.children):
            if child.process.poll() is None:
                child.process.send_signal(child.ask)
                try:
                    child.process.wait(child.patience_s)
                except subprocess.TimeoutExpired:
                    self.stderr.write(f"The {child.name} did not end in time: killed.")
                    os.killpg(child.process.pid, signal.SIGKILL)
                    child.process.wait()
        if self.children:
            self.stdout.write("Stopped. `make run` goes on where this ended.")

    def _greet(self, seconds: float) -> None:
        engine = (
            "SQLite, var/db.sqlite3. Tenants are kept apart by the code alone here: row-level "
            "security exists on PostgreSQL only."
            if connection.vendor == "sqlite"
            else "PostgreSQL."
        )
        lines = [
            "",
            f"AgenticOS runs at http://localhost:{self.port} (after {seconds:.0f} s)",
            f"Engine: {engine}",
        ]
        if demo.is_there():
            lines += ["", *demo.guide(self.port)]
        if self._uses_sandbox():
            lines += [
                "",
                "No message leaves this machine: the providers are a sandbox. What it received:",
                f"  http://127.0.0.1:{settings.SANDBOX_PORT}/_sandbox/state",
            ]
        lines += ["", "Ctrl-C stops everything; `make run` again goes on."]
        self.stdout.write("\n".join(lines))


def _status_of_the_page(port: int) -> int:
    """What the log-in page answers; 0 while nobody does."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        link.request("GET", "/accounts/login/", headers={"Host": f"localhost:{port}"})
        return link.getresponse().status
    except OSError:
        return 0
    finally:
        link.close()


def _fingerprint() -> str:
    """A value that changes with our static files and with the packages that bring their own."""
    parts = [(settings.BASE_DIR / "requirements.txt").read_bytes()]
    for folder in settings.STATICFILES_DIRS:
        for path in sorted(Path(folder).rglob("*")):
            facts = path.stat()
            parts.append(f"{path}:{facts.st_size}:{facts.st_mtime_ns}".encode())
    return hashlib.sha256(b"\n".join(parts)).hexdigest()
