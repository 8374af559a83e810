"""The walls below the managers: policies, composite keys, roles, and the scope's way there."""

from __future__ import annotations

import threading

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, transaction

from agenticos import scope
from agenticos.invariants import references_between_tenant_tables
from agenticos.postgres.schema import references
from agenticos.sql import fetch, one_trip, run
from agenticos.tests.factories import make_lead
from leads.models import Lead, LeadFacts, LeadTag
from tenants.models import AuditEntry
from tenants.owned import TenantOwned

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

OWNED = [
    model for model in apps.get_models(include_auto_created=True) if issubclass(model, TenantOwned)
]
ALL = "SELECT handle FROM leads_lead ORDER BY handle"


@pytest.fixture(autouse=True)
def _lead_of_each(acme, rival):
    for tenant, handle in ((acme, "ana"), (rival, "bob")):
        with scope.as_tenant(tenant):
            make_lead(tenant, handle)


def handles() -> list[str]:
    """Every lead that the database shows, asked without any condition of ours."""
    with connection.cursor() as cursor:
        cursor.execute(ALL)
        return [row[0] for row in cursor.fetchall()]


# --- The catalogue ----------------------------------------------------------------------------


def unguarded() -> set[str]:
    """Tenants' tables without their one policy, or that their owner may read past."""
    rows = fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_policies p ON p.tablename = c.relname "
        "AND p.schemaname = current_schema() WHERE c.relnamespace = current_schema()::regnamespace "
        "AND c.relrowsecurity AND c.relforcerowsecurity AND p.cmd = 'ALL' "
        "AND p.permissive = 'PERMISSIVE' AND p.roles = '{public}' AND p.qual = p.with_check "
        "AND p.qual = '(tenant_id = (current_setting(''app.tenant_id''::text))::bigint)' "
        "AND (SELECT count(*) FROM pg_policies q WHERE q.tablename = c.relname "
        "AND q.schemaname = current_schema()) = 1",
        [],
    )
    return {model._meta.db_table for model in OWNED} - {row[0] for row in rows}


def untied() -> set[tuple[str, str]]:
    """References between tenants' tables without a composite key, as (table, column)."""
    rows = fetch(
        "SELECT k.conrelid::regclass::text, a.attname FROM pg_constraint k "
        "JOIN pg_attribute t ON t.attrelid = k.conrelid AND t.attnum = k.conkey[1] "
        "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[2] "
        "JOIN pg_attribute r ON r.attrelid = k.confrelid AND r.attnum = k.confkey[1] "
        "WHERE k.contype = 'f' AND k.convalidated AND k.condeferrable AND k.condeferred "
        "AND cardinality(k.conkey) = 2 AND t.attname = 'tenant_id' AND r.attname = 'tenant_id'",
        [],
    )
    wanted = {
        (model._meta.db_table, f"{name}_id") for model, name in references_between_tenant_tables()
    }
    return wanted - {(table, column) for table, column in rows}


def doubled() -> set[tuple[str, str]]:
    """References between tenants' tables with a plain key, which a composite one makes needless."""
    rows = fetch(
        "SELECT k.conrelid::regclass::text, a.attname FROM pg_constraint k "
        "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] "
        "WHERE k.contype = 'f' AND cardinality(k.conkey) = 1",
        [],
    )
    ours = {
        (model._meta.db_table, f"{name}_id") for model, name in references_between_tenant_tables()
    }
    return ours & set(rows)


def test_every_tenants_table_has_its_policy():
    assert len(OWNED) > 20
    assert unguarded() == set()


def test_every_reference_between_tenants_tables_has_its_composite_key():
    assert untied() == set()
    assert doubled() == set()


def test_a_table_without_a_key_to_the_tenant_always_leads_to_one_that_has_it():
    spared = [model for model in OWNED if not model._meta.get_field("tenant").db_constraint]
    assert LeadFacts in spared
    for model in spared:
        assert any(
            field.related_model._meta.get_field("tenant").db_constraint
            for field in references(model)
            if not field.null
        )


def test_no_row_belongs_to_a_tenant_that_there_is_not(acme):
    with scope.as_system("test"):
        ana = Lead.objects.get(handle="ana")
        with pytest.raises(IntegrityError) as refused:
            LeadFacts.objects.create(tenant_id=acme.pk + 999, lead=ana, known=0, gates=0)
    assert "leads_leadfacts_tenant_id_lead_id" in str(refused.value)


def test_a_reference_into_another_tenant_is_refused(acme, rival):
    with scope.as_system("test"):
        theirs = Lead.objects.get(handle="bob")
        with pytest.raises(IntegrityError):
            LeadTag.objects.create(tenant=acme, lead=theirs, name="x")


# --- The scope reaches the database -----------------------------------------------------------


def test_sql_without_a_scope_raises():
    with pytest.raises(DatabaseError):
        handles()
    with pytest.raises(DatabaseError), transaction.atomic():
        handles()


def test_sql_sees_the_tenant_in_scope_alone(acme, rival):
    for tenant, names in ((acme, ["ana"]), (rival, ["bob"])):
        with scope.as_tenant(tenant):
            assert handles() == names
            with transaction.atomic():
                assert handles() == names
            with transaction.atomic(), one_trip():
                assert [row[0] for row in fetch(ALL, [])] == names
    with scope.as_system("test"):
        assert handles() == ["ana", "bob"]


