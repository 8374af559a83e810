"""Requests a second of `GET /api/campaign/{id}` with a key, one process, no server around it.

The campaign runs, with 1 000 messages to come. Each request is one call of the WSGI application,
so all of Django, the key, the limiter and the forecast are in it. The limit is a bare WSGI
function that runs the very SQL of one such request, and answers with its bytes.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from agenticos.bench.stage import Stage
from agenticos.scope import Scope

MESSAGES: Final = 1_000
WARM_UP: Final = 20
ROUNDS: Final = 3  # of ours and of the bare one in turn; the median counts

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `api-campaign` with `n` requests a round."""
    n = n or 500
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter(
                "http://127.0.0.1:9",
                API_KEY_PER_MINUTE="100000000",
                API_TENANT_PER_MINUTE="100000000",
            )
            return {"name": name, **_measure(stage, n), "n": n, "engine": stage.engine}
        finally:
            from agenticos import limits

            limits.close()
            stage.leave()


def _measure(stage: Stage, n: int) -> dict[str, Any]:
    from django.core.wsgi import get_wsgi_application

    stage.build(messages=MESSAGES, accounts=20)
    environ = _environ(f"/api/campaign/{_campaign(stage)}", _key(stage))
    ours = get_wsgi_application()
    bare = _bare(ours, environ)
    for application in (ours, bare):
        _rate(application, environ, WARM_UP)
    pairs = [(_rate(ours, environ, n), _rate(bare, environ, n)) for _ in range(ROUNDS)]
    value, limit = sorted(pairs, key=lambda pair: pair[0] / pair[1])[ROUNDS // 2]
    return {
        "value": round(value),
        "unit": "requests/s",
        "limit": round(limit),
        "ratio": round(value / limit, 3),
    }


def _campaign(stage: Stage) -> int:
    """A campaign whose audience is frozen and which nobody works on."""
    from campaigns import tasks

    campaign = stage.start(limit=MESSAGES)
    tasks.prepare_slice()
    counts = stage.counts(campaign)
    if counts["queued"] != MESSAGES:
        raise RuntimeError(f"the ledger has {counts} and not {MESSAGES} to come")
    return int(campaign.pk)


def _key(stage: Stage) -> str:
    from django.utils import timezone

    from agenticos import scope
    from tenants import api_keys
    from tenants.models import Membership, User

    now = timezone.now()
    with scope.as_tenant(stage.tenant):
        owner = Membership.objects.create(
            tenant=stage.tenant, user=User.objects.create_user("owner@example.com"), role="owner"
        )
        key, text = api_keys.create_key(
            owner, name="bench", scopes=["campaigns:read"], days=1, by=None, now=now
        )
        key.last_used_at = now + timedelta(days=1)  # it is not noted during the run
        key.save(update_fields=["last_used_at"])
    return text


def _environ(path: str, key: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _ask(application: Application, environ: dict[str, Any]) -> bytes:
    """The body of one answer. Raises RuntimeError unless it is 200."""
    heard: list[str] = []
    answer = application(
        {**environ, "wsgi.input": io.BytesIO()}, lambda status, *_: heard.append(status)
    )
    body = b"".join(answer)
    if close := getattr(answer, "close", None):
        close()
    if not heard[0].startswith("200"):
        raise RuntimeError(f"the answer is {heard[0]}: {body[:200]!r}")
    return body


def _rate(application: Application, environ: dict[str, Any], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        _ask(application, environ)
    return count / (time.perf_counter() - began)


def _bare(ours: Application, environ: dict[str, Any]) -> Application:
    """A function that runs the SQL of one request of ours, with its values, and answers the same.

    What ran in one scope runs in one transaction of it. The limiter's statements, which run on its
    own connection, are not among them.
    """
    from django.db import connection, transaction

    from agenticos import scope

    seen: list[tuple[Scope | None, str, Any]] = []

    def watch(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((scope.current(), statement, params))
        return execute(statement, params, many, context)

    with connection.execute_wrapper(watch):
        body = _ask(ours, environ)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        for where, statements in groupby(seen, key=lambda one: one[0]):
            with _in(where), transaction.atomic(), connection.cursor() as cursor:
                for _scope, statement, params in statements:
                    cursor.execute(statement, params)
                    cursor.fetchall()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]

    return application


def _in(where: Scope | None) -> AbstractContextManager[None]:
    from agenticos import scope

    if where is None:
        return scope.as_nobody()
    if where.tenant_id is None:
        return scope.as_system(where.reason)
    return scope.as_tenant(where.tenant_id)
