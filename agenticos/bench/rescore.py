"""Leads a second under a new ICP version: read, scored, written in chunks, switched at the end.

The limit is one bare SQL UPDATE of the score column of the same rows.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from agenticos.bench.stage import Stage


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `rescore`."""
    n = n or 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            from agenticos.bench import cloning

            cloning.leads(stage, n)
            value, limit = n / _rescore(stage), n / _bare(stage)
            return {
                "name": name,
                "value": round(value),
                "unit": "leads/s",
                "limit": round(limit),
                "ratio": round(value / limit, 3),
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def _rescore(stage: Stage) -> float:
    from django.conf import settings
    from django.utils import timezone

    from agenticos import garbage, scope
    from leads import actions, scoring, tasks
    from leads.models import Icp

    settings.SLICE_BUDGET_S = 3_600
    config = scoring.IcpConfig.from_json({"weights": {"bio": 50}, "thresholds": {"hot": 75}})
    with scope.as_tenant(stage.tenant):
        version = actions.publish_icp(stage.tenant, config, by=None, now=timezone.now())
    garbage.tune()  # as a worker process does
    began = time.perf_counter()
    tasks.rescore_slice()
    seconds = time.perf_counter() - began
    with scope.as_tenant(stage.tenant):
        if Icp.objects.get().live_id != version.pk:
            raise RuntimeError("the new version is not in force")
    return seconds


def _bare(stage: Stage) -> float:
    from agenticos import scope, sql
    from leads.models import Icp

    with scope.as_tenant(stage.tenant):
        version = Icp.objects.get().live_id
        began = time.perf_counter()
        sql.run(
            "UPDATE leads_leadscore SET total = 100 - total WHERE tenant_id = %s "
            "AND version_id = %s",
            [stage.tenant.pk, version],
        )
        return time.perf_counter() - began