def test_nested_scopes_come_back_and_a_left_one_is_gone(acme, rival):
    with transaction.atomic():
        with scope.as_tenant(acme):
            assert handles() == ["ana"]
            with scope.as_system("test"):
                assert handles() == ["ana", "bob"]
                with scope.as_tenant(rival):
                    assert handles() == ["bob"]
            assert handles() == ["ana"]
        with pytest.raises(DatabaseError), transaction.atomic():
            handles()


def test_a_savepoint_that_is_rolled_back_takes_no_scope_along(acme, rival):
    def fail_inside(tenant):
        with scope.as_tenant(tenant), transaction.atomic():
            assert len(handles()) == 1
            raise LookupError

    with transaction.atomic(), scope.as_tenant(acme):
        assert handles() == ["ana"]
        with pytest.raises(LookupError):
            fail_inside(rival)
        assert handles() == ["ana"]
    with transaction.atomic():
        with pytest.raises(LookupError):
            fail_inside(rival)
        with scope.as_tenant(rival):  # what the savepoint had applied is undone with it
            assert handles() == ["bob"]


def test_a_failed_statement_is_undone_to_its_savepoint_in_another_scope(acme, rival):
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic(), scope.as_tenant(acme):
            run("SELECT 1 / 0", [])
        with scope.as_tenant(rival):
            assert handles() == ["bob"]


def test_nothing_stays_on_the_connection(acme):
    with scope.as_tenant(acme):
        assert handles() == ["ana"]
    with scope.as_system("test"), transaction.atomic():
        assert len(handles()) == 2
    with pytest.raises(DatabaseError):
        handles()


def test_another_tenants_row_cannot_be_written(acme, rival):
    with scope.as_tenant(acme):
        with pytest.raises(DatabaseError):
            run("UPDATE leads_lead SET tenant_id = %s", [rival.pk])
        run("UPDATE leads_lead SET city = 'Recife'", [])
    with scope.as_system("test"):
        assert fetch("SELECT handle, city FROM leads_lead ORDER BY handle", []) == [
            ("ana", "Recife"),
            ("bob", ""),
        ]


def test_a_thread_has_no_scope_of_its_own(acme):
    seen = []

    def look() -> None:
        try:
            seen.append(handles())
        except DatabaseError as error:
            seen.append(type(error))
        finally:
            connection.close()

    with scope.as_tenant(acme):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert isinstance(seen[0], type)


# --- Each line holds alone --------------------------------------------------------------------


def test_policies_hold_without_the_manager(acme, monkeypatch):
    from tenants.owned import InScope

    monkeypatch.setattr(InScope, "as_sql", lambda *args, **kwargs: ("1 = 1", ()))
    with scope.as_tenant(acme):
        assert list(Lead.objects.values_list("handle", flat=True)) == ["ana"]
        for model in OWNED:
            assert set(model.objects.values_list("tenant_id", flat=True)) <= {acme.pk}


def test_the_manager_holds_without_policies(acme):
    run("ALTER TABLE leads_lead DISABLE ROW LEVEL SECURITY", [])
    try:
        with scope.as_tenant(acme):
            assert len(handles()) == 2
            assert list(Lead.objects.values_list("handle", flat=True)) == ["ana"]
    finally:
        run("ALTER TABLE leads_lead ENABLE ROW LEVEL SECURITY", [])


# --- The role of the pages --------------------------------------------------------------------


def as_web(sql: str, tenant_id: int | None = None) -> list[tuple[object, ...]]:
    """What app_web is answered, with or without a tenant set."""
    with scope.as_nobody(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE app_web")
        if tenant_id is not None:
            cursor.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant_id)])
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_the_web_role_is_bound(acme):
    assert as_web(ALL, acme.pk) == [("ana",)]
    with pytest.raises(DatabaseError):
        as_web(ALL)
    for ddl in ("DROP TABLE leads_lead", "ALTER TABLE leads_lead DISABLE ROW LEVEL SECURITY"):
        with pytest.raises(DatabaseError):
            as_web(ddl, acme.pk)


def test_the_web_role_adds_to_the_audit_and_changes_nothing_there(acme):
    table = AuditEntry._meta.db_table
    as_web(f"SELECT * FROM {table}", acme.pk)
    for verb in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id", f"TRUNCATE {table}"):
        with pytest.raises(DatabaseError, match="permission denied"):
            as_web(verb, acme.pk)


# --- The tests above are worth their name: each wall that is taken away is missed --------------


def test_each_policy_that_is_dropped_is_missed():
    for model in OWNED:
        table = model._meta.db_table
        for change in (
            f"DROP POLICY tenant_isolation ON {table}",
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
            f"CREATE POLICY open_door ON {table} USING (true)",
        ):
            with transaction.atomic():
                run(change, [])
                assert unguarded() == {table}
                transaction.set_rollback(True)


def test_each_composite_key_that_is_dropped_is_missed():
    keys = fetch(
        "SELECT k.conrelid::regclass::text, k.conname, a.attname FROM pg_constraint k "
        "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[2] "
        "WHERE k.contype = 'f' AND cardinality(k.conkey) = 2",
        [],
    )
    assert len(keys) >= 20
    for table, name, column in keys:
        with transaction.atomic():
            run(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"', [])
            assert untied() == {(table, column)}
            transaction.set_rollback(True)
