"""The chain over the audit trail: rows written once, sealed in a row, and every forgery found."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from importlib import import_module
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_tenant, make_user, past_the_rights
from tenants import audit, sealing, tasks
from tenants.append_only import AppendOnlyError, altering
from tenants.models import AuditCheck, AuditEntry, AuditSeal

LATER = timedelta(minutes=1)


def write(tenant, number=1, by=None):
    """Write entries as the code does; their ids."""
    with scope.as_tenant(tenant):
        for place in range(number):
            audit.record(tenant, "tenant.edited", by=by, fields=["name"], place=place, ratio=0.5)
        return list(AuditEntry.objects.order_by("pk").values_list("pk", flat=True))[-number:]


def seal(tenant):
    with scope.as_tenant(tenant):
        return sealing.seal_chunk(now=timezone.now() + LATER)


def verify(tenant):
    with scope.as_tenant(tenant):
        return sealing.verify(tenant, now=timezone.now())


def sql(statement, *params):
    """What somebody does who is past the walls."""
    with past_the_rights(), connection.cursor() as cursor:
        cursor.execute(statement, params)


def drop(entry, *, seal_too=True):
    if seal_too:
        sql("DELETE FROM tenants_auditseal WHERE entry_id = %s", entry)
    sql("DELETE FROM tenants_auditentry WHERE id = %s", entry)


@pytest.fixture
def chained(acme, alice):
    """acme with five sealed entries; their ids."""
    ids = write(acme, 5, by=alice)
    assert seal(acme) == 5
    return ids


# --- Rows written once ------------------------------------------------------------------------


@pytest.mark.django_db
def test_rows_of_the_trail_are_neither_changed_nor_deleted(acme, chained):
    with scope.as_tenant(acme):
        for model, change in ((AuditEntry, {"actor": "x"}), (AuditSeal, {"hash": "x"})):
            row = model.objects.first()
            for act in (
                row.save,
                row.delete,
                model.objects.all().delete,
                lambda model=model, change=change: model.objects.update(**change),
                lambda model=model, row=row: model.objects.bulk_update([row], ["tenant"]),
                lambda model=model, row=row: model.objects.bulk_create(
                    [row],
                    update_conflicts=True,
                    update_fields=["tenant"],
                    unique_fields=["id"],
                ),
                lambda row=row: row.save(update_fields=["tenant"]),
            ):
                with pytest.raises(AppendOnlyError):
                    act()
        with pytest.raises(AppendOnlyError):  # the mark goes one way
            AuditEntry.objects.update(sealed=False)
    assert verify(acme).ok


@pytest.mark.django_db
def test_a_named_reason_lets_rows_go(acme):
    ids = write(acme, 2)
    with scope.as_tenant(acme):
        with altering("retention"):
            AuditEntry.objects.filter(pk=ids[0]).delete()
            AuditEntry.objects.get(pk=ids[1]).delete()
        assert not AuditEntry.objects.exists()
        with pytest.raises(AppendOnlyError):
            AuditEntry.objects.all().delete()


@pytest.mark.django_db
def test_who_is_deleted_stays_in_the_chain_by_id_and_name(acme):
    user = make_user("gone@example.com")
    pk = user.pk
    write(acme, 1, by=user)
    seal(acme)
    with scope.as_system("test"):
        user.delete()
    with scope.as_tenant(acme):
        row = AuditEntry.objects.get()
    assert (row.user, row.actor_id, row.actor) == (None, pk, "gone@example.com")
    assert verify(acme).ok


@pytest.mark.django_db
def test_a_tenant_that_goes_takes_its_trail_along(acme, chained):
    with scope.as_system("test"):
        acme.delete()
        assert not AuditEntry.objects.exists()
        assert not AuditSeal.objects.exists()


# --- Sealing ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_entries_are_sealed_in_order_once_they_have_settled(acme, rival):
    ids = write(acme, 3)
    write(rival, 1)
    with scope.as_tenant(acme):
        assert sealing.seal_chunk(now=timezone.now()) == 0  # too young
    assert seal(acme) == 3
    assert seal(acme) == 0
    ids += write(acme, 2)
    assert seal(acme) == 2
    with scope.as_tenant(acme):
        links = list(AuditSeal.objects.order_by("number"))
    assert [(row.number, row.entry_id) for row in links] == list(enumerate(ids, 1))
    assert [row.previous for row in links] == ["", *(row.hash for row in links[:-1])]
    assert verify(acme).ok
    with scope.as_tenant(rival):
        assert not AuditSeal.objects.exists()


@pytest.mark.django_db
def test_an_entry_that_was_committed_late_is_chained_where_it_comes(acme):
    first, late, last = write(acme, 3)
    sql("UPDATE tenants_auditentry SET sealed = %s WHERE id = %s", True, late)  # not to be seen yet
    assert seal(acme) == 2
    sql("UPDATE tenants_auditentry SET sealed = %s WHERE id = %s", False, late)
    assert seal(acme) == 1
    with scope.as_tenant(acme):
        order = list(AuditSeal.objects.order_by("number").values_list("entry_id", flat=True))
    assert order == [first, last, late]
    assert verify(acme).ok


@pytest.mark.django_db
def test_a_mark_that_was_taken_off_seals_nothing_twice(acme, chained):
    sql("UPDATE tenants_auditentry SET sealed = %s WHERE id = %s", False, chained[0])
    seal(acme)
    outcome = verify(acme)
    assert (outcome.ok, outcome.sealed) == (True, 5)
    with scope.as_system("test"):
        assert not AuditEntry.objects.filter(sealed=False).exists()


@pytest.mark.django_db
def test_the_task_seals_what_waits_in_every_tenant_and_sleeps_then(acme, rival, rung, monkeypatch):
    assert tasks.next_seal_at() is None
    write(acme, 3)
    write(rival, 1)
    due = tasks.next_seal_at()
    assert timedelta(0) < due - timezone.now() <= sealing.SETTLED
    tasks.seal_slice()  # too young
    assert tasks.next_seal_at() == due
    monkeypatch.setattr(sealing, "SETTLED", -LATER)
    monkeypatch.setattr(sealing, "CHUNK", 2)
    tasks.seal_slice()
    assert ("tenants.tasks.seal_slice", ()) in rung
    tasks.seal_slice()
    assert tasks.next_seal_at() is None
    assert verify(acme).sealed == 3
    assert verify(rival).sealed == 1
    with CaptureQueriesContext(connection) as found:
        tasks.next_seal_at()
    assert len(found) == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_of_two_who_seal_at_a_time_one_does(acme):
    write(acme, 40)
    ready, done = threading.Barrier(2), []

    def work():
        try:
            ready.wait(timeout=20)
            done.append(seal(acme))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(done) == [0, 40]
    outcome = verify(acme)
    assert (outcome.ok, outcome.sealed, outcome.unsealed) == (True, 40, 0)


# --- Forgeries, by SQL ------------------------------------------------------------------------


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


# --- What retention takes off the front ---------------------------------------------------------


def prune(tenant, *, before=None, most=500):
    with scope.as_tenant(tenant):
        return sealing.prune_chunk(tenant, before=before or timezone.now() + LATER, most=most)


def numbers(tenant):
    with scope.as_tenant(tenant):
        return list(AuditSeal.objects.order_by("number").values_list("number", flat=True))


@pytest.mark.django_db
def test_what_is_left_after_retention_can_still_be_proven(acme, rival, chained):
    write(rival, 2)
    seal(rival)
    with scope.as_tenant(acme):
        third = AuditEntry.objects.get(pk=chained[2])
    assert verify(acme).ok
    assert prune(acme, before=third.at) == 2
    assert numbers(acme) == [3, 4, 5]
    assert verify(acme).ok  # before the entry that says so is sealed
    seal(acme)
    outcome = verify(acme)
    assert (outcome.ok, outcome.entries, outcome.number) == (True, 4, 6)
    assert prune(acme, before=third.at) == 0
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="audit.pruned")
    assert (entry.data["entries"], entry.data["number"]) == (2, 2)
    assert numbers(rival) == [1, 2]


@pytest.mark.django_db
def test_the_chain_goes_on_when_all_of_it_went(acme, chained):
    assert prune(acme, most=3) == 3
    assert prune(acme, most=3) == 2
    assert numbers(acme) == []
    assert verify(acme).ok
    assert seal(acme) == 2
    assert numbers(acme) == [6, 7]
    assert verify(acme).ok
    assert prune(acme) == 2  # also what told of the earlier ones
    seal(acme)
    assert (numbers(acme), verify(acme).ok) == ([8], True)


@pytest.mark.django_db
def test_forgeries_after_retention_are_found(acme, chained):
    prune(acme, most=2)
    seal(acme)
    assert verify(acme).ok
    sql("UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", chained[3])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("altered", chained[3])


@pytest.mark.django_db
def test_a_front_that_went_without_retention_is_found(acme, chained):
    prune(acme, most=1)
    seal(acme)
    drop(chained[1])
    outcome = verify(acme)
    assert (outcome.problem, outcome.entry) == ("missing", chained[2])


@pytest.mark.django_db
def test_a_note_of_retention_that_was_taken_away_is_found(acme, chained):
    prune(acme, most=2)
    seal(acme)
    sql("UPDATE tenants_auditentry SET action = 'x' WHERE action = 'audit.pruned'")
    assert verify(acme).problem == "missing"


@pytest.mark.django_db
def test_retention_leaves_a_broken_chain_as_evidence(acme, chained):
    sql("UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", chained[1])
    assert prune(acme) == 0
    assert numbers(acme) == [1, 2, 3, 4, 5]
    assert (verify(acme).problem, verify(acme).entry) == ("altered", chained[1])


@pytest.mark.django_db
def test_a_kill_in_the_middle_of_pruning_leaves_the_chain_whole(acme, chained, monkeypatch):
    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sealing, "altering", dies)
    with pytest.raises(KeyboardInterrupt):
        prune(acme, most=2)
    monkeypatch.undo()
    assert (numbers(acme), verify(acme).ok) == ([1, 2, 3, 4, 5], True)
    assert prune(acme, most=2) == 2
    assert verify(acme).ok


@pytest.mark.django_db
def test_the_log_has_the_newest_hash(acme, caplog):
    from agenticos.logs import Lines

    write(acme, 1)
    with caplog.at_level("INFO"), TestCase.captureOnCommitCallbacks(execute=True):
        seal(acme)
    (record,) = (one for one in caplog.records if one.getMessage() == "audit.sealed")
    told = json.loads(Lines("json").format(record))
    with scope.as_tenant(acme):
        newest = AuditSeal.objects.get()
    assert (told["number"], told["hash"]) == (1, newest.hash)


# --- The command ------------------------------------------------------------------------------


def run(*args):
    out = StringIO()
    code = 0
    try:
        call_command("verify_audit", *args, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, out.getvalue()


@pytest.mark.django_db
def test_the_command_has_a_line_per_tenant_and_fails_at_a_break(acme, rival, chained):
    write(rival, 1)
    code, text = run()
    assert (code, text.splitlines()) == (
        0,
        [
            "ok      acme: 5 entries, 5 sealed, 0 unsealed",
            "ok      rival: 1 entries, 0 sealed, 1 unsealed",
        ],
    )
    sql("UPDATE tenants_auditentry SET actor = 'x' WHERE id = %s", chained[1])
    code, text = run("acme")
    assert code == 1
    assert text == (
        f"BROKEN  acme: 5 entries, 5 sealed, 0 unsealed; entry {chained[1]}: "
        "a field of the entry is not what was sealed\n"
    )
    code, text = run("--json")
    told = json.loads(text)
    assert (code, told["ok"]) == (1, False)
    assert [row["ok"] for row in told["tenants"]] == [False, True]
    assert told["tenants"][0]["entry"] == chained[1]
    assert run("rival")[0] == 0
    with scope.as_tenant(acme):
        check = AuditCheck.objects.get()
    assert (check.problem, check.entry, check.number) == ("altered", chained[1], 5)


@pytest.mark.django_db
def test_the_command_knows_no_other_tenant():
    make_tenant("acme")
    with pytest.raises(CommandError):
        run("nobody")
