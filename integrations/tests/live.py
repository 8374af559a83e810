"""A real sandbox for tests: a process of its own, so that forks and kills do not touch it."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_ROOT = Path(__file__).resolve().parents[2]


class LiveSandbox:
    """The sandbox on a free port of 127.0.0.1. Ends with `stop()`, or when this process dies.

    >>> with LiveSandbox() as sandbox:                               # doctest: +SKIP
    ...     sandbox.faults([{"provider": "instagram", "next": 1, "status": 503}])
    """

    def __init__(
        self,
        *,
        state_file: Path | None = None,
        port: int = 0,
        limits: bool = False,
        host: str = "127.0.0.1",
    ):
        command = [sys.executable, "-m", "integrations.sandbox", f"--port={port}", f"--host={host}"]
        command.append("--until-stdin-closes")
        if state_file is not None:
            command.append(f"--state={state_file}")
        if limits:
            command.append("--limits")
        self.process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the sandbox did not start")
        self.url = line.split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=10)

    @property
    def ghl_url(self) -> str:
        """What GHL_BASE_URL is set to."""
        return f"{self.url}/ghl"

    @property
    def instagram_url(self) -> str:
        """What INSTAGRAM_GRAPH_BASE_URL is set to."""
        return f"{self.url}/instagram/v25.0"

    def state(self, *, summary: bool = False) -> dict[str, Any]:
        """What it received; with `summary` the counts alone."""
        query = {"summary": "1"} if summary else {}
        return self._answer(self._client.get("/_sandbox/state", params=query))

    def faults(self, rules: list[dict[str, Any]]) -> None:
        """Replace the fault rules."""
        self._answer(self._client.post("/_sandbox/faults", json=rules))

    def clear(self) -> None:
        """Remove the fault rules; what was received stays."""
        self._answer(self._client.delete("/_sandbox/faults"))

    def reset(self) -> None:
        """Forget everything: rules, contacts, deliveries."""
        self._answer(self._client.post("/_sandbox/reset"))

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self._close()

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self._close()

    def _close(self) -> None:
        self._client.close()
        self.process.wait(timeout=10)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        assert response.is_success, response.text
        body: dict[str, Any] = response.json()
        return body

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
