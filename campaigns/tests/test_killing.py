"""The short form of the kill test; `make chaos-kill` runs the long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from agenticos.tests import environment


def kill(*options: str) -> dict:
    """Run the kill test in a process of its own; its report."""
    done = subprocess.run(
        [sys.executable, "-m", "campaigns.tests.killing", *options],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        # It makes its own database and environment; coverage of the suite's is not wanted.
        env={name: value for name, value in os.environ.items() if not name.startswith("TEST_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["doubled"] == report["lost"] == report["open"] == 0
    assert report["states"]["sent"] + report["states"].get("unknown", 0) == report["messages"]
    return report


@pytest.mark.slow
def test_kills_on_sqlite_double_and_lose_nothing():
    if environment.has_postgresql():
        pytest.skip("the run on SQLite covers it")
    kill("--messages", "160", "--kills", "4", "--workers", "1", "--accounts", "16", "--seed", "3")


@pytest.mark.slow
@pytest.mark.postgresql
def test_kills_cuts_and_a_frozen_worker_on_postgresql_double_and_lose_nothing():
    report = kill(
        "--database-url",
        os.environ["DATABASE_URL"],
        "--redis-url",
        os.environ.get("REDIS_URL", ""),
        "--messages",
        "240",
        "--kills",
        "5",
        "--workers",
        "2",
        "--accounts",
        "16",
        "--freeze",
        "--cuts",
        "--seed",
        "5",
    )
    assert report["kills"]["connections"]
