"""People and programs while things break: pages are opened, drafts are started, all is noted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

NOBODY: Final = 0  # nobody listens: the process was killed, or starts
STUCK: Final = -1  # no answer at all: the one thing that must not be
PATIENCE_S: Final = 30.0
PEOPLE: Final = 10  # more than the web server has threads
EVERY_S: Final = 4.0  # a person opens a page so often, some more, some less
MONITOR_S: Final = 0.5
START: Final = "/api/campaign/start"


@dataclass(slots=True)
class Seen:
    """What the crowd has seen since it was last asked."""

    pages: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    alive: Counter[int] = field(default_factory=Counter)  # of /healthz
    alive_slowest_s: float = 0.0


class Crowd:
    """Ten people, a monitor, and a program that starts each draft with one key until answered."""

    def __init__(self, base: str, pages: list[str], cookie: str, key: str) -> None:
        self.base, self.pages, self.cookie, self.key = base, pages, cookie, key
        self.total: Counter[int] = Counter()
        self.broken: Counter[str] = Counter()
        self.drafts: list[int] = []  # to be started
        self._seen = Seen()
        self._lock = threading.Lock()
        self._over = threading.Event()
        jobs: list[Callable[[], None]] = [self._monitor, self._program]
        jobs += [lambda place=place: self._person(place) for place in range(PEOPLE)]  # type: ignore[misc]  # bound now, not later
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def is_welcome(self) -> bool:
        """Whether the web process answers."""
        with self._client() as client:
            return _timed(lambda: client.get("/healthz"))[0] == 200

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _client(self, **headers: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.base,
            headers={"Host": "localhost", **headers},
            timeout=PATIENCE_S,
            trust_env=False,
        )

    def _person(self, place: int) -> None:
        with self._client() as client:
            client.cookies.set("sessionid", self.cookie)
            pause = EVERY_S * (0.5 + place / PEOPLE)
            while not self._over.wait(pause):
                path = self.pages[place % len(self.pages)]
                place += 1
                self._note(path, *_timed(lambda path=path: client.get(path)))  # type: ignore[misc]  # bound now, not later

    def _monitor(self) -> None:
        with self._client() as client:
            while not self._over.wait(MONITOR_S):
                status, seconds = _timed(lambda: client.get("/healthz"))
                with self._lock:
                    self._seen.alive[status] += 1
                    if status != NOBODY:
                        self._seen.alive_slowest_s = max(self._seen.alive_slowest_s, seconds)
                    if status not in (200, NOBODY):
                        self.broken[f"{status} /healthz"] += 1

    def _program(self) -> None:
        """The same key each time: whatever was lost on the way, a draft starts once."""
        with self._client(Authorization=f"Bearer {self.key}") as client:
            while not self._over.wait(0.3):
                if self.drafts and self._starts(client, self.drafts[0]):
                    self.drafts.pop(0)

    def _starts(self, client: httpx.Client, draft: int) -> bool:
        headers = {"Idempotency-Key": f"draft-{draft}"}
        body: dict[str, Any] = {"campaign_id": draft}
        status, seconds = _timed(lambda: client.post(START, json=body, headers=headers))
        if status not in (202, 429):
            self._note(START, status, seconds)
        return status == 202

    def _note(self, path: str, status: int, seconds: float) -> None:
        with self._lock:
            self.total[status] += 1
            self._seen.pages[status] += 1
            if status != NOBODY:
                self._seen.slowest_s = max(self._seen.slowest_s, seconds)
            if status not in (200, 503, NOBODY):
                self.broken[f"{status} {path}"] += 1

    def seen(self) -> Seen:
        """What was seen since the last time."""
        with self._lock:
            seen, self._seen = self._seen, Seen()
        return seen

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(PATIENCE_S * 2)


def _timed(ask: Callable[[], httpx.Response]) -> tuple[int, float]:
    """The status of an answer, and how long it took in seconds."""
    began = time.monotonic()
    try:
        status = ask().status_code
    except httpx.TimeoutException:
        status = STUCK
    except httpx.TransportError:
        status = NOBODY
    return status, time.monotonic() - began
