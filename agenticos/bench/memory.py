"""Peak memory of a worker process through a large campaign and a large import, over its idle size.

Each is done by a process of its own, watched from outside; it is idle once Django is up and the
work is imported. The value is the growth in megabytes that comes nearer to its target; `cases`
has both. The limit is the idle size.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agenticos.bench import dispatch, importing
from agenticos.bench.dispatch_2 import ROOT, WORKER
from agenticos.bench.stage import Stage

EVERY_S: Final = 0.05
IMPORTER: Final = """
import sys
import django; django.setup()
from django.conf import settings
settings.SLICE_BUDGET_S = 36_000
settings.STORAGES["default"]["OPTIONS"]["location"] = sys.argv[1]
from agenticos import scope
from agenticos import garbage
from leads import tasks
garbage.tune()
print("ready", flush=True)
input()
with scope.as_nobody():
    tasks.import_slice()
"""
ROWS: Final = 5  # of the import, for each message of the campaign
FILE: Final = 250_000  # rows of one file: more of these would be over its limit in bytes
TARGETS_MB: Final = {"campaign": 150, "import": 250}


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `memory`."""
    from integrations.tests.live import LiveSandbox

    n = n or 100_000
    with tempfile.TemporaryDirectory() as folder, LiveSandbox() as sandbox:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter(sandbox.url)
            stage.build(messages=n, accounts=dispatch.ACCOUNTS)
            cases = {"campaign": _campaign(stage, n), "import": _import(stage, n * ROWS)}
            worst = max(cases, key=lambda case: cases[case]["grown"] / TARGETS_MB[case])
            grown, idle = cases[worst]["grown"], cases[worst]["idle"]
            return {
                "name": name,
                "value": grown,
                "unit": "MB over idle",
                "limit": idle,
                "ratio": round(grown / idle, 2),
                "cases": cases,
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def _campaign(stage: Stage, n: int) -> dict[str, float]:
    campaign = stage.start(limit=n)
    stage.freeze(campaign, n)
    found = _watch([WORKER])
    if stage.counts(campaign)["sent"] != n:
        raise RuntimeError(f"not everything was sent: {stage.counts(campaign)}")
    return found


def _import(stage: Stage, n: int) -> dict[str, float]:
    from django.conf import settings
    from django.utils import timezone

    from agenticos import scope
    from leads import actions
    from leads.models import LeadImport

    files = stage.folder / "files"
    settings.STORAGES = {**settings.STORAGES, "default": importing.files_in(files)}
    for first in range(0, n, FILE):
        path = stage.folder / f"{first}.csv"
        importing.write_file(path, min(FILE, n - first), first=first)
        with scope.as_tenant(stage.tenant), path.open("rb") as file:
            actions.start_import(stage.tenant, file, path.name, by=None, now=timezone.now())
    found = _watch([IMPORTER, str(files)])
    with scope.as_tenant(stage.tenant):
        states = set(LeadImport.objects.values_list("state", flat=True))
    if states != {"done"}:
        raise RuntimeError(f"the imports are {states}")
    return found


def _watch(program: list[str]) -> dict[str, float]:
    """Run a Python program of `WORKER`'s kind; its idle size and its growth in megabytes."""
    import psutil
    from django.db import connections

    connections.close_all()
    process = subprocess.Popen(
        [sys.executable, "-c", *program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise RuntimeError("the worker did not start")
    size = psutil.Process(process.pid).memory_info
    idle = peak = size().rss
    process.stdin.write("go\n")
    process.stdin.flush()
    while process.poll() is None:
        try:
            peak = max(peak, size().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(EVERY_S)
    if process.wait():
        raise RuntimeError("the worker failed")
    return {"idle": round(idle / 2**20, 1), "grown": round((peak - idle) / 2**20, 1)}
