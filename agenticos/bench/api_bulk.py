"""Leads a second of `POST /api/v1/leads/bulk`, a thousand at a time, in process.

The limit is that of `import`: the database alone, over the same rows.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from agenticos.bench import importing, preview
from agenticos.bench.stage import Stage

ROWS: Final = 1_000  # as many as one call may have


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `api-bulk`."""
    n = n or 50_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9", API_KEY_PER_MINUTE="100000")
            stage.build(messages=0, accounts=0)
            limit = n / importing.bare(importing.write_file(Path(folder) / "leads.csv", n))
            value = n / _post(stage, n)
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


def _post(stage: Stage, n: int) -> float:
    from django.test import Client

    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {_key(stage)}"})
    dice = random.Random(7)
    people = [{"handle": f"lead{number:07}", **preview.profile(dice)} for number in range(n)]
    bodies = [json.dumps({"leads": people[at : at + ROWS]}) for at in range(0, n, ROWS)]
    began = time.perf_counter()
    for body in bodies:
        answer = client.post("/api/v1/leads/bulk", body, "application/json")
        if answer.status_code != 200 or answer.json()["rejected"]:
            raise RuntimeError(f"{answer.status_code}: {answer.content[:300]!r}")
    return time.perf_counter() - began


def _key(stage: Stage) -> str:
    """An owner's key that may do everything."""
    from datetime import timedelta

    from django.utils import timezone

    from agenticos import scope
    from tenants import keys
    from tenants.models import ApiKey, Membership, User

    made, now = keys.make_key(), timezone.now()
    with scope.as_tenant(stage.tenant):
        owner = Membership.objects.create(
            tenant=stage.tenant, user=User.objects.create_user("owner@example.com"), role="owner"
        )
        ApiKey.objects.create(
            tenant=stage.tenant,
            name="bench",
            public_id=made.public_id,
            digest=made.digest,
            last_four=made.last_four,
            scopes=["leads:read", "leads:write"],
            created_by=owner,
            expires_at=now + timedelta(days=1),
        )
    return made.text
