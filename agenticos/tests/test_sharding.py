"""The keys of tenants' tables, read off the catalogue: those without the tenant have a reason."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from agenticos import scope, sharding, sql
from agenticos.tests import everything

pytestmark = pytest.mark.django_db
postgresql = pytest.mark.postgresql


def check(*arguments: str) -> tuple[int, str, str]:
    """The exit code of the command, and what it says."""
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command("check_shard_keys", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


@postgresql
def test_every_key_carries_the_tenant_or_has_a_reason():
    code, said, wrong = check()
    assert (code, wrong) == (0, "")
    assert "integrations_connection (kind, external_id)" in said
    found = list(sharding.unique_keys())
    tables = {model._meta.db_table for model in everything.owned_models()}
    assert {key.table for key in found} == tables
    # Each has its primary key, and the unique key that can take its place.
    for table in tables:
        assert {("id",), ("tenant_id", "id")} <= {k.columns for k in found if k.table == table}


@postgresql
def test_every_reason_is_one_of_a_key_that_exists():
    found = {(key.table, key.columns) for key in sharding.unique_keys()}
    assert set(sharding.ACROSS_TENANTS) <= found


@postgresql
@pytest.mark.parametrize(
    ("ddl", "named"),
    [
        ("CREATE UNIQUE INDEX odd ON leads_lead (city)", "leads_lead: odd (city)"),
        ("CREATE UNIQUE INDEX odd ON leads_lead (lower(city))", "leads_lead: odd ()"),
        ("ALTER TABLE leads_lead ADD CONSTRAINT odd UNIQUE (handle)", "leads_lead: odd (handle)"),
    ],
)
def test_a_key_without_the_tenant_is_named(ddl, named):
    with scope.as_nobody(), transaction.atomic():
        sql.run(ddl, [])
        code, _, wrong = check()
        transaction.set_rollback(True)
    assert code == 1
    assert f"{named} does not carry the tenant" in wrong


@postgresql
def test_the_swap_brings_the_tenant_into_every_primary_key():
    code, swap, _ = check("--swap")
    assert code == 0
    with scope.as_nobody(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(swap)
        left = {
            (key.table, key.columns) for key in sharding.unique_keys() if not key.carries_the_tenant
        }
        transaction.set_rollback(True)
    assert left == set(sharding.ACROSS_TENANTS)


@pytest.mark.skipif("connection.vendor == 'postgresql'", reason="has the keys asked for")
def test_without_postgresql_it_says_so():
    with pytest.raises(CommandError, match="Only PostgreSQL"):
        call_command("check_shard_keys")
