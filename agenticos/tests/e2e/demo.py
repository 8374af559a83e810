"""A demo of one's own: the checkout copied into an empty folder and started as a newcomer would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from agenticos.tests.environment import ROOT, variables

START_S = 300  # on a machine that is busy with other things
LEFT_OUT = shutil.ignore_patterns(".venv", "var", ".git", "__pycache__", ".*_cache", "node_modules")


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


class Demo:
    """Web, workers and sandbox on ports of their own, until the block ends."""

    def __enter__(self) -> Demo:
        self.folder = Path(tempfile.mkdtemp(prefix="agenticos e2e "))  # a space: folders have them
        self.root = self.folder / "checkout"
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT)
        self.port, sandbox = free_port(), free_port()
        self.base = f"http://localhost:{self.port}"
        self.sandbox = f"http://127.0.0.1:{sandbox}"
        own = {*variables(), "DJANGO_SETTINGS_MODULE", "ENV_FILE"}
        self.environment = {name: value for name, value in os.environ.items() if name not in own}
        self.run("-m", "agenticos.bootstrap", "--sandbox-port", str(sandbox))
        self.log = (self.folder / "up.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(self.port)],
            cwd=self.root,
            env=self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.log.close()
        if error is not None:
            sys.stderr.write((self.folder / "up.log").read_text(errors="replace")[-4000:])
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words: str) -> str:
        """Run Python in the checkout; return what it printed. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def faults(self, *rules: dict[str, Any]) -> None:
        """Make the sandbox misbehave by these rules and no others (integrations/sandbox)."""
        ask = urllib.request.Request(
            f"{self.sandbox}/_sandbox/faults",
            data=json.dumps(rules).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(ask, timeout=10):
            pass

    def _wait(self) -> None:
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.base}/accounts/login/", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        self.log.flush()
        raise RuntimeError(f"the demo did not start:\n{(self.folder / 'up.log').read_text()}")
