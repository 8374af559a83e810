"""What row-level security costs a page: 15 queries with it, in relation to the same without.

The limit is the same page with the policies off and the scope not told to the database. Both are
measured in turns, so that what else the machine does falls on both; the figure is the median.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from agenticos.bench import preview
from agenticos.bench.stage import Stage

TURNS = 5


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `isolation`: pages a second; `n` is the number of pages of a turn."""
    n = n or 100
    if not database_url:
        raise SystemExit("isolation is measured on PostgreSQL: SQLite has no policies.")
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            preview.build(stage, 2_000)
            _page(stage)
            walled: list[float] = []
            open_: list[float] = []
            for _ in range(TURNS):
                open_.extend(_without(stage, n))
                walled.extend(_timed(stage, n))
            value, limit = 1 / median(walled), 1 / median(open_)
            return {
                "name": name,
                "value": round(value),
                "unit": "pages/s",
                "limit": round(limit),
                "ratio": round(value / limit, 3),
                "n": n * TURNS,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def _timed(stage: Stage, n: int) -> list[float]:
    taken = []
    for _ in range(n):
        began = time.perf_counter()
        _page(stage)
        taken.append(time.perf_counter() - began)
    return taken


def _without(stage: Stage, n: int) -> list[float]:
    """The same with the policies off and the backend's wrapper out of the way."""
    from django.db import connection

    _policies("DISABLE")
    wrappers, connection.execute_wrappers = connection.execute_wrappers, []
    try:
        return _timed(stage, n)
    finally:
        connection.execute_wrappers = wrappers
        _policies("ENABLE")


def _policies(verb: str) -> None:
    from django.apps import apps
    from django.db import connection

    from tenants.owned import TenantOwned

    with connection.schema_editor() as editor:
        for model in apps.get_models():
            if issubclass(model, TenantOwned):
                table = editor.quote_name(model._meta.db_table)
                editor.execute(f"ALTER TABLE {table} {verb} ROW LEVEL SECURITY")


def _page(stage: Stage) -> None:
    """15 queries of the kinds that pages ask, in the one transaction of a page."""
    from django.db import transaction

    from agenticos import scope, timeouts
    from leads.models import Icp, Lead, LeadScore

    with timeouts.within(timeouts.PAGE), scope.as_tenant(stage.tenant), transaction.atomic():
        for number in range(5):
            list(Lead.objects.order_by("-pk")[:50])
            LeadScore.objects.filter(band="hot").count()
            Icp.objects.select_related("live").filter(pk__gt=number - 1).first()
