"""Statements sent in one trip: believed on the way, checked at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from agenticos import scope
from agenticos.sql import (
    Disappointed,
    check_references_now,
    fetch,
    grown_lately,
    insert_many,
    moment,
    new_ids,
    one_trip,
    run,
    update_many,
)
from agenticos.tests.factories import make_lead
from leads.models import Lead, LeadTag

pytestmark = [pytest.mark.django_db(transaction=True)]

# What else a lead of nothing but its handle has to have.
NEW = {
    field.attname: timezone.now() if field.name.endswith("_at") else field.get_default()
    for field in Lead._meta.concrete_fields
    if not (field.null or field.primary_key or field.name in ("tenant", "handle"))
}


@pytest.fixture
def lead(acme, in_tenant):
    in_tenant(acme)
    return make_lead(acme, "ana", city="Recife")


def cities():
    return list(Lead.objects.values_list("city", flat=True))


def test_what_a_trip_hopes_for_is_what_it_gets(lead):
    with transaction.atomic(), one_trip():
        changed = update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], hopeful=True)
    assert changed == {lead.pk}
    assert cities() == ["Olinda"]


@pytest.mark.postgresql
def test_a_disappointed_hope_undoes_the_transaction(lead):
    def hope_for_one_too_many():
        with transaction.atomic(), one_trip():
            update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], hopeful=True)
            assert update_many(Lead, ["id", "city"], [(0, "Natal")], hopeful=True) == {0}

    with pytest.raises(Disappointed):
        hope_for_one_too_many()
    assert cities() == ["Recife"]


@pytest.mark.postgresql
def test_an_error_on_the_way_is_djangos_and_undoes_the_transaction(lead):
    def stumble():
        with transaction.atomic(), one_trip():
            update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], blind=True)
            run("INSERT INTO leads_lead (tenant_id) VALUES (%s)", [lead.tenant_id])
            run("UPDATE leads_lead SET city = %s", ["Natal"])

    with pytest.raises(IntegrityError):
        stumble()
    assert cities() == ["Recife"]
    assert fetch("SELECT city FROM leads_lead", []) == [("Recife",)]


def test_without_hope_an_answer_is_waited_for(lead):
    with transaction.atomic(), one_trip():
        assert update_many(Lead, ["id", "city"], [(0, "Natal")]) == set()
        assert fetch("SELECT city FROM leads_lead WHERE id = %s", [lead.pk]) == [("Recife",)]


@pytest.mark.postgresql
def test_a_block_within_another_is_part_of_its_trip(lead):
    met = []

    def hope_for_one_too_many():
        with transaction.atomic(), one_trip():
            with one_trip():
                update_many(Lead, ["id", "city"], [(0, "Natal")], hopeful=True)
            met.append("the end of the inner block")

    with pytest.raises(Disappointed):
        hope_for_one_too_many()
    assert met


def seen_by_others():
    """What another connection sees of the cities: what is committed."""
    with ThreadPoolExecutor(1) as other:

        def look():
            try:
                with scope.as_system("test"):
                    return cities()
            finally:
                connection.close()

        return other.submit(look).result()


@pytest.mark.postgresql
def test_commit_travels_with_the_trip_that_is_all_of_its_transaction(lead):
    with transaction.atomic():
        with one_trip(commits=True):
            update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], hopeful=True)
        assert seen_by_others() == ["Olinda"]


def test_a_trip_within_a_larger_transaction_commits_nothing(lead):
    with transaction.atomic(), transaction.atomic():
        with one_trip(commits=True):
            update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], hopeful=True)
        assert seen_by_others() == ["Recife"]
    assert seen_by_others() == ["Olinda"]


@pytest.mark.postgresql
def test_a_disappointed_trip_does_not_commit(lead):
    def hope_for_one_too_many():
        with transaction.atomic(), one_trip(commits=True):
            update_many(Lead, ["id", "city"], [(lead.pk, "Olinda")], hopeful=True)
            update_many(Lead, ["id", "city"], [(0, "Natal")], hopeful=True)

    with pytest.raises(Disappointed):
        hope_for_one_too_many()
    assert cities() == seen_by_others() == ["Recife"]


@pytest.mark.postgresql
def test_what_commit_refuses_is_djangos_error_and_undoes_the_transaction(lead):
    def point_nowhere():
        with transaction.atomic(), one_trip(commits=True):
            update_many(Lead, ["id", "city", "owner_id"], [(lead.pk, "Natal", 10**9)], hopeful=True)

    with pytest.raises(IntegrityError):
        point_nowhere()
    assert cities() == seen_by_others() == ["Recife"]


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("hope", "comes"),
    [
        ([(1, "a", True, None), (2, "b", False, 7)], True),
        ([(2, "b", False, 7), (1, "a", True, None)], True),
        ([(1, "a", True, None)], False),
        ([(1, "a", True, None), (2, "b", True, 7)], False),
        ([(1, "a", True, None), (2, "b", False, 7), (3, "c", False, 7)], False),
        ([], False),
    ],
)
def test_a_hope_is_all_rows_as_they_are(in_system, hope, comes):
    rows = "SELECT * FROM (VALUES (1, 'a', true, NULL), (2, 'b', false, 7)) AS v"

    def ask():
        with transaction.atomic(), one_trip():
            assert fetch(rows, [], hope=hope) == hope

    if comes:
        ask()
        return
    with pytest.raises(Disappointed):
        ask()


def test_what_is_inserted_with_nothing_to_return_is_written_when_the_trip_ends(lead):
    with transaction.atomic(), one_trip():
        rows = [(lead.pk, name) for name in ("red", "blue")]
        written = insert_many(
            LeadTag, ["lead_id", "name"], rows, unique=["tenant_id", "name", "lead_id"]
        )
        assert written == []
    assert set(lead.tags.values_list("name", flat=True)) == {"red", "blue"}


def test_rows_that_must_be_new_and_are_not_are_an_error(lead, acme):
    columns = ["handle"]
    insert_many(Lead, columns, [("bea",)], constants=NEW)
    with pytest.raises(IntegrityError):
        insert_many(Lead, columns, [("cleo",), ("ana",)], constants=NEW)
    assert set(Lead.objects.values_list("handle", flat=True)) == {"ana", "bea"}


def test_ids_are_known_before_their_rows_are_there_and_nobody_else_gets_them(lead, acme):
    with transaction.atomic():
        ids = new_ids(Lead, 3)
        with one_trip():
            insert_many(
                Lead,
                ["id", "handle"],
                [(pk, f"lead{pk}") for pk in ids],
                constants=NEW,
                unique=["tenant_id", "handle"],
            )
            insert_many(
                LeadTag,
                ["lead_id", "name"],
                [(pk, "red") for pk in ids],
                unique=["tenant_id", "name", "lead_id"],
            )
    assert set(LeadTag.objects.values_list("lead_id", flat=True)) == set(ids)
    assert len({*ids, lead.pk, make_lead(acme, "bea").pk}) == 5


def test_what_is_kept_is_set_where_there_is_nothing(acme, in_tenant):
    in_tenant(acme)
    before, now = timezone.now() - timedelta(days=1), timezone.now()
    make_lead(acme, "ana", suppressed_at=before)
    make_lead(acme, "bea")
    insert_many(
        Lead,
        ["handle", "suppressed_at"],
        [("ana", moment(now)), ("bea", moment(now))],
        constants=NEW,
        unique=["tenant_id", "handle"],
        keep=["suppressed_at"],
    )
    assert dict(Lead.objects.values_list("handle", "suppressed_at")) == {"ana": before, "bea": now}


@pytest.mark.postgresql
def test_references_are_checked_by_the_statement_when_asked_for(lead):
    nobody = [(lead.pk + 1, "red")]

    def tag(*, at_once):
        with transaction.atomic():
            if at_once:
                check_references_now()
            insert_many(
                LeadTag, ["lead_id", "name"], nobody, unique=["tenant_id", "name", "lead_id"]
            )
            met.append(at_once)

    met: list[bool] = []
    for at_once in (False, True):
        with pytest.raises(IntegrityError):
            tag(at_once=at_once)
    assert met == [False]


def test_any_of_finds_what_in_finds_whatever_the_values_hold(acme, in_tenant):
    in_tenant(acme)
    odd = ["ana", "a,b", "{x}", 'quo"te', "back\\slash", "it's", "%s", "NULL", "é中"]
    for value in odd:
        Lead.objects.create(tenant=acme, handle=value)
    for some in (odd, odd[2:5], ["nobody"], []):
        found = Lead.objects.filter(handle__any_of=some).values_list("handle", flat=True)
        assert sorted(found) == sorted(set(some) - {"nobody"})
    ids = list(Lead.objects.values_list("pk", flat=True))
    assert Lead.objects.filter(pk__any_of=ids[:2]).count() == 2


@pytest.mark.postgresql
def test_a_table_that_doubled_is_analysed_and_not_again_before_the_next_time(acme, in_tenant):
    in_tenant(acme)

    def known():
        return fetch("SELECT reltuples FROM pg_class WHERE relname = 'leads_lead'", [])[0][0]

    def add(first, last):
        Lead.objects.bulk_create(
            Lead(tenant=acme, handle=f"many{number}") for number in range(first, last)
        )
        run("SELECT pg_stat_force_next_flush()", [])
        run("SELECT 1", [])
        grown_lately(Lead)

    run("SELECT app_analyse(%s)", [["leads_lead"]])
    before = known()
    add(0, 900)
    assert known() == before
    add(900, 2_200 + int(before))
    assert known() == Lead.objects.count()
    seen = known()
    add(90_000, 90_100)
    assert known() == seen
