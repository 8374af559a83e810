"""One deed for many leads: chosen or all that match, resumed, undone, exported."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, new_token
from agenticos.tests.factories import make_lead, make_member
from leads import bulk, exporting, importing, tasks
from leads.importing.cells import unguard
from leads.models import BulkJob, BulkRow, Lead, LeadScore, LeadTag, Suppression
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


def tagged(tenant, name):
    with scope.as_tenant(tenant):
        names = LeadTag.objects.filter(name=name).order_by("lead__handle")
        return list(names.values_list("lead__handle", flat=True))


def only_job(tenant):
    with scope.as_tenant(tenant):
        return BulkJob.objects.order_by("-pk").first()


def body(response):
    return b"".join(response.streaming_content).decode("utf-8-sig")


# --- Chosen leads -----------------------------------------------------------------------------


def test_a_page_of_leads_is_tagged_at_once(acme, alice, browser):
    ana, rui, zoe = (make_lead(acme, name) for name in ("ana", "rui", "zoe"))
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=rui, name="vip")
    client = browser(alice)
    answer = client.post(url("bulk", acme, "tag"), {"tag": " vip ", "lead": [ana.pk, rui.pk]})
    job = only_job(acme)
    assert answer["Location"] == url("job", acme, job.pk)
    assert tagged(acme, "vip") == ["ana", "rui"]
    assert (job.state, job.total, job.done, job.unchanged) == ("done", 2, 1, 1)
    page = client.get(url("job", acme, job.pk), {"outcome": "unchanged"})
    assert [row.lead_id for row, _why in page.context["rows"]] == [rui.pk]
    assert "It has this tag already." in page.content.decode()
    assert zoe.handle not in page.content.decode()


def test_a_lead_with_too_many_tags_is_refused_with_the_reason(acme, alice, browser, monkeypatch):
    monkeypatch.setattr(bulk, "TAGS_OF_LEAD", 1)
    lead = make_lead(acme)
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=lead, name="one")
    browser(alice).post(url("bulk", acme, "tag"), {"tag": "two", "lead": [lead.pk]})
    job = only_job(acme)
    assert (job.done, job.refused) == (0, 1)
    with scope.as_tenant(acme):
        assert BulkRow.objects.get().reason == "too_many_tags"


def test_a_rivals_leads_cannot_be_chosen(acme, rival, alice, browser):
    theirs = make_lead(rival)
    answer = browser(alice).post(url("bulk", acme, "tag"), {"tag": "x", "lead": [theirs.pk]})
    assert "Choose at least one lead." in answer.content.decode()
    assert tagged(rival, "x") == []


@pytest.mark.parametrize("data", [{}, {"lead": ["x", "²", "9" * 30]}, {"all": "2"}])
def test_nobody_chosen_is_said(acme, alice, browser, data):
    answer = browser(alice).post(url("bulk", acme, "tag"), {"tag": "x", **data})
    assert answer.status_code == 200
    assert "Choose at least one lead." in answer.content.decode()
    assert only_job(acme) is None


def test_the_dialog_asks_with_the_number_and_keeps_what_was_chosen(acme, alice, browser):
    leads = [make_lead(acme) for _ in range(3)]
    client = browser(alice, htmx="dialog-body")
    chosen = client.get(url("bulk", acme, "suppress"), {"lead": [lead.pk for lead in leads[:2]]})
    assert "2 leads" in chosen.content.decode()
    assert chosen.content.decode().count('name="lead"') == 2
    everybody = client.get(url("bulk", acme, "suppress"), {"all": "1", "query": "q=lead"})
    assert "3 leads: all that match" in everybody.content.decode()
    assert client.get(url("bulk", acme, "nonsense")).status_code == 404
    assert client.get(url("bulk", acme, "export")).status_code == 404


def test_suppressing_many_stops_every_identity_of_each(acme, alice, browser):
    ana = make_lead(acme, "ana", email="ana@example.com", phone="+5511988887777")
    other = make_lead(acme, "clinic", phone="+5511988887777")
    gone = make_lead(acme, "gone", suppressed_at=timezone.now())
    free = make_lead(acme, "free")
    data = {"reason": "asked", "lead": [ana.pk, gone.pk]}
    browser(alice).post(url("bulk", acme, "suppress"), data)
    job = only_job(acme)
    assert (job.done, job.unchanged) == (1, 1)
    with scope.as_tenant(acme):
        stopped = set(Lead.objects.exclude(suppressed_at=None).values_list("handle", flat=True))
        assert Suppression.objects.count() == 4
    assert stopped == {"ana", "clinic", "gone"}
    assert free.handle not in stopped
    assert other.handle in stopped


def test_a_reason_is_needed_to_suppress(acme, alice, browser):
    lead = make_lead(acme)
    browser(alice).post(url("bulk", acme, "suppress"), {"lead": [lead.pk], "reason": "because"})
    assert only_job(acme) is None


def test_scoring_again_repairs_a_wrong_score(acme, alice, browser):
    lead = make_lead(acme, "ana", score=99, bio="CEO", followers=1000)
    browser(alice).post(url("bulk", acme, "rescore"), {"lead": [lead.pk]})
    with scope.as_tenant(acme):
        score = LeadScore.objects.get(lead=lead)
    assert score.total == sum(row[1] for row in score.breakdown) != 99


# --- All that match ---------------------------------------------------------------------------


def test_all_that_match_are_frozen_and_worked_by_the_workers(
    acme, alice, browser, rung, monkeypatch
):
    monkeypatch.setattr(bulk, "FREEZE", 2)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    for number in range(5):
        make_lead(acme, f"hot{number}", score=90)
    make_lead(acme, "cold", score=45)
    data = {"tag": "vip", "all": "1", "query": "band=HOT"}
    browser(alice).post(url("bulk", acme, "tag"), data)
    assert rung == [("leads.tasks.bulk_slice", ())]
    assert tagged(acme, "vip") == []
    make_lead(acme, "late", score=90)  # came after the question was answered
    tasks.bulk_slice()
    assert tagged(acme, "vip") == [f"hot{number}" for number in range(5)]
    job = only_job(acme)
    assert (job.state, job.total, job.done) == ("done", 5, 5)
    assert tasks.next_bulk_at() is None


def test_a_set_without_anybody_is_done_at_once(acme, alice, browser):
    make_lead(acme)
    browser(alice).post(url("bulk", acme, "tag"), {"tag": "x", "all": "1", "query": "q=zzz"})
    tasks.bulk_slice()
    job = only_job(acme)
    assert (job.state, job.total) == ("done", 0)


def test_a_filter_that_is_not_understood_starts_nothing(acme, alice, browser):
    """Left out on the page it shows more leads; here it would change them."""
    make_lead(acme)
    data = {"tag": "x", "all": "1", "query": "f=folowers&o=is&v=1&u="}
    answer = browser(alice).post(url("bulk", acme, "tag"), data)
    assert "was left out" in answer.content.decode()
    assert only_job(acme) is None


def start(tenant, kind="tag", **options):
    options = {"params": {"tag": "vip"}, "query": "", **options}
    return bulk.start(tenant, kind, by=None, now=timezone.now(), **options)


def take(job):
    token = new_token()
    assert bulk.lease(job, token=token, now=timezone.now())
    return token


def test_a_killed_workers_successor_goes_on_where_it_was(acme, in_tenant, monkeypatch):
    monkeypatch.setattr(bulk, "FREEZE", 2)
    monkeypatch.setattr(bulk, "CHUNK", 2)
    leads = [make_lead(acme, f"lead{number}") for number in range(5)]
    in_tenant(acme)
    job = start(acme)
    first = take(job)
    bulk.step(job, token=first, now=timezone.now())
    assert BulkRow.objects.count() == 2
    later = timezone.now() + timedelta(hours=1)
    second = new_token()
    assert bulk.lease(job, token=second, now=later)
    with pytest.raises(LeaseLost):
        bulk.step(job, token=first, now=later)
    assert BulkRow.objects.count() == 2
    while not bulk.step(job, token=second, now=later):
        pass
    job.refresh_from_db()
    assert (job.state, job.total, job.done) == ("done", 5, 5)
    assert LeadTag.objects.count() == len(leads)


def test_a_chunk_costs_the_same_with_more_leads(acme, in_tenant):
    def cost(many):
        ids = [make_lead(acme).pk for _ in range(many)]
        job = start(acme, lead_ids=ids)
        token = take(job)
        with CaptureQueriesContext(connection) as seen:
            bulk.step(job, token=token, now=timezone.now())
        return len(seen)

    in_tenant(acme)
    assert cost(3) == cost(30)


def test_after_five_errors_a_job_has_failed_and_says_so(acme, in_tenant, monkeypatch):
    make_lead(acme)

    def broken(*_):
        raise RuntimeError

    monkeypatch.setitem(bulk._DEEDS, "tag", broken)
    in_tenant(acme)
    job = start(acme)
    for _ in range(bulk.MAX_ATTEMPTS):
        BulkJob.objects.update(due_at=timezone.now(), lease_until=None)
        with scope.as_nobody():
            tasks.bulk_slice()
    job.refresh_from_db()
    assert job.state == "failed"
    assert "What is done so far stays done" in job.error


def test_too_many_jobs_at_once_are_refused(acme, in_tenant):
    in_tenant(acme)
    for _ in range(bulk.OPEN_MAX):
        start(acme)
    with pytest.raises(Refused) as refusal:
        start(acme)
    assert refusal.value.code == "too_many_jobs"


# --- Undo -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tag", "untag"])
def test_an_undo_takes_back_what_the_job_changed_and_nothing_else(acme, alice, browser, kind):
    had, had_not = make_lead(acme, "had"), make_lead(acme, "hadnot")
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=had, name="vip")
    client = browser(alice)
    client.post(url("bulk", acme, kind), {"tag": "vip", "lead": [had.pk, had_not.pk]})
    job = only_job(acme)
    assert "Undo" in client.get(url("job", acme, job.pk)).content.decode()
    client.post(url("job-undo", acme, job.pk))
    tasks.bulk_slice()
    assert tagged(acme, "vip") == ["had"]
    back = only_job(acme)
    assert (back.undo_of_id, back.state, back.done) == (job.pk, "done", 1)
    client.post(url("job-undo", acme, job.pk))
    assert only_job(acme) == back
    assert "This was undone." in client.get(url("job", acme, job.pk)).content.decode()


def test_a_suppression_cannot_be_undone(acme, alice, browser):
    lead = make_lead(acme)
    client = browser(alice)
    client.post(url("bulk", acme, "suppress"), {"reason": "asked", "lead": [lead.pk]})
    client.post(url("job-undo", acme, only_job(acme).pk))
    with scope.as_tenant(acme):
        assert BulkJob.objects.count() == 1


# --- Export -----------------------------------------------------------------------------------


def export(tenant, client, **data):
    data = {"columns": ["handle", "name", "phone", "score", "tags"], "all": "1", **data}
    client.post(url("export", tenant), data)
    tasks.bulk_slice()
    return only_job(tenant)


def test_an_export_holds_the_chosen_columns_of_all_that_match(acme, alice, browser, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK", 2)
    for number in range(3):
        make_lead(acme, f"hot{number}", score=90, name='=HYPERLINK("x")', phone="+5511988887777")
    make_lead(acme, "cold", score=45)
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=Lead.objects.get(handle="hot0"), name="vip")
        LeadTag.objects.create(lead=Lead.objects.get(handle="hot0"), name="a;b")
    client = browser(alice)
    job = export(acme, client, query="band=HOT")
    assert len(job.parts) == 2
    answer = client.get(url("export-file", acme, job.pk))
    assert answer["Content-Disposition"].startswith('attachment; filename="leads-acme-')
    rows = list(csv.reader(io.StringIO(body(answer))))
    assert rows[0] == ["handle", "name", "score", "phone", "tags"]
    assert rows[1] == ["hot0", '\'=HYPERLINK("x")', "90", "'+5511988887777", "a;b; vip"]
    assert [row[0] for row in rows[1:]] == ["hot0", "hot1", "hot2"]
    with scope.as_tenant(acme):
        entries = dict(AuditEntry.objects.values_list("action", "data"))
    assert entries["export.done"]["total"] == entries["export.downloaded"]["total"] == 3


def test_an_export_can_be_imported_again(acme, alice, browser):
    make_lead(acme, "ana", name="-Ana", email="ana@example.com", followers=1200)
    client = browser(alice)
    job = export(acme, client, columns=["handle", "name", "email", "followers", "score"])
    data = io.BytesIO(b"".join(client.get(url("export-file", acme, job.pk)).streaming_content))
    dialect = importing.sniff_stream(data)
    mapping = importing.guess_mapping(importing.read_header(data, dialect))
    (row,) = importing.rows(data, dialect, mapping)
    values = {name: row.values[name] for name in ("handle", "name", "email", "followers")}
    assert values == {
        "handle": "ana", "name": "-Ana", "email": "ana@example.com", "followers": 1200,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x", "  =1+1"]
)
def test_no_cell_is_a_formula(text):
    (row,) = csv.reader(io.StringIO(exporting.as_csv(None, [[text]]).decode(), newline=""))
    assert row == [f"'{text}"]
    assert unguard(row[0]) in (text.strip(), f"'{text}".strip())


def test_an_empty_export_has_a_header(acme, alice, browser):
    client = browser(alice)
    job = export(acme, client, query="q=zzz")
    assert "handle" in body(client.get(url("export-file", acme, job.pk)))


def test_only_those_who_may_export_see_and_download(acme, rival, alice, charlie, browser):
    make_lead(acme)
    job = export(acme, browser(alice))
    operator = browser(make_member(acme, "operator").user)
    assert operator.get(url("export", acme)).status_code == 403
    assert operator.get(url("export-file", acme, job.pk)).status_code == 403
    assert operator.get(url("job", acme, job.pk)).status_code == 404
    assert "Export" not in [
        row.get_kind_display() for row in operator.get(url("jobs", acme)).context["rows"]
    ]
    manager = browser(make_member(acme, "manager").user)
    assert manager.get(url("export-file", acme, job.pk)).status_code == 200
    assert browser(charlie).get(url("export-file", rival, job.pk)).status_code == 404
    assert browser(charlie).get(url("export-file", acme, job.pk)).status_code == 404


def test_an_export_goes_after_its_time_with_everything_in_it(acme, alice, browser):
    make_lead(acme)
    client = browser(alice)
    job = export(acme, client)
    assert default_storage.exists(job.parts[0])
    with scope.as_tenant(acme):
        # An attempt that came to nothing leaves a part that no row names.
        exporting.store_part(job.folder, b"orphan")
        BulkJob.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.get(url("export-file", acme, job.pk)).status_code == 302
    assert tasks.next_bulk_at() < timezone.now()
    tasks.bulk_slice()
    assert tasks.next_bulk_at() is None
    assert not default_storage.exists(job.parts[0])
    assert not default_storage.exists(f"exports/{job.folder}")
    with scope.as_tenant(acme):
        assert not BulkRow.objects.exists()
    page = client.get(url("job", acme, job.pk)).content.decode()
    assert "The file has been removed." in page


def test_a_viewer_may_look_at_jobs_and_start_none(acme, vera, browser):
    lead = make_lead(acme)
    client = browser(vera)
    assert client.get(url("jobs", acme)).status_code == 200
    for kind in ("tag", "untag", "suppress", "rescore"):
        assert client.post(url("bulk", acme, kind), {"lead": [lead.pk]}).status_code == 403
    assert client.post(url("export", acme), {"lead": [lead.pk]}).status_code == 403
    assert 'form="bulk"' not in client.get(url("list", acme)).content.decode()


def test_a_moving_job_polls_and_a_finished_one_does_not(acme, alice, browser):
    make_lead(acme)
    client = browser(alice, htmx="job")
    client.post(url("bulk", acme, "tag"), {"tag": "x", "all": "1"})
    address = url("job", acme, only_job(acme).pk)
    assert "every 3s" in client.get(address).content.decode()
    tasks.bulk_slice()
    part = client.get(address).content.decode()
    assert "every 3s" not in part
    assert part.lstrip().startswith('<div id="job"')
