"""Simulated hosts: network namespaces with addresses and wall clocks of their own, on one bridge.

Where namespaces are not allowed, a host is a group of processes with a wall clock of its own: it
can be killed, not cut off.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from agenticos.tests.chaos.servers import kill_trees

ROOT: Final = Path(__file__).resolve().parents[3]
SKEW: Final = Path(__file__).parent / "skew"
BRIDGE: Final = "aoschaos"
NETWORK: Final = "10.213.77.0/24"
CENTRE: Final = "10.213.77.1"


def _ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.returncode == 0


def namespaces_allowed() -> bool:
    """Whether this user may make network namespaces and a bridge."""
    try:
        made = _ip("link", "add", BRIDGE, "type", "bridge", check=False)
    except FileNotFoundError:
        return False
    return made and _ip("link", "del", BRIDGE, check=False)


class Host:
    """Where processes of one machine run: on this one, with a wall clock of their own."""

    address = "127.0.0.1"

    def __init__(self, name: str, folder: Path, skew_s: float = 0.0) -> None:
        self.name = name
        self.clock = folder / f"clock-{name}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.set_clock(skew_s)

    def set_clock(self, seconds: float) -> None:
        self.skew_s = seconds
        self.clock.write_text(str(seconds), encoding="ascii")

    def _prefix(self) -> list[str]:
        return []

    def manage(self, log: Any, *words: str) -> subprocess.Popen[bytes]:
        """Start a management command here, with this host's clock."""
        process = subprocess.Popen(
            [*self._prefix(), sys.executable, str(ROOT / "manage.py"), *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(SKEW), "CHAOS_CLOCK": str(self.clock)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self.processes = [one for one in self.processes if one.poll() is None] + [process]
        return process

    def kill(self) -> None:
        """The power goes: every process of it at once."""
        kill_trees(self.processes)
        self.processes = []

    def close(self) -> None:
        self.kill()


class Namespace(Host):
    """A host with a network of its own, whose cable can be pulled."""

    def __init__(self, name: str, folder: Path, skew_s: float, number: int) -> None:
        super().__init__(name, folder, skew_s)
        self.space, self.cable = f"{BRIDGE}-{name}", f"aosc{number}"
        self.address = f"10.213.77.{10 + number}"
        inner = f"{self.cable}i"
        _ip("netns", "add", self.space)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", inner)
        _ip("link", "set", inner, "netns", self.space)
        _ip("link", "set", self.cable, "master", BRIDGE, "up")
        _ip("-n", self.space, "addr", "add", f"{self.address}/24", "dev", inner)
        _ip("-n", self.space, "link", "set", inner, "up")
        _ip("-n", self.space, "link", "set", "lo", "up")

    def _prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.space]

    def pull(self) -> None:
        _ip("link", "set", self.cable, "down")

    def plug(self) -> None:
        _ip("link", "set", self.cable, "up")

    def close(self) -> None:
        super().close()
        _ip("link", "del", self.cable, check=False)
        _ip("netns", "del", self.space, check=False)


def make_bridge() -> None:
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{CENTRE}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def remove_bridge() -> None:
    _ip("link", "del", BRIDGE, check=False)
