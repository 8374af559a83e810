"""The chain over the audit trail: rows written once, and sealed in a row."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_tenant, make_user
from tenants import sealing, tasks
from tenants.append_only import AppendOnlyError, altering
from tenants.models import AuditCheck, AuditEntry, AuditSeal
from tenants.tests.trail import LATER, seal, sql, verify, write

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


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_who_finds_between_two_looks_that_another_sealed_all_has_sealed_none(acme):
    write(acme, 3)
    others: list[int] = []

    def work():
        try:
            others.append(seal(acme))
        finally:
            connection.close()

    def meanwhile(execute, statement, params, many, context):
        if statement.startswith("SELECT") and '"entry_id" IN' in statement:
            other = threading.Thread(target=work)
            other.start()
            other.join(timeout=30)
        return execute(statement, params, many, context)

    with connection.execute_wrapper(meanwhile):
        assert seal(acme) == 0
    assert others == [3]
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
