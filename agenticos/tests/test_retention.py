"""Retention: what is over its time goes, nothing else does, and the report says how much went."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost
from agenticos.tests import factories
from agenticos.tests.sweeping import (
    DAY,
    broken,
    in_chunks_of,
    make_import,
    make_old_lead,
    plant,
    sweep,
)
from campaigns.models import Message
from integrations import actions as integration_actions
from integrations.models import Connection, SyncItem
from leads import (
    bulk,
    editing,
    exporting,
    keeping as of_leads,
    suppression,
    tasks as lead_tasks,
    undoing,
)
from leads.models import (
    BulkJob,
    BulkRow,
    ImportedLead,
    ImportProblem,
    Lead,
    LeadImport,
    LeadScore,
)
from tenants import retention
from tenants.models import (
    AuditEntry,
    IdempotencyRecord,
    Invitation,
    RetentionRun,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


@pytest.fixture
def now():
    return timezone.now()


def test_what_is_over_its_time_goes_and_the_rest_stays(acme, rival, now):
    for tenant in (acme, rival):
        plant(tenant, now, 400)
        plant(tenant, now, 0)
    assert sweep(acme, now) == {
        "answers": 1, "crm_payloads": 1, "import_files": 1, "import_rows": 2, "invitations": 1,
        "leads": 1,
    }  # fmt: skip
    for tenant, left in ((acme, 1), (rival, 2)):
        with scope.as_tenant(tenant):
            files = [row.file.name for row in LeadImport.objects.order_by("pk") if row.file]
            assert len(files) == left
            assert all(default_storage.exists(name) for name in files)
            for model in (ImportedLead, ImportProblem, Invitation, IdempotencyRecord):
                assert model.objects.count() == left, model
            assert SyncItem.objects.count() == 2
            assert SyncItem.objects.exclude(wanted={}).count() == left
            assert Lead.objects.filter(handle__startswith="lead.").count() == left
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="retention.swept")
    assert (entry.data["leads"], entry.user) == (1, None)
    assert sweep(acme, now + 2 * DAY) == {"answers": 1}
    assert sweep(acme, now + 2 * DAY) == {}
    with scope.as_tenant(acme):  # a day without anything leaves no entry
        assert AuditEntry.objects.filter(action="retention.swept").count() == 2
    assert broken() == set()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_chunks_end_where_they_should(acme, now, monkeypatch, size):
    old = now - 400 * DAY
    make_import(acme, "done", old, rows=4)
    make_import(acme, "draft", old, rows=2)
    for number in range(4):
        make_old_lead(acme, f"old{number}", old)
    in_chunks_of(size, monkeypatch)
    assert sweep(acme, now) == {
        "import_files": 1, "import_rows": 12, "import_drafts": 1, "leads": 4,
    }  # fmt: skip
    with scope.as_tenant(acme):
        assert LeadImport.objects.count() == 1
        assert not Lead.objects.exists()


def test_a_sweep_that_was_killed_goes_on_where_it_was(acme, now, monkeypatch):
    old = now - 400 * DAY
    row = make_import(acme, "done", old, rows=5)
    for number in range(5):
        make_old_lead(acme, f"old{number}", old)
    small = in_chunks_of(2, monkeypatch)
    at = next(n for n, step in enumerate(small) if step.name == "leads")
    remove, calls = small[at].remove, []

    def dies_late(*given):
        went = remove(*given)
        calls.append(went)
        if len(calls) == 2:
            raise KeyboardInterrupt  # in the middle of its transaction
        return went

    small[at] = replace(small[at], remove=dies_late)
    with pytest.raises(KeyboardInterrupt):
        sweep(acme, now)
    with scope.as_tenant(acme):
        run = RetentionRun.objects.get()
        assert (run.step, Lead.objects.count()) == ("leads", 3)  # the second chunk was undone
        assert not default_storage.exists(row.file.name)
    later = now + timedelta(minutes=10)  # the dead worker's lease is over
    assert sweep(acme, later) == {"import_files": 1, "import_rows": 10, "leads": 5}
    with scope.as_tenant(acme):
        assert not Lead.objects.exists()


def test_a_file_that_went_before_the_kill_is_no_error(acme, now):
    row = make_import(acme, "done", now - 8 * DAY)
    default_storage.delete(row.file.name)
    assert sweep(acme, now) == {"import_files": 1}


def test_a_worker_whose_lease_was_taken_over_changes_nothing(acme, now):
    make_old_lead(acme, "old", now - 400 * DAY)
    with scope.as_tenant(acme):
        run = retention.run_of(acme, due_at=now)
        retention.lease(run, token="mine", now=now)
        RetentionRun.objects.update(claim_token="theirs", step="leads")
        run.step = "leads"
        with pytest.raises(LeaseLost):
            retention.sweep_chunk(run, token="mine", now=now)
        assert Lead.objects.count() == 1


# --- Files and imports --------------------------------------------------------------------------


def test_imports_that_nobody_finished_go_with_their_files(acme, now):
    old = now - 8 * DAY
    gone = [make_import(acme, state, old) for state in ("draft", "ready")]
    kept = [make_import(acme, state, old) for state in ("rehearsing", "waiting", "running")]
    kept.append(make_import(acme, "draft", now))
    assert sweep(acme, now) == {"import_drafts": 2, "import_rows": 4}
    with scope.as_tenant(acme):
        assert set(LeadImport.objects.values_list("pk", flat=True)) == {row.pk for row in kept}
    assert [default_storage.exists(row.file.name) for row in gone + kept] == [False] * 2 + [
        True
    ] * 4


def test_an_export_can_be_had_as_long_as_the_workspace_says(acme, alice, now):
    acme.keep_file_days = 3
    acme.save()
    factories.make_lead(acme, "ana")
    with scope.as_tenant(acme):
        job = bulk.start(
            acme, "export", params={"columns": ["handle"]}, query="", by=alice, now=now
        )
    lead_tasks.bulk_slice()
    with scope.as_tenant(acme):
        job.refresh_from_db()
    assert job.expires_at == job.finished_at + 3 * DAY
    # The period is made shorter: the sweep lets it expire, and its removal stands in the report.
    acme.keep_file_days = 1
    acme.save()
    assert sweep(acme, now + 2 * DAY) == {}
    with scope.as_tenant(acme):
        BulkJob.objects.update(expires_at=timezone.now())
    lead_tasks.bulk_slice()
    assert not default_storage.exists(f"exports/{job.folder}")
    assert sweep(acme, now + 3 * DAY) == {"exports": 1}


def test_what_a_failed_export_has_left_goes(acme, now):
    with scope.as_tenant(acme):
        job = BulkJob.objects.create(
            kind="export", state="failed", created_at=now, finished_at=now - 8 * DAY, folder="f1"
        )
        exporting.store_part("f1", b"handle\n")
    sweep(acme, now - timedelta(seconds=1))
    lead_tasks.bulk_slice()
    with scope.as_tenant(acme):
        job.refresh_from_db()
    assert job.folder == ""
    assert default_storage.listdir("exports/")[1] == []


def test_an_import_whose_rows_are_gone_does_not_say_that_all_was_well(acme, alice, now, browser):
    row = make_import(acme, "done", now - 31 * DAY)
    with scope.as_tenant(acme):
        LeadImport.objects.update(records=1, rejected=1)
    page = f"/t/acme/leads/imports/{row.pk}/"
    assert "have been removed" not in browser(alice).get(page).content.decode()
    sweep(acme, now)
    shown = browser(alice).get(page).content.decode()
    assert "have been removed" in shown
    assert "Every row is taken" not in shown


def test_an_undo_ends_with_what_it_goes_by(acme, now):
    acme.keep_payload_days = 10
    acme.save()
    row = make_import(acme, "done", now - 9 * DAY)
    with scope.as_tenant(acme):
        row = LeadImport.objects.get(pk=row.pk)
        assert undoing.until(row) == row.finished_at + 10 * DAY
        with pytest.raises(Refused, match="10 days"):
            undoing.start_undo(row, by=None, now=now + 2 * DAY)


def test_an_entry_whose_payload_is_gone_is_not_delivered_empty(acme, now):
    with scope.as_tenant(acme):
        crm = factories.make_connection(acme, Connection.Kind.GHL)
        item = factories.make_sync_item(
            crm, "lead:1", state="discarded", due_at=now - 31 * DAY, wanted={"handle": "ana"}
        )
        letter = factories.make_sync_item(
            crm, "lead:2", state="failed", due_at=now - 31 * DAY, wanted={"handle": "bob"}
        )
    assert sweep(acme, now) == {"crm_payloads": 1}
    with scope.as_tenant(acme):
        with pytest.raises(Refused) as refusal:
            integration_actions.replay_dead(item, by=None, now=now)
        assert refusal.value.code == "payload_gone"
        integration_actions.replay_dead(letter, by=None, now=now)


# --- Leads --------------------------------------------------------------------------------------


def test_a_lead_that_somebody_may_have_heard_of_us_stays(acme, now):
    old = now - 400 * DAY
    finished = factories.make_campaign(acme, state="finished")
    paused = factories.make_campaign(acme, state="paused")
    for state in ("sent", "unknown"):
        factories.make_message(finished, make_old_lead(acme, state, old), state)
    factories.make_message(paused, make_old_lead(acme, "queued", old), "queued")
    factories.make_message(paused, make_old_lead(acme, "skipped", old), "skipped")
    touched = make_old_lead(acme, "touched", old)
    working = make_old_lead(acme, "working", old)
    make_old_lead(acme, "young", now - 364 * DAY)
    with scope.as_tenant(acme):
        Lead.objects.filter(pk=touched.pk).update(first_touch_at=old)
        job = BulkJob.objects.create(kind="tag", state="running", created_at=now)
        BulkRow.objects.create(job=job, lead=working)
    assert sweep(acme, now) == {}
    with scope.as_tenant(acme):
        assert Lead.objects.count() == 7


def test_a_lead_that_only_a_ledger_names_becomes_a_skeleton(acme, now):
    old = now - 400 * DAY
    ended = factories.make_campaign(
        acme, state="finished", audience={"kind": "handles", "handles": ["@Ana", "bob"]}
    )
    lead = make_old_lead(acme, "ana", old, email="ana@example.com", bio="ceo")
    message = factories.make_message(ended, lead, "failed", text="Oi ana", error="no @ana")
    before = broken()
    assert sweep(acme, now) == {"leads_emptied": 1}
    with scope.as_tenant(acme):
        row = Lead.objects.get()
        assert (row.pk, row.is_erased, row.name, row.email) == (lead.pk, True, "", "")
        assert row.suppressed_at is not None
        assert LeadScore.objects.filter(lead=row).count() == 1
        message = Message.objects.get(pk=message.pk)
        assert (message.state, message.text, message.error) == ("failed", "", "")
        ended.refresh_from_db()
        assert ended.audience["handles"] == [row.handle, "bob"]
        assert suppression.reasons_of(lead) == []  # nobody said that they must not be written to
    assert broken() == before == set()
    assert sweep(acme, now + 800 * DAY) == {}  # and stays one


def test_who_must_not_be_written_to_stays_so_and_others_may_come_back(acme, now):
    old = now - 400 * DAY
    stopped = make_old_lead(acme, "stopped", old, email="stopped@example.com")
    make_old_lead(acme, "free", old)
    with scope.as_tenant(acme):
        suppression.suppress_leads([stopped.pk], reason="asked", now=now)
    assert sweep(acme, now)["leads"] == 2
    with scope.as_tenant(acme):
        rows = [{"handle": "stopped"}, {"handle": "other", "email": "stopped@example.com"}]
        editing.upsert_leads(acme, [*rows, {"handle": "free"}], by=None, now=now)
        found = {row.handle: row.suppressed_at is not None for row in Lead.objects.all()}
    assert found == {"stopped": True, "other": True, "free": False}


def test_a_lead_that_got_a_message_between_the_look_and_the_lock_stays(acme, now, monkeypatch):
    lead = make_old_lead(acme, "old", now - 400 * DAY)
    campaign = factories.make_campaign(acme, state="running")
    with scope.as_tenant(acme):
        ids = list(of_leads._leads(acme, now).values_list("pk", flat=True))
        assert ids == [lead.pk]
        factories.make_message(campaign, lead, "queued")
        with transaction.atomic():
            assert of_leads._remove_leads(acme, ids, now) == {"leads": 0, "leads_emptied": 0}
        assert Lead.objects.get() == lead
