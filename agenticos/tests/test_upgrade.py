"""A database from before the policies, with rows of two tenants, becomes one of today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agenticos import scope, sql
from agenticos.tests import everything
from agenticos.tests.test_walls import doubled, unguarded, untied
from leads.models import LeadTag

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True), pytest.mark.slow]

OURS, THEIRS = 7001, 7002
BEFORE = "0008_vouched_addresses"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
AS_JSON = "SELECT to_jsonb(t)::text FROM {} t ORDER BY id"


@pytest.fixture
def old(acme, rival) -> Iterator[dict[str, Any]]:
    """The database as it was before `tenants 0009_policies`, filled; its rows by table."""
    everything.one_of_each(acme, OURS)
    everything.one_of_each(rival, THEIRS)
    try:
        call_command("migrate", "tenants", BEFORE, verbosity=0)
        yield rows()
    finally:
        with scope.as_system("test"):
            LeadTag.objects.filter(pk=OURS).update(lead=OURS)
        call_command("migrate", verbosity=0)


def rows() -> dict[str, list[dict[str, Any]]]:
    """What is in every table of tenants' that there is."""
    with scope.as_system("test"):
        there = {name for (name,) in sql.fetch(TABLES, [])}
        return {
            table: [json.loads(row) for (row,) in sql.fetch(AS_JSON.format(table), [])]
            for table in (model._meta.db_table for model in everything.owned_models())
            if table in there
        }


def test_a_filled_database_gets_policies_and_keys_and_loses_no_row(old):
    assert len(old) > 35
    assert all({OURS, THEIRS} <= {row["id"] for row in found} for found in old.values())
    assert old.keys() <= unguarded()  # nothing stood there
    assert len(untied()) > 25
    assert len(doubled()) > 25  # a plain key was all there was

    call_command("migrate", verbosity=0)

    assert unguarded() == set()
    assert untied() == set()
    assert doubled() == set()
    now = rows()
    for table, before in old.items():
        for row, after in zip(before, now[table], strict=True):
            assert {name: after[name] for name in row} == row  # columns of later are new


def test_a_row_that_leads_to_another_tenant_is_named_and_nothing_is_changed(acme, rival, old):
    with scope.as_system("test"):
        LeadTag.objects.filter(pk=OURS).update(lead=THEIRS)
    with pytest.raises(CommandError) as refused:
        call_command("migrate", verbosity=0)
    assert (
        f"leads_leadtag: rows lead to a row of another tenant: id {OURS} of tenant {acme.pk} "
        f"has lead_id {THEIRS} of tenant {rival.pk}. Correct or delete them"
    ) in str(refused.value)
    assert old.keys() <= unguarded()
    assert len(untied()) > 25
