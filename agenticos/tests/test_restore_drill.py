"""The drill of `docs/operations/`: a dump, restored beside the original, is the original."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from agenticos.tests import factories
from agenticos.tests.environment import ROOT

DRILL = ROOT / "docs/operations/restore_drill.py"
pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture
def whole(transactional_db):
    """The test's database as a role that sees all rows, as backups need."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    if shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    address = urlunsplit(urlsplit(url)._replace(path=f"/{connection.settings_dict['NAME']}"))
    with psycopg.connect(address) as link:
        role = link.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if not role or not role[0]:
        pytest.skip("the tests' role does not see all rows")
    return address


def test_what_is_restored_is_what_was_dumped(whole, acme, rival):
    for tenant in (acme, rival):
        campaign = factories.make_campaign(tenant, state="running")
        for _ in range(5):
            factories.make_message(campaign)
    done = subprocess.run(
        [sys.executable, str(DRILL), whole], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["differ"] == []
    assert receipt["tables"] > 40
    assert receipt["rows"] > 20


def test_the_sums_see_one_changed_cell(whole, acme):
    lead = factories.make_lead(acme)
    sums = runpy.run_path(str(DRILL))["sums"]
    with psycopg.connect(whole) as link:
        before = sums(link)
        link.execute("UPDATE leads_lead SET name = name || 'x' WHERE id = %s", [lead.pk])
        after = sums(link)
        link.rollback()
    assert [name for name in before if before[name] != after[name]] == ["public.leads_lead"]
