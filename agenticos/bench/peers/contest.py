"""One run of one peer: its processes, its kills, and what the provider received."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import httpx

from agenticos.bench import dispatch
from agenticos.bench.stage import Stage
from agenticos.tests.chaos.servers import Redis, free_port, kill_trees

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[2]
PYTHON: Final = ROOT / "var" / "peers" / "bin" / "python"
DELAY_MS: Final = 20  # of the provider while there are kills: they hit messages on their way
TIMEOUT_S: Final = 2
LEASE_S: Final = 3 * TIMEOUT_S  # also what the peer's broker waits
WORKERS: Final = 2
THREADS: Final = 8  # of a worker
QUIET_S: Final = 4 * LEASE_S  # nothing arrived for so long: it is over
TEXT: Final = "Oi Ana, tudo bem? " * 3


class Peer(ABC):
    """Processes that send, and how they are started, set to work and killed."""

    name = ""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.processes: list[subprocess.Popen[bytes]] = []

    def begin(self) -> None:  # noqa: B027 - where starting is all that a person does
        """Queue the work, as a person's click would."""

    @abstractmethod
    def start(self) -> None:
        """Start the processes that send."""

    def unknown(self) -> set[str]:
        """Whose message it says it is not sure of."""
        return set()

    def spawn(self, *command: str, **variables: str) -> None:
        self.processes.append(
            subprocess.Popen(
                command,
                cwd=ROOT if command[0] == sys.executable else HERE,
                env={**os.environ, **self.ring.variables, **variables},
                stdout=self.ring.log,
                stderr=self.ring.log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def kill(self) -> None:
        kill_trees(self.processes)
        self.processes = []

    def close(self) -> None:  # noqa: B027 - most have nothing of the kind
        """End what was not to be killed."""


class Ours(Peer):
    name = "AgenticOS"

    def begin(self) -> None:
        self.ring.stage.build(messages=self.ring.n, accounts=dispatch.ACCOUNTS)
        self.campaign = self.ring.stage.start(limit=self.ring.n)

    def start(self) -> None:
        manage = str(ROOT / "manage.py")
        self.spawn(sys.executable, manage, "runworkers", "--workers", str(WORKERS))

    def unknown(self) -> set[str]:
        from agenticos import scope
        from campaigns.models import Message

        with scope.as_tenant(self.ring.stage.tenant):
            rows = Message.objects.filter(campaign=self.campaign, state=Message.State.UNKNOWN)
            return set(rows.values_list("lead__handle", flat=True))


class Celery(Peer):
    name = "Celery, its defaults"
    careful = "0"

    @property
    def settings(self) -> dict[str, str]:
        return {"CAREFUL": self.careful, "THREADS": str(THREADS), "VISIBLE_S": str(LEASE_S)}

    def begin(self) -> None:
        self.ring.fill()
        self.ring.redis.flush()
        self.spawn(str(PYTHON), "celery_peer.py", **self.settings)
        queued = self.processes.pop().wait(300)
        if queued:
            raise RuntimeError("Celery's tasks could not be queued")

    def start(self) -> None:
        for number in range(WORKERS):
            worker = f"celery -A celery_peer worker -P threads -c {THREADS} -n w{number}"
            self.spawn(str(PYTHON), "-m", *worker.split(), "-l", "WARNING", **self.settings)


class CarefulCelery(Celery):
    name = "Celery, late acknowledgement"
    careful = "1"


class FirstSystem(Peer):
    name = "FastAPI background task"

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self.store_port, self.port = free_port(), free_port()
        self.spawn(*self._server("store_peer", self.store_port))
        self.store = self.processes.pop()
        self._wait_for(self.store_port, "/dm_sent")

    def _server(self, module: str, port: int) -> tuple[str, ...]:
        words = f"uvicorn {module}:app --port {port} --log-level warning"
        return (str(PYTHON), "-m", *words.split())

    def _wait_for(self, port: int, path: str) -> None:
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise RuntimeError("the web process did not start")

    def start(self) -> None:
        store = f"http://127.0.0.1:{self.store_port}"
        self.spawn(*self._server("fastapi_peer", self.port), STORE_URL=store)
        self._wait_for(self.port, "/api/campaign/1")
        people = [
            {"account": account, "recipient": recipient, "text": TEXT}
            for account, recipient in self.ring.people()
        ]
        # The campaign was in memory: whoever notices starts it anew.
        url = f"http://127.0.0.1:{self.port}/api/campaign/start"
        httpx.post(url, json=people, trust_env=False, timeout=60).raise_for_status()

    def close(self) -> None:
        self.store.kill()
        self.store.wait(30)


PEERS: Final = (Ours, CarefulCelery, Celery, FirstSystem)


class Ring:
    """One run of one peer, on a database and a Redis of its own."""

    def __init__(self, folder: Path, database_url: str, sandbox: Any, n: int) -> None:
        self.sandbox, self.n = sandbox, n
        self.redis = Redis(folder, "127.0.0.1")
        self.log = (folder / "log").open("ab")
        self.stage = Stage(folder, database_url)
        self.stage.enter(
            sandbox.url,
            HTTP_TIMEOUT_S=str(TIMEOUT_S),
            REDIS_URL=self.redis.url,
        )
        self.variables = {
            "BROKER_URL": self.redis.url.removesuffix("/0") + "/1",
            "PEER_DATABASE_URL": os.environ["DATABASE_URL"],
            "PROVIDER_URL": sandbox.instagram_url,
        }

    def people(self) -> Iterator[tuple[str, str]]:
        for number in range(self.n):
            yield f"ig{number % dispatch.ACCOUNTS}", f"lead{number:07}"

    def fill(self) -> None:
        """The peers' own table of messages, all to be sent."""
        import psycopg

        with psycopg.connect(self.variables["PEER_DATABASE_URL"]) as link:
            link.execute("DROP TABLE IF EXISTS peer_message")
            link.execute(
                "CREATE TABLE peer_message (id int PRIMARY KEY, account text, recipient text, "
                "text text, sent boolean NOT NULL DEFAULT false)"
            )
            rows = [(n, *one, TEXT) for n, one in enumerate(self.people())]
            with link.cursor() as cursor:
                cursor.executemany("INSERT INTO peer_message VALUES (%s, %s, %s, %s)", rows)

    def run(self, kind: type[Peer], kills: int) -> dict[str, Any]:
        """Let it send everything, killed so often; what the provider then has."""
        self.sandbox.reset()
        slow = [{"provider": "instagram", "delay_ms": DELAY_MS}] if kills else []
        self.sandbox.faults(slow)
        peer = kind(self)
        try:
            peer.begin()
            peer.start()
            first, last = self._watch(peer, kills)
            unknown = peer.unknown()
        finally:
            peer.kill()
            peer.close()
        received = Counter(row["recipient"] for row in self.sandbox.state()["deliveries"])
        return {
            "peer": kind.name,
            "messages_s": round(len(received) / max(last - first, 0.001), 1),
            "doubled": sum(times > 1 for times in received.values()),
            # Whoever has nothing, and is not among those of whom it is said that nobody knows.
            "lost": self.n - len(received.keys() | unknown),
            "unknown": len(unknown),
        }

    def _watch(self, peer: Peer, kills: int) -> tuple[float, float]:
        """Strike when a share has arrived; when the first and the last message came."""
        marks = [self.n * (number + 1) // (kills + 1) for number in range(kills)]
        first = last = time.monotonic()
        seen = 0
        while True:
            now, count = time.monotonic(), self._delivered()
            if count != seen:
                first = now if not seen else first
                seen, last = count, now
            if marks and seen >= marks[0]:
                marks.pop(0)
                peer.kill()
                peer.start()
                last = time.monotonic()  # a start takes its time
            if (seen >= self.n and not kills) or now - last > QUIET_S:
                return first, last
            time.sleep(0.02)

    def _delivered(self) -> int:
        return int(self.sandbox.state(summary=True)["counts"]["deliveries"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stage.leave()
        self.redis.close()
        self.log.close()


def main() -> int:
    """`python -m agenticos.bench.peers.contest PEER KILLS N URL`: one run, one JSON line.

    A process each, as Django's settings are read once.
    """
    from integrations.tests.live import LiveSandbox

    place, kills, n, url = sys.argv[1:]
    with (
        tempfile.TemporaryDirectory() as folder,
        LiveSandbox() as sandbox,
        Ring(Path(folder), url, sandbox, int(n)) as ring,
    ):
        sys.stdout.write(json.dumps(ring.run(PEERS[int(place)], int(kills))) + "\n")
    return 0


if __name__ == "__main__":
    # Whoever ends it, ends what it has started as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
