"""Milliseconds of the lead list with a million leads: the first, a deep and a filtered page.

The value is the 95th percentile of the slowest of the three, through all of Django; `cases` has
each. The limit is what the page's own statements take of it.
"""

from __future__ import annotations

import html
import re
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from agenticos.bench.claim import percentile
from agenticos.bench.stage import Stage

TIMES: Final = 20
PAGES_DEEP: Final = 5


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `leads-page`."""
    n = n or 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter("http://127.0.0.1:9")
            _build(stage, n)
            cases, bare = _measure()
            worst = max(cases, key=lambda case: cases[case])
            return {
                "name": name,
                "value": cases[worst],
                "unit": "ms",
                "limit": bare[worst],
                "ratio": round(cases[worst] / bare[worst], 2),
                "cases": cases,
                "bare": bare,
                "n": n,
                "engine": stage.engine,
            }
        finally:
            stage.leave()


def _build(stage: Stage, n: int) -> None:
    from django.conf import settings

    from agenticos import scope
    from agenticos.bench import cloning
    from tenants.models import Membership, User

    settings.STORAGES["staticfiles"] = {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
    }
    cloning.leads(stage, n)
    with scope.as_tenant(stage.tenant):
        owner = User.objects.create_user("owner@example.com")
        Membership.objects.create(tenant=stage.tenant, user=owner, role="owner")


def _measure() -> tuple[dict[str, float], dict[str, float]]:
    from django.db import connection
    from django.test import Client

    from agenticos import garbage
    from tenants.models import User

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get())
    client.get("/t/acme/leads/")  # what is loaded once
    garbage.tune(recycled=False)  # as the web process does
    cases, bare = {}, {}
    for case, path in _paths(client):
        spent: list[float] = []
        with connection.execute_wrapper(partial(_timed, spent)):
            client.get(path)
        taken = []
        for _ in range(TIMES):
            began = time.perf_counter()
            if client.get(path).status_code != 200:
                raise RuntimeError(f"{path} does not answer")
            taken.append(1_000 * (time.perf_counter() - began))
        cases[case] = round(percentile(taken), 1)
        bare[case] = round(1_000 * sum(spent), 1)
    return cases, bare


def _timed(spent: list[float], execute: Callable[..., Any], *args: Any) -> Any:
    began = time.perf_counter()
    try:
        return execute(*args)
    finally:
        spent.append(time.perf_counter() - began)


def _paths(client: Any) -> list[tuple[str, str]]:
    """The three addresses; the deep one is reached as people reach it, page by page."""
    first = deep = "/t/acme/leads/"
    for _ in range(PAGES_DEEP):
        found = re.search(r'rel="next" href="([^"]+)"', client.get(deep).content.decode())
        if found is None:
            raise RuntimeError(f"{deep} has no next page")
        deep = first + html.unescape(found[1])
    filtered = f"{first}?band=HOT&f=city&o=is&v=Recife&u="
    return [("first", first), ("deep", deep), ("filtered", filtered)]
