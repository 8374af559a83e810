"""The import wizard: nothing touches a lead before the commit, and the check counts the same."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, new_token
from agenticos.tests.factories import make_lead
from leads import actions, importing, intake, staging, tasks, undoing
from leads.models import ImportedLead, ImportProblem, Lead, LeadImport
from leads.tests.test_import_actions import everything
from leads.tests.wizard import (
    DATA,
    DEMO,
    OWN_RULES,
    a_hard_file,
    commit,
    counts,
    csv_of,
    known_lead,
    rehearse,
    some,
    stage,
    text,
    upload,
    url,
    work,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


# --- The check counts what the commit does ----------------------------------------------------


@pytest.mark.parametrize("policy", LeadImport.Policy.values)
@pytest.mark.parametrize("chunk", [1_000, 3, 1])
@pytest.mark.parametrize(
    "content",
    [a_hard_file(), (DATA / "dirty.csv").read_bytes(), DEMO.read_bytes()[:4_000]],
    ids=["hard", "dirty", "demo"],
)
def test_the_check_counts_what_the_commit_does(
    acme, clock, in_tenant, monkeypatch, content, chunk, policy
):
    in_tenant(acme)
    monkeypatch.setattr(intake, "CHUNK", chunk)
    actions.suppress(acme, email="a3@example.com", reason="asked", by=None, now=clock.now())
    make_lead(acme, "lead2", name="Old", ghl_id="g5", score=None)
    for _time in ("first", "second"):
        before = everything()
        row = rehearse(acme, content, clock, policy=policy, list_name="x")
        assert row.state == "ready"
        assert {**everything(), "problems": []} == {**before, "problems": []}
        checked, problems = counts(row), everything()["problems"]
        fates = _fates(row)
        commit(row, clock)
        assert row.state == "done"
        assert counts(row) == checked == row.rehearsal
        assert everything()["problems"] == problems
        assert _fates(row) == fates
        ImportProblem.objects.all().delete()
    assert checked["records"] == sum(
        checked[name] for name in ("created", "updated", "unchanged", "rejected")
    )


def _fates(row) -> list[tuple]:
    named = ("handle", "fate", "suppressed", "repeated")
    return list(row.leads.order_by("handle").values_list(*named))


def test_the_check_costs_a_constant_number_of_statements(acme, clock, in_tenant):
    in_tenant(acme)

    def statements(size: int, start: int) -> int:
        rows = [f"lead{n},Ana,CEO,{n},,,g{n}" for n in range(start, start + size - 2)]
        content = csv_of(*rows, "bad handle!,,,,,,", f"x{start},,,,bad,,")
        row = stage(acme, content, clock)
        mapping = staging.offer(row.headers).mapping
        staging.start_rehearsal(row, mapping=mapping, by=None, now=clock.now())
        row.refresh_from_db()
        token = new_token()
        assert intake.lease(row, token=token, now=clock.now())
        with CaptureQueriesContext(connection) as queries:
            assert intake.work_chunk(row, token=token, now=clock.now())
        return len(queries)

    make_lead(acme, "lead3")
    make_lead(acme, "lead5003")
    assert statements(10, 0) == statements(1_000, 5_000) <= 24


def test_a_check_killed_in_any_statement_counts_the_same(acme, clock, in_tenant, monkeypatch):
    in_tenant(acme)
    monkeypatch.setattr(intake, "CHUNK", 4)
    make_lead(acme, "lead2", name="Old", score=None)
    expected = counts(rehearse(acme, a_hard_file(), clock))

    class Killed(BaseException):
        pass

    row = stage(acme, a_hard_file(), clock)
    mapping = staging.offer(row.headers).mapping
    staging.start_rehearsal(row, mapping=mapping, by=None, now=clock.now())
    for kill_at in range(1, 60):
        row.refresh_from_db()
        token, seen = new_token(), 0
        assert intake.lease(row, token=token, now=clock.now())

        def bomb(execute, sql, params, many, context, kill_at=kill_at):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                raise Killed
            return execute(sql, params, many, context)

        try:
            with connection.execute_wrapper(bomb):
                while not intake.work_chunk(row, token=token, now=clock.now()):
                    pass
        except Killed:
            clock.move(61)
        else:
            break
    row.refresh_from_db()
    assert kill_at > 10
    assert (row.state, counts(row)) == ("ready", expected)


def test_what_changed_in_between_shows_in_the_report(acme, alice, browser, clock, in_tenant):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,Ana,,,,,", "bia,Bia,,,,,"), clock)
    make_lead(acme, "ana", name="Ana", score=None)
    commit(row, clock)
    assert some(row) == {"created": 1, "unchanged": 1, "records": 2}
    assert "The check had counted 2 new" in text(browser(alice).get(url("import", acme, row.pk)))


# --- What happens to known leads --------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "name", "city"),
    [("overwrite", "New", "Recife"), ("fill", "Old", "Recife"), ("keep", "Old", "")],
)
def test_the_policy_decides_what_a_known_lead_keeps(acme, clock, in_tenant, policy, name, city):
    in_tenant(acme)
    stopped = timezone.now()
    make_lead(acme, "ana", name="Old", city="", suppressed_at=stopped, score=None)
    content = csv_of("ana,New,Recife", "bia,Bia,", header="handle,name,city")
    commit(rehearse(acme, content, clock, policy=policy), clock)
    lead = Lead.objects.get(handle="ana")
    assert (lead.name, lead.city, lead.suppressed_at) == (name, city, stopped)
    assert Lead.objects.get(handle="bia").name == "Bia"


# --- Acts: who was first wins ----------------------------------------------------------------


def test_an_import_is_committed_once_and_only_when_checked(acme, clock, in_tenant):
    in_tenant(acme)
    row = stage(acme, csv_of("ana,,,,,,"), clock)
    with pytest.raises(Refused):
        staging.commit_import(row, by=None, now=clock.now())
    row = rehearse(acme, csv_of("ana,,,,,,"), clock)
    stale = LeadImport.objects.get(pk=row.pk)
    staging.commit_import(row, by=None, now=clock.now())
    with pytest.raises(Refused) as refused:
        staging.commit_import(stale, by=None, now=clock.now())
    assert refused.value.code == "changed"


def test_going_back_to_the_columns_breaks_the_check_off(acme, clock, in_tenant):
    in_tenant(acme)
    row = stage(acme, csv_of("ana,,,,,,"), clock)
    mapping = staging.offer(row.headers).mapping
    staging.start_rehearsal(row, mapping=mapping, by=None, now=clock.now())
    row.refresh_from_db()
    token = new_token()
    assert intake.lease(row, token=token, now=clock.now())
    staging.reopen(row, by=None)
    with pytest.raises(LeaseLost):
        intake.work_chunk(row, token=token, now=clock.now())
    staging.start_rehearsal(row, mapping={0: "handle"}, by=None, now=clock.now())
    assert some(work(row, clock)) == {"created": 1, "records": 1}


def test_a_discarded_import_takes_its_file_along_and_a_committed_one_stays(
    acme, clock, in_tenant, django_capture_on_commit_callbacks
):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,,,,,,"), clock)
    name, storage = row.file.name, row.file.storage
    with django_capture_on_commit_callbacks(execute=True):
        staging.discard_import(row, by=None)
    assert not storage.exists(name)
    assert not LeadImport.objects.exists()
    assert not ImportedLead.objects.exists()
    row = commit(rehearse(acme, csv_of("ana,,,,,,"), clock), clock)
    with pytest.raises(Refused):
        staging.discard_import(row, by=None)


def test_a_check_that_cannot_go_on_touches_nothing_and_says_why(acme, clock, in_tenant):
    in_tenant(acme)
    row = stage(acme, csv_of("ana,,,,,,"), clock)
    staging.start_rehearsal(row, mapping={0: "handle"}, by=None, now=clock.now())
    row.file.storage.delete(row.file.name)
    work(row, clock)
    assert (row.state, row.error_code) == ("failed", "file_gone")
    assert row.error == "The uploaded file is gone. Upload it again."
    with translation.override("pt-br"):
        assert importing.sentence_for(row.error_code) == row.error
    assert (Lead.objects.count(), ImportedLead.objects.count()) == (0, 0)


def test_a_slice_checks_what_is_due(acme, in_tenant):
    in_tenant(acme)
    row = staging.stage_import(
        acme, upload(csv_of("ana,,,,,,")), "x.csv", by=None, now=timezone.now()
    )
    staging.start_rehearsal(row, mapping={0: "handle"}, by=None, now=timezone.now())
    with scope.as_nobody():
        assert tasks.next_import_at() <= timezone.now()
        tasks.import_slice()
        assert tasks.next_import_at() is None
    row.refresh_from_db()
    assert (row.state, row.lease_until, Lead.objects.count()) == ("ready", None, 0)


# --- A policy per column ----------------------------------------------------------------------


def test_a_column_has_its_own_policy_in_check_commit_and_undo(acme, clock, in_tenant):
    in_tenant(acme)
    lead = known_lead(acme)
    content = csv_of("ana,New,Recife,New", "bia,Bia,Olinda,Bia", header="handle,name,city,category")
    row = rehearse(acme, content, clock, policies=OWN_RULES)
    assert ImportedLead.objects.get(handle="ana").before == {"city": "", "category": "Old"}
    commit(row, clock)
    lead.refresh_from_db()
    assert (lead.name, lead.city, lead.category) == ("Old", "Recife", "New")
    assert counts(row) == row.rehearsal
    again = rehearse(acme, csv_of("ana,New,Natal,New", header="handle,name,city,category"), clock,
                     policies=OWN_RULES)  # fmt: skip
    assert some(again) == {"unchanged": 1, "records": 1}
    undoing.start_undo(row, by=None, now=clock.now())
    with scope.as_nobody():
        tasks.import_slice()
    lead.refresh_from_db()
    assert (lead.name, lead.city, lead.category) == ("Old", "", "Old")


@pytest.mark.parametrize("chunk", [1_000, 1])
@pytest.mark.parametrize("policy", LeadImport.Policy.values)
@pytest.mark.parametrize("own", LeadImport.Policy.values)
def test_the_check_counts_what_the_commit_does_with_rules_of_columns(
    acme, clock, in_tenant, monkeypatch, policy, own, chunk
):
    in_tenant(acme)
    monkeypatch.setattr(intake, "CHUNK", chunk)
    make_lead(acme, "lead2", name="Old", ghl_id="g5", score=None)
    rules = {"name": own, "ghl_id": own, "followers": "fill"}
    row = rehearse(acme, a_hard_file(), clock, policy=policy, policies=rules)
    checked, fates = counts(row), _fates(row)
    commit(row, clock)
    assert counts(row) == checked
    assert _fates(row) == fates


@pytest.mark.parametrize(
    "policies",
    [{"handle": "keep"}, {"suppressed_at": "overwrite"}, {"owner": "overwrite"},
     {"name": "replace"}, {"name": ["fill"]}, {"profile_url": "keep"}],
)  # fmt: skip
def test_what_is_no_policy_is_refused(acme, clock, in_tenant, policies):
    in_tenant(acme)
    with pytest.raises(Refused) as refused:
        rehearse(acme, csv_of("ana,,,,,,"), clock, policies=policies)
    assert refused.value.code == "bad_policy"
    assert LeadImport.objects.get().state == "draft"


def test_the_rules_of_columns_are_remembered(acme, clock, in_tenant):
    in_tenant(acme)
    content = csv_of("ana,Ana,x", header="who,remark,place")
    mapping = {0: "handle", 1: "name", 2: "city"}
    rehearse(acme, content, clock, mapping=mapping, policy="fill",
             policies={"name": "keep", "city": "fill"})  # fmt: skip
    offer = staging.offer(["Place", "WHO", "remark"])
    assert (offer.policy, offer.policies) == ("fill", {"name": "keep"})
    assert staging.offer(["who", "remark", "place"], guess=True).policies == {}
