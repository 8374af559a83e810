"""Messages a second through claim, gates, render, HTTP, settle and CRM wish, in one process.

The limit is a bare pooled `httpx.Client` with the same number of threads, posting the same messages
to the same loopback provider in the same run. Our own calls cost less than its (`integrations/
transport.py`), so the ratio may be above one; what they make alone is measured beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from agenticos.bench.stage import Stage

ACCOUNTS = 200
BODY = {"recipient": {"id": "lead"}, "message": {"text": "Oi Ana, tudo bem? " * 3}}


def run(name: str, n: int, database_url: str) -> dict[str, Any]:
    """Measure `dispatch` (an instant provider) or `dispatch-50ms`."""
    from integrations.tests.live import LiveSandbox

    delay_ms = 50 if name == "dispatch-50ms" else 0
    n = n or (2_000 if delay_ms else 20_000)
    with tempfile.TemporaryDirectory() as folder, LiveSandbox() as sandbox:
        stage = Stage(Path(folder), database_url)
        try:
            stage.enter(sandbox.url)
            stage.build(messages=n, accounts=ACCOUNTS)
            if delay_ms:
                sandbox.faults(
                    [
                        {
                            "provider": "instagram",
                            "path": ".*",
                            "probability": 1.0,
                            "delay_ms": delay_ms,
                        }
                    ]
                )
            from django.conf import settings

            threads = settings.SEND_THREADS
            # The limit is measured before and after: other work on the machine hits both alike.
            before = threads / 0.05 if delay_ms else _bare(sandbox.url, min(n, 5_000), threads)
            value = _whole_path(stage, n)
            after = threads / 0.05 if delay_ms else _bare(sandbox.url, min(n, 5_000), threads)
            limit = (before + after) / 2
            alone = {} if delay_ms else {"calls_alone": round(_calls(min(n, 5_000), threads), 1)}
            delivered = sandbox.state(summary=True)["counts"]
            return {
                "name": name,
                "value": round(value, 1),
                "unit": "messages/s",
                "limit": round(limit, 1),
                "ratio": round(value / limit, 3),
                "n": n,
                "engine": stage.engine,
                "delivered": delivered,
                **alone,
            }
        finally:
            stage.leave()


def _whole_path(stage: Stage, n: int) -> float:
    from agenticos import garbage, scope
    from agenticos.clock import Clock
    from campaigns.sending import Slice

    garbage.tune()  # as a worker process does
    campaign = stage.start(limit=n)
    stage.freeze(campaign, n)
    with scope.as_nobody():
        began = time.perf_counter()
        Slice(Clock(), budget_s=3600).run()
        seconds = time.perf_counter() - began
    counts = stage.counts(campaign)
    if counts["sent"] != n:
        raise RuntimeError(f"not everything was sent: {counts}")
    return n / seconds


def _bare(url: str, n: int, threads: int) -> float:
    """The same posts by a bare client."""
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=64), trust_env=False) as client:

        def post(number: int) -> int:
            return client.post(
                f"{url}/instagram/v25.0/ig{number % ACCOUNTS}/messages",
                json=BODY,
                headers={"Authorization": "Bearer bare-token", "Idempotency-Key": f"b{number}"},
            ).status_code

        return _rate(post, n, threads)


def _calls(n: int, threads: int) -> float:
    """The same posts by nothing but the product's own calls."""
    from django.conf import settings

    from integrations.http import call, pool

    def post(number: int) -> int:
        return call(
            pool(),
            "POST",
            f"{settings.INSTAGRAM_GRAPH_BASE_URL}/ig{number % ACCOUNTS}/messages",
            json=BODY,
            headers={"Authorization": "Bearer bare-token", "Idempotency-Key": f"c{number}"},
            effect=True,
        ).status

    return _rate(post, n, threads)


def _rate(post: Callable[[int], int], n: int, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post, range(200)))
        began = time.perf_counter()
        answers = list(pool.map(post, range(200, 200 + n)))
        seconds = time.perf_counter() - began
    if set(answers) != {200}:
        raise RuntimeError(f"posts were refused: {set(answers)}")
    return n / seconds
