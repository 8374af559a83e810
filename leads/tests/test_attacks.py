"""Scenarios that once broke a promise of the lead pages, found by attacking them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.models import RestrictedError
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, new_token
from agenticos.tests.factories import make_campaign, make_lead, make_member, make_message
from leads import bulk, intake, staging, undoing, viewing
from leads.models import BulkJob, IcpVersion, ImportedLead, Lead, LeadImport, SavedView
from leads.tests.wizard import commit, csv_of, rehearse, work

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


# --- Texts that a database refuses ------------------------------------------------------------


def test_a_nul_in_the_filter_of_a_bulk_job_is_no_fault(acme, alice, browser):
    make_lead(acme, "ana")
    answer = browser(alice).post(
        url("bulk", acme, "tag"), {"tag": "vip", "all": "1", "query": "x=a\x00"}
    )
    assert answer.status_code < 500


def test_a_nul_in_the_code_of_a_problem_is_no_fault(acme, alice, browser, clock, in_tenant):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,Ana,,,,,"), clock)
    assert browser(alice).get(url("import", acme, row.pk), {"code": "a\x00"}).status_code == 200


@pytest.mark.parametrize("page", ["publish", "restore"])
def test_a_nul_in_the_note_of_a_version_is_no_fault(acme, alice, browser, page):
    from leads.icp_forms import initial_of
    from leads.scoring import DEFAULT

    make_lead(acme)
    values = {
        name: value
        for name, value in initial_of(DEFAULT).items()
        if value is not False and value is not None
    }
    args = [acme.slug] if page == "publish" else [acme.slug, 1]
    answer = browser(alice).post(
        reverse(f"icp:{page}", args=args), {**values, "note": "why\x00 not"}
    )
    assert answer.status_code == 302
    with scope.as_tenant(acme):
        assert IcpVersion.objects.latest("number").note == "why not"


# --- Imports ----------------------------------------------------------------------------------


class Stale:
    """`LeadImport` for a worker that has read the row, and was frozen before it did more."""

    State = LeadImport.State

    def __init__(self, row):
        self._row = row
        self.objects = self

    def filter(self, **conditions):
        if self._row is None:
            return LeadImport.objects.filter(**conditions)
        row, self._row = self._row, None
        return SimpleNamespace(first=lambda: row)


def test_a_late_worker_forgets_nothing_of_what_an_undo_needs(acme, clock, in_tenant, monkeypatch):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,Ana,,,,,", "rui,Rui,,,,,"), clock)
    staging.commit_import(row, by=None, now=clock.now())
    late = new_token()
    assert intake.lease(row, token=late, now=clock.now())
    frozen = LeadImport.objects.get(pk=row.pk)
    clock.move(3600)
    work(row, clock)
    monkeypatch.setattr(intake, "LeadImport", Stale(frozen))
    with pytest.raises(LeaseLost):
        intake.work_chunk(row, token=late, now=clock.now())
    assert ImportedLead.objects.filter(lead_import=row).count() == 2


def test_of_two_tabs_nobody_commits_a_check_that_they_did_not_see(
    acme, alice, browser, clock, in_tenant
):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,Ana,,,,,"), clock)
    page = browser(alice).get(url("import", acme, row.pk))
    seen = page.context["seen"]
    staging.reopen(row, by=None)
    staging.start_rehearsal(row, mapping={0: "handle"}, by=None, now=clock.now())
    work(row, clock)
    browser(alice).post(url("import-commit", acme, row.pk), {"seen": seen})
    row.refresh_from_db()
    assert row.state == "ready"
    now_seen = browser(alice).get(url("import", acme, row.pk)).context["seen"]
    browser(alice).post(url("import-commit", acme, row.pk), {"seen": now_seen})
    row.refresh_from_db()
    assert row.state == "waiting"


def test_an_undo_locks_leads_in_the_order_of_all_others(acme, clock, in_tenant):
    in_tenant(acme)
    row = commit(rehearse(acme, csv_of("ana,Ana,,,,,", "rui,Rui,,,,,"), clock), clock)
    clock.move(60)
    undoing.start_undo(row, by=None, now=clock.now())
    token = new_token()
    assert intake.lease(row, token=token, now=clock.now())
    with CaptureQueriesContext(connection) as queries:
        undoing.undo_chunk(row, token=token, now=clock.now())
    looks = [one["sql"] for one in queries if '"first_touch_at" FROM "leads_lead"' in one["sql"]]
    assert looks
    assert all('ORDER BY "leads_lead"."id"' in text for text in looks)


def test_an_import_is_undone_once_and_committed_once(acme, clock, in_tenant):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,Ana,,,,,"), clock)
    twin = LeadImport.objects.get(pk=row.pk)
    staging.commit_import(row, by=None, now=clock.now())
    with pytest.raises(Refused):
        staging.commit_import(twin, by=None, now=clock.now())
    work(row, clock)
    twin = LeadImport.objects.get(pk=row.pk)
    row.refresh_from_db()
    undoing.start_undo(row, by=None, now=clock.now())
    with pytest.raises(Refused):
        undoing.start_undo(twin, by=None, now=clock.now())


# --- Leads ------------------------------------------------------------------------------------


def test_no_lead_with_messages_can_be_deleted_by_any_way(acme, in_tenant):
    in_tenant(acme)
    lead = make_lead(acme)
    make_message(make_campaign(acme), lead, "sent")
    with pytest.raises(RestrictedError):
        Lead.objects.filter(pk=lead.pk).delete()
    assert lead.messages.count() == 1


# --- Views and jobs ---------------------------------------------------------------------------


def test_renaming_a_view_keeps_what_another_tab_saved_in_it(acme, alice, in_tenant):
    in_tenant(acme)
    view = viewing.save_view(
        acme, name="Hot", query="band=HOT", shared=False, pinned=True, by=alice
    )
    old = SavedView.objects.get(pk=view.pk)
    viewing.update_view(view, query="band=WARM", by=alice)
    viewing.change_view(old, name="Warm", shared=True, pinned=True, by=alice)
    view.refresh_from_db()
    assert (view.name, view.query, view.shared) == ("Warm", "band=WARM", True)


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_who_may_not_export_reaches_no_export_at_all(acme, alice, browser, clock, role):
    lead = make_lead(acme)
    with scope.as_tenant(acme):
        job = bulk.start(
            acme,
            BulkJob.Kind.EXPORT,
            params={"columns": ["handle"]},
            lead_ids=[lead.pk],
            by=alice,
            now=clock.now(),
        )
    client = browser(make_member(acme, role).user)
    assert client.get(url("export-file", acme, job.pk)).status_code == 403
    assert client.get(url("job", acme, job.pk)).status_code == 404
    assert client.post(url("bulk", acme, "export"), {"lead": [lead.pk]}).status_code in (403, 404)


def test_ids_of_a_rivals_leads_are_nobody(acme, rival, alice, browser):
    theirs = make_lead(rival)
    browser(alice).post(url("bulk", acme, "suppress"), {"lead": [theirs.pk], "reason": "asked"})
    with scope.as_tenant(rival):
        theirs.refresh_from_db()
    assert theirs.suppressed_at is None
    with scope.as_tenant(acme):
        assert not BulkJob.objects.exists()
