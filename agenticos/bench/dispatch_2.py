"""Messages a second of two worker processes on one database; the limit is twice one process.

Both figures are of the same run, over two lists of leads of the same size: the provider and the
database share the machine's cores with the workers, so two is what the machine gives and not what
the code could.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agenticos.bench import dispatch
from agenticos.bench.stage import Stage

ROOT: Final = Path(__file__).resolve().parents[2]
WORKERS: Final = 2
# What a worker process does: it says that it is ready, and begins when it is told to.
WORKER: Final = """
import django; django.setup()
from agenticos import scope
from agenticos.clock import Clock
from agenticos import garbage
from campaigns.sending import Slice
garbage.tune()
print("ready", flush=True)
input()
with scope.as_nobody():
    print(Slice(Clock(), budget_s=3600).run(), flush=True)
"""


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `dispatch-2`."""
    from integrations.tests.live import LiveSandbox

    n = n or 20_000
    with tempfile.TemporaryDirectory() as folder, LiveSandbox() as sandbox:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter(sandbox.url)
            stage.build(messages=2 * n, accounts=dispatch.ACCOUNTS)
            _lists(stage, n)
            one = _measure(stage, n, "list 1", 1)
            value = _measure(stage, n, "list 2", WORKERS)
            return {
                "name": name,
                "value": round(value, 1),
                "unit": "messages/s",
                "limit": round(WORKERS * one, 1),
                "ratio": round(value / (WORKERS * one), 3),
                "over_one": round(value / one, 3),
                "n": n,
                "engine": stage.engine,
                "delivered": sandbox.state(summary=True)["counts"],
            }
        finally:
            stage.leave()


def _lists(stage: Stage, n: int) -> None:
    """Two lists of `n` leads, so that the second campaign writes to nobody of the first."""
    from agenticos import scope
    from leads.models import Lead, LeadTag

    with scope.as_tenant(stage.tenant):
        ids = list(Lead.objects.order_by("pk").values_list("pk", flat=True))
        for place, some in enumerate((ids[:n], ids[n:]), start=1):
            LeadTag.objects.bulk_create(
                (LeadTag(tenant=stage.tenant, lead_id=pk, name=f"list {place}") for pk in some),
                batch_size=2_000,
            )


def _measure(stage: Stage, n: int, tag: str, workers: int) -> float:
    """Messages a second of so many processes that begin at once."""
    from django.db import connections

    campaign = stage.start(limit=n, tag=tag)
    stage.freeze(campaign, n)
    connections.close_all()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("a worker did not start")
    began = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # Whoever is left without work ends early; the last one says when everything has been settled.
    for process in processes:
        process.wait()
    seconds = time.perf_counter() - began
    counts = stage.counts(campaign)
    if counts["sent"] != n:
        raise RuntimeError(f"not everything was sent: {counts}")
    return n / seconds
