"""A PostgreSQL cluster and a Redis of one's own, to be broken; never the machine's servers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

START_S: Final = 60.0
NOBODY: Final = 65534


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
    return port


def binaries() -> Path | None:
    """Debian's newest PostgreSQL, or the one on the path; None where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[-3])
    )
    here = shutil.which("initdb")
    return found[-1].parent if found else Path(here).parent if here else None


def kill_trees(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """SIGKILL these and all that they started, all at once, and wait for their end."""
    import psutil

    processes = list(processes)
    for process in processes:
        try:
            parent = psutil.Process(process.pid)
            for one in [parent, *parent.children(recursive=True)]:
                one.kill()
        except psutil.NoSuchProcess:
            continue
    for process in processes:
        process.wait(30)


class Postgres:
    """A cluster under a folder, run by a user without privileges (PostgreSQL refuses root)."""

    def __init__(self, folder: Path, address: str, network: str = "") -> None:
        bin_folder = binaries()
        if bin_folder is None:
            raise SystemExit("chaos: PostgreSQL's initdb is not installed.")
        self.bin, self.address, self.port = bin_folder, address, free_port()
        self.home = folder / "postgres"
        self.data = self.home / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir()
        self.log = (self.home / "log").open("wb")
        if os.getuid() == 0:
            os.chown(self.home, NOBODY, NOBODY)
        initdb = ["initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        self._run([*initdb, "--locale=C.UTF-8", "--no-sync"]).wait(START_S)
        if network:
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")
        self.start()

    @property
    def url(self) -> str:
        return f"postgres://postgres@{self.address}:{self.port}/chaos"

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        as_root = os.getuid() == 0
        return subprocess.Popen(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.home,
            stdout=self.log,
            stderr=self.log,
            user=NOBODY if as_root else None,
            group=NOBODY if as_root else None,
            extra_groups=[] if as_root else None,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start it and wait until it answers; after a hard end its orphans must be gone first."""
        options = {
            "port": self.port,
            "listen_addresses": self.address,
            "unix_socket_directories": self.home,
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        command = ["postgres", "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                self.process = self._run(command)
            if self.answers():
                return
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL did not start: see {self.home / 'log'}")

    def answers(self) -> bool:
        import psycopg

        server = self.url.rpartition("/")[0] + "/postgres"
        try:
            with psycopg.connect(server, connect_timeout=2) as link:
                return link.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    def end(self, how: signal.Signals) -> None:
        """SIGINT: fast, in order. SIGQUIT: at once, without a checkpoint. SIGKILL: by force."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(START_S)

    def freeze(self) -> list[Any]:
        """Stop every process of it where it stands; what was stopped, for `thaw`."""
        import psutil

        assert self.process is not None
        server = psutil.Process(self.process.pid)
        server.suspend()  # first, so that it starts no backend meanwhile
        frozen = [server]
        for child in server.children(recursive=True):
            try:
                child.suspend()
                frozen.append(child)
            except psutil.NoSuchProcess:
                continue
        return frozen

    @staticmethod
    def thaw(frozen: list[Any]) -> None:
        import psutil

        for process in reversed(frozen):
            try:
                process.resume()
            except psutil.NoSuchProcess:
                continue

    def close(self) -> None:
        self.end(signal.SIGINT)
        self.log.close()


class Redis:
    """A Redis that keeps nothing."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address, self.port = folder, address, free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{self.address}:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", self.address]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no", "--protected-mode", "no"],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_S
        while not self.flush():
            if time.monotonic() > deadline:
                raise RuntimeError("Redis did not start")
            time.sleep(0.05)

    def flush(self) -> bool:
        """Empty it; whether it answered."""
        import redis

        try:
            with redis.Redis(self.address, self.port, socket_timeout=2) as link:
                return bool(link.flushall())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S)

    close = kill


@contextmanager
def cluster_of_its_own() -> Iterator[Postgres]:
    """A cluster that a test may freeze. Not below pytest's folders: nobody else may enter these."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Postgres(folder, "127.0.0.1")
        try:
            yield server
        finally:
            server.close()
