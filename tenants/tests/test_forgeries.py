"""Every forgery of the audit trail, made by SQL past the walls, is found."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from agenticos import scope
from agenticos.tests.factories import past_the_rights
from tenants import sealing
from tenants.models import AuditEntry, AuditSeal
from tenants.tests.trail import drop, seal, sql, verify, write


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "somebody@example.com"),
        ("actor_id", 999_999),
        ("action", "tenant.stopped"),
        ("object_type", "leads.lead"),
        ("object_id", 4),
        ("at", "2020-01-01 00:00:00+00:00"),
        ("data", '{"fields": ["name"], "place": 2, "ratio": 0.75}'),
    ],
)
def test_an_altered_field_is_found(acme, chained, column, value):
    assert verify(acme).ok
    value = (
        value.removesuffix("+00:00") if connection.vendor == "sqlite" and column == "at" else value
    )
    sql(f"UPDATE tenants_auditentry SET {column} = %s WHERE id = %s", value, chained[2])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("altered", chained[2])


@pytest.mark.django_db
def test_an_entry_handed_to_another_tenant_is_found(acme, rival, chained):
    sql("UPDATE tenants_auditentry SET tenant_id = %s WHERE id = %s", rival.pk, chained[2])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) in (
        ("altered", chained[2]),
        ("missing", chained[3]),
    )
    # PostgreSQL's composite key would refuse it at the commit.
    sql("UPDATE tenants_auditentry SET tenant_id = %s WHERE id = %s", acme.pk, chained[2])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "problem", "found"),
    [(0, "missing", 1), (2, "missing", 3)],
)
def test_a_removed_entry_is_found(acme, chained, place, problem, found):
    drop(chained[place])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == (problem, chained[found])


@pytest.mark.django_db
def test_a_removed_entry_whose_gap_was_closed_is_found(acme, chained):
    drop(chained[2])
    for number in (4, 5):
        sql("UPDATE tenants_auditseal SET number = %s WHERE number = %s", number - 1, number)
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("moved", chained[3])


@pytest.mark.django_db
def test_an_end_that_was_cut_off_is_found_after_a_verification(acme, chained):
    assert verify(acme).ok
    for entry in chained[3:]:
        drop(entry)
    for _ in range(2):  # the first finding does not become the new truth
        outcome = verify(acme)
        assert (outcome.problem, outcome.entry) == ("cut", None)


@pytest.mark.django_db
def test_a_chain_that_was_forged_anew_is_found_after_a_verification(acme, chained):
    """Whoever knows the algorithm can seal again; what was verified before does not fit then."""
    assert verify(acme).ok
    sql("DELETE FROM tenants_auditseal")
    sql("UPDATE tenants_auditentry SET sealed = %s, actor = %s", False, "nobody")
    assert seal(acme) == 5
    assert verify(acme).problem == "cut"


@pytest.mark.django_db
def test_an_entry_put_in_between_is_found(acme, chained):
    with scope.as_tenant(acme):
        for number in (5, 4, 3):
            sql("UPDATE tenants_auditseal SET number = %s WHERE number = %s", number + 1, number)
        forged = write(acme, 1)[0]
        before = AuditSeal.objects.get(number=2)
        fields = AuditEntry.objects.values(*sealing.FIELDS).get(pk=forged)
        AuditSeal.objects.create(
            tenant=acme,
            entry_id=forged,
            number=3,
            previous=before.hash,
            hash=sealing.link(before.hash, fields),
        )
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("moved", chained[2])


@pytest.mark.django_db
def test_an_entry_that_only_says_it_is_sealed_is_found(acme, chained):
    forged = write(acme, 1)[0]
    sql("UPDATE tenants_auditentry SET sealed = %s WHERE id = %s", True, forged)
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("unsealed", forged)


@pytest.mark.django_db
def test_two_entries_that_changed_places_are_found(acme, chained):
    sql("UPDATE tenants_auditseal SET number = 99 WHERE number = 2")
    sql("UPDATE tenants_auditseal SET number = 2 WHERE number = 3")
    sql("UPDATE tenants_auditseal SET number = 3 WHERE number = 99")
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("moved", chained[2])


@pytest.mark.django_db
def test_actors_are_filled_in_where_no_seal_covers_the_entry(acme, alice, chained):
    apps = MigrationLoader(connection).project_state().apps
    fill = import_module("tenants.migrations.0013_actors_of_unsealed_entries").fill
    young, nobodys = write(acme, 1, by=alice)[0], write(acme, 1)[0]
    sql("UPDATE tenants_auditentry SET actor_id = NULL WHERE id = %s", young)
    with past_the_rights():
        fill(apps, SimpleNamespace(connection=connection))
        found = dict(AuditEntry.objects.values_list("pk", "actor_id"))
    assert (found[young], found[nobodys]) == (alice.pk, None)
    seal(acme)
    assert verify(acme).ok
    sql("UPDATE tenants_auditentry SET actor_id = NULL WHERE id = %s", chained[0])
    with past_the_rights():
        fill(apps, SimpleNamespace(connection=connection))
    assert verify(acme).entry == chained[0]  # a seal covers it: left as it is found
