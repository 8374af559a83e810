"""The dispatch work in the design of the system that AgenticOS replaces.

A FastAPI background task in the web process, its state in memory; who was written to is kept in a
store behind HTTP, two requests per saved lead (is it there? write it). A failed attempt counts as
done, as it did there.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
from fastapi import BackgroundTasks, FastAPI

app = FastAPI()
campaigns: dict[str, dict[str, Any]] = {}
client = httpx.Client(trust_env=False, timeout=10)
PROVIDER, STORE = os.environ["PROVIDER_URL"], os.environ["STORE_URL"]


@app.post("/api/campaign/start")
def start(people: list[dict[str, str]], later: BackgroundTasks) -> dict[str, Any]:
    """Begin in the background; what was sent before, by the store, is left out."""
    done = set(client.get(f"{STORE}/dm_sent").json())
    campaigns["1"] = {"status": "running", "dms_sent": 0, "dms_failed": 0}
    later.add_task(run, [one for one in people if one["recipient"] not in done])
    return campaigns["1"]


@app.get("/api/campaign/1")
def read() -> dict[str, Any]:
    """The state in memory; nothing after a restart."""
    return campaigns.get("1", {"status": "unknown"})


def run(people: list[dict[str, str]]) -> None:
    """Send one after another."""
    headers = {"Authorization": "Bearer peer-token-000001"}
    for one in people:
        body = {"recipient": {"id": one["recipient"]}, "message": {"text": one["text"]}}
        url = f"{PROVIDER}/{one['account']}/messages"
        try:
            sent = client.post(url, json=body, headers=headers).is_success
        except httpx.HTTPError:
            sent = False
        campaigns["1"]["dms_sent" if sent else "dms_failed"] += 1
        row = f"{STORE}/dm_sent/{one['recipient']}"
        if client.get(row).status_code == 404:
            client.put(row)
    campaigns["1"]["status"] = "completed"
