"""CSV rows a second to scored leads: read, checked, known ones found again, scored, written.

The limit is the database alone: `COPY` of the same rows into a bare table and one `INSERT … ON
CONFLICT` from there; on SQLite, which has no COPY, the same by `executemany`.
"""

from __future__ import annotations

import csv
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agenticos.bench import preview
from agenticos.bench.stage import Stage

COLUMNS: Final = (
    *("handle", "name", "bio", "followers", "following", "posts", "recent_posts", "engagement"),
    *("is_private", "is_business", "category", "frequency", "city"),
)


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `import`."""
    n = n or 100_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            stage.build(messages=0, accounts=0)
            path = write_file(Path(folder) / "leads.csv", n)
            limit = n / bare(path)
            value = n / import_file(stage, path, n)
            return {
                "name": name,
                "value": round(value),
                "unit": "rows/s",
                "limit": round(limit),
                "ratio": round(value / limit, 3),
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def write_file(path: Path, n: int, *, first: int = 0) -> Path:
    """A CSV file of `n` people who differ, numbered from `first`; the same in every run."""
    dice = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for number in range(first, first + n):
            writer.writerow({"handle": f"lead{number:07}", **preview.profile(dice)})
    return path


def import_file(stage: Stage, path: Path, n: int) -> float:
    """Seconds from the stored file to scored leads."""
    from django.conf import settings
    from django.utils import timezone

    from agenticos import garbage, scope
    from leads import actions, tasks
    from leads.models import LeadImport, LeadScore

    settings.SLICE_BUDGET_S = 36_000
    settings.STORAGES = {**settings.STORAGES, "default": files_in(stage.folder / "files")}
    with scope.as_tenant(stage.tenant), path.open("rb") as file:
        row = actions.start_import(stage.tenant, file, path.name, by=None, now=timezone.now())
    garbage.tune()  # as a worker process does
    began = time.perf_counter()
    with scope.as_nobody():
        tasks.import_slice()
    seconds = time.perf_counter() - began
    with scope.as_tenant(stage.tenant):
        found = LeadImport.objects.get(pk=row.pk)
        if (found.state, found.created, LeadScore.objects.count()) != ("done", n, n):
            raise RuntimeError(f"not everything came in: {found.state}, {found.created} leads")
    return seconds


def files_in(folder: Path) -> dict[str, Any]:
    """A storage of files that goes with the stage."""
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": folder},
    }


def bare(path: Path) -> float:
    """Seconds that the database alone takes for the same rows."""
    from django.db import connection, transaction

    names = ", ".join(COLUMNS)
    columns = ", ".join(f"{name} text" for name in COLUMNS)
    merge = (
        f"INSERT INTO bare_leads ({names}) SELECT {names} FROM bare_rows WHERE true "
        "ON CONFLICT (handle) DO UPDATE SET name = excluded.name"
    )
    with path.open(newline="", encoding="utf-8") as file, connection.cursor() as cursor:
        rows = list(csv.reader(file))[1:]
        cursor.execute(f"CREATE TEMPORARY TABLE bare_rows ({columns})")
        cursor.execute(f"CREATE TABLE bare_leads ({columns}, UNIQUE (handle))")
        began = time.perf_counter()
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY bare_rows ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                marks = ", ".join(["%s"] * len(COLUMNS))
                cursor.executemany(f"INSERT INTO bare_rows VALUES ({marks})", rows)
            cursor.execute(merge)
        seconds = time.perf_counter() - began
        cursor.execute("DROP TABLE bare_leads")
    return seconds
