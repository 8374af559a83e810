"""Undoing an import: what nobody touched since goes back, the rest is listed with its reason."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, new_token
from agenticos.tests.factories import make_campaign, make_lead, make_message
from leads import actions, editing, intake, tasks, undoing
from leads.models import ImportedLead, Lead, LeadImport, LeadScore, LeadTag
from leads.tests.test_import_actions import a_file, everything, lease, many, run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_acme(acme, in_tenant, rung):
    in_tenant(acme)


def begin(row, clock) -> LeadImport:
    row.refresh_from_db()
    undoing.start_undo(row, by=None, now=clock.now())
    return row


def work(row, clock) -> LeadImport:
    token = lease(row, clock)
    while not undoing.undo_chunk(row, token=token, now=clock.now()):
        pass
    row.refresh_from_db()
    return row


def undo(row, clock) -> LeadImport:
    clock.move(60)
    return work(begin(row, clock), clock)


def result(row) -> dict[str, int]:
    return {name: row.undo[name] for name in ("removed", "restored", "kept") if row.undo[name]}


def kept(row) -> dict[str, str]:
    return dict(row.leads.exclude(kept="").values_list("handle", "kept"))


def later(clock):
    clock.move(60)
    return clock.now()


def test_an_undone_import_leaves_everything_as_it_was(acme, clock, monkeypatch):
    monkeypatch.setattr(undoing, "CHUNK", 3)
    monkeypatch.setattr(intake, "CHUNK", 4)
    run(acme, a_file(*many(5), "ana,Ana,Bio,1,2,3.81,true,a@b.co,,g1"), clock, list_name="one")
    before = everything()
    row = run(
        acme,
        a_file(
            *(line.replace("CEO", "Sócia") for line in many(4)),
            *many(4, 100),
            "ana,Ana Lima,,5,,4.5,false,,11988887777,g2",
            "bad handle!,,,,,,,,,",
            "lead4,Again,,,,,,,,g1",
        ),
        clock,
        list_name="two",
    )
    assert LeadTag.objects.filter(name="two").count() == 10
    undo(row, clock)
    assert (row.state, result(row)) == ("undone", {"removed": 4, "restored": 6})
    assert {**everything(), "problems": []} == {**before, "problems": []}
    assert LeadScore.objects.count() == Lead.objects.count() == 6


def test_a_list_that_leads_were_on_before_keeps_them(acme, clock):
    run(acme, a_file("ana,,,,,,,,,"), clock, list_name="x")
    row = run(acme, a_file("ana,,,,,,,,,", "bia,,,,,,,,,"), clock, list_name="x")
    undo(row, clock)
    assert list(LeadTag.objects.values_list("name", "lead__handle")) == [("x", "ana")]


def touched(acme, lead, how: str, now) -> None:
    if how == "message":
        make_message(make_campaign(acme), lead)
    elif how == "reserved":
        Lead.objects.filter(pk=lead.pk).update(first_touch_at=now)
    elif how == "edited":
        editing.edit_lead(lead, {"city": "Recife"}, by=None, now=now)
    elif how == "tagged":
        LeadTag.objects.create(tenant=acme, lead=lead, name="vip")
    else:
        actions.suppress(acme, handle=lead.handle, reason="asked", by=None, now=now)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("message", "in_use"),
        ("reserved", "in_use"),
        ("edited", "touched"),
        ("tagged", "touched"),
        ("suppressed", "touched"),
    ],
)
def test_a_new_lead_that_was_touched_stays(acme, clock, how, reason):
    row = run(acme, a_file("ana,,,,,,,,,", "bia,,,,,,,,,"), clock)
    touched(acme, Lead.objects.get(handle="ana"), how, later(clock))
    undo(row, clock)
    assert result(row) == {"removed": 1, "kept": 1}
    assert kept(row) == {"ana": reason}
    assert list(Lead.objects.values_list("handle", flat=True)) == ["ana"]


def test_a_new_lead_that_is_in_another_file_too_stays(acme, clock):
    row = run(acme, a_file("ana,,,,,,,,,"), clock)
    run(acme, a_file("ana,,,,,,,,,"), clock)
    undo(row, clock)
    assert kept(row) == {"ana": "other_file"}


def test_a_field_that_was_changed_since_stays_and_the_others_go_back(acme, clock):
    run(acme, a_file("ana,Ana,Bio,1,,,,,,"), clock)
    row = run(acme, a_file("ana,New,New bio,2,,,,,,"), clock)
    editing.edit_lead(Lead.objects.get(), {"name": "By hand"}, by=None, now=later(clock))
    undo(row, clock)
    lead = Lead.objects.get()
    assert (lead.name, lead.bio, lead.followers) == ("By hand", "Bio", 1)
    assert (result(row), kept(row)) == ({"restored": 1, "kept": 1}, {"ana": "touched"})


def test_a_ghl_id_that_another_lead_has_now_is_not_taken_back(acme, clock):
    run(acme, a_file("ana,Ana,,,,,,,,g1"), clock)
    row = run(acme, a_file("ana,New,,,,,,,,g2"), clock)
    run(acme, a_file("bia,,,,,,,,,g1"), clock)
    undo(row, clock)
    assert dict(Lead.objects.values_list("handle", "ghl_id")) == {"ana": "g2", "bia": "g1"}
    assert Lead.objects.get(handle="ana").name == "Ana"
    assert kept(row) == {"ana": "ghl_id_taken"}


def test_an_opt_out_outlives_the_undo(acme, clock):
    make_lead(acme, "ana", name="Ana", score=None)
    row = run(acme, a_file("ana,New,,,,,,a@b.co,,"), clock)
    actions.suppress(acme, email="a@b.co", reason="asked", by=None, now=later(clock))
    undo(row, clock)
    lead = Lead.objects.get()
    assert (lead.name, lead.email) == ("Ana", "")
    assert lead.suppressed_at is not None


def test_an_undo_killed_in_any_statement_ends_the_same(acme, clock, monkeypatch):
    monkeypatch.setattr(undoing, "CHUNK", 3)
    run(acme, a_file(*many(4)), clock)
    before = everything()

    class Killed(BaseException):
        pass

    row = run(acme, a_file(*(line.replace("CEO", "x") for line in many(8))), clock, list_name="l")
    clock.move(60)
    begin(row, clock)
    for kill_at in range(1, 80):
        token, seen = lease(row, clock), 0

        def bomb(execute, sql, params, many, context, kill_at=kill_at):
            nonlocal seen
            seen += 1
            if seen == kill_at:
                raise Killed
            return execute(sql, params, many, context)

        try:
            with connection.execute_wrapper(bomb):
                while not undoing.undo_chunk(row, token=token, now=clock.now()):
                    pass
        except Killed:
            clock.move(61)
        else:
            break
    row.refresh_from_db()
    assert kill_at > 10
    assert (row.state, result(row)) == ("undone", {"removed": 4, "restored": 4})
    assert everything() == before


def test_the_number_of_statements_hardly_grows_with_the_leads(acme, clock):
    def statements(size: int, start: int) -> int:
        run(acme, a_file(*many(size, start)), clock)
        rows = [line.replace("CEO", "x") for line in many(2 * size, start)]
        row = begin(run(acme, a_file(*rows), clock, list_name="l"), clock)
        token = lease(row, clock)
        with CaptureQueriesContext(connection) as queries:
            assert undoing.undo_chunk(row, token=token, now=clock.now())
        assert row.undo["removed"] == row.undo["restored"] == size
        return len(queries)

    # Django removes leads by the hundred.
    assert statements(200, 5_000) - statements(5, 0) <= 1


def test_a_worker_whose_lease_was_taken_over_undoes_nothing(acme, clock):
    row = begin(run(acme, a_file(*many(3)), clock), clock)
    old = lease(row, clock)
    clock.move(61)
    lease(row, clock)
    with pytest.raises(LeaseLost):
        undoing.undo_chunk(row, token=old, now=clock.now())
    assert Lead.objects.count() == 3


def test_an_undo_that_breaks_can_be_begun_again(acme, clock, monkeypatch):
    row = run(acme, a_file(*many(3)), clock)
    LeadImport.objects.update(finished_at=timezone.now())
    row.refresh_from_db()
    undoing.start_undo(row, by=None, now=timezone.now())

    def broken(*args, **kwargs):
        raise RuntimeError("bug")

    with monkeypatch.context() as patched:
        patched.setattr(undoing, "write_leads", broken)
        for _ in range(intake.MAX_ATTEMPTS):
            LeadImport.objects.update(due_at=timezone.now())
            with scope.as_nobody():
                tasks.import_slice()
    row.refresh_from_db()
    assert (row.state, row.error_code, Lead.objects.count()) == ("failed", "unexpected_undo", 3)
    undoing.start_undo(row, by=None, now=timezone.now())
    with scope.as_nobody():
        tasks.import_slice()
    row.refresh_from_db()
    assert (row.state, row.error, Lead.objects.count()) == ("undone", "", 0)


@pytest.mark.parametrize(
    ("days", "code"), [(undoing.DAYS, ""), (undoing.DAYS + 1, "undo_too_late")]
)
def test_an_import_can_be_undone_for_thirty_days(acme, clock, days, code):
    row = run(acme, a_file(*many(1)), clock)
    clock.move(timedelta(days=days).total_seconds())
    if not code:
        begin(row, clock)
        return
    with pytest.raises(Refused) as refused:
        begin(row, clock)
    assert refused.value.code == code


@pytest.mark.parametrize("state", ["draft", "ready", "running", "undone"])
def test_only_what_is_done_can_be_undone(acme, clock, state):
    row = run(acme, a_file(*many(1)), clock)
    LeadImport.objects.update(state=state)
    with pytest.raises(Refused):
        begin(row, clock)


def test_an_import_of_before_the_log_cannot_be_undone(acme, clock):
    row = run(acme, a_file(*many(1)), clock)
    LeadImport.objects.update(committed_at=None)
    with pytest.raises(Refused) as refused:
        begin(row, clock)
    assert refused.value.code == "nothing_to_undo"


def test_a_failed_import_can_be_undone(acme, clock, monkeypatch):
    monkeypatch.setattr(intake, "CHUNK", 2)
    row = LeadImport.objects.get(
        pk=actions.start_import(acme, a_file(*many(6)), "x.csv", by=None, now=clock.now()).pk
    )
    token = lease(row, clock)
    assert not intake.work_chunk(row, token=token, now=clock.now())
    row.file.storage.delete(row.file.name)
    assert intake.work_chunk(row, token=token, now=clock.now())
    undo(row, clock)
    assert (row.state, result(row), Lead.objects.count()) == ("undone", {"removed": 2}, 0)


def test_an_undone_file_can_be_imported_again(acme, clock):
    undo(run(acme, a_file(*many(2)), clock), clock)
    row = run(acme, a_file(*many(2)), clock)
    assert (row.created, Lead.objects.count()) == (2, 2)


def test_a_rivals_leads_are_left_alone(acme, rival, clock):
    with scope.as_tenant(rival):
        run(rival, a_file(*many(2)), clock)
        before = everything()
    undo(run(acme, a_file(*many(2)), clock), clock)
    with scope.as_tenant(rival):
        assert everything() == before
        assert ImportedLead.objects.count() == 2


# --- Through the front door -------------------------------------------------------------------


def test_the_page_asks_first_and_shows_what_was_left(acme, alice, browser, clock):
    row = run(acme, a_file("ana,,,,,,,,,", "bia,,,,,,,,,"), clock)
    make_message(make_campaign(acme), Lead.objects.get(handle="ana"))
    LeadImport.objects.update(finished_at=timezone.now(), committed_at=timezone.now())
    client = browser(alice)
    page = reverse("leads:import", args=[acme.slug, row.pk])
    address = reverse("leads:import-undo", args=[acme.slug, row.pk])
    assert address in client.get(page).content.decode()
    question = client.get(address).content.decode()
    assert "Undo the import of leads.csv?" in question
    assert "2 leads that it made are removed" in question
    response = client.post(address)
    assert response["Location"] == page
    assert "every 3s" in client.get(page).content.decode()
    token = new_token()
    row.refresh_from_db()
    assert intake.lease(row, token=token, now=timezone.now())
    assert undoing.undo_chunk(row, token=token, now=timezone.now())
    report = client.get(page).content.decode()
    assert "1 leads removed" in report
    assert "1 lead was left" in report
    assert address not in report
    left = client.get(reverse("leads:import-leads", args=[acme.slug, row.pk]), {"show": "kept"})
    assert [(one.handle, str(why)) for one, _changes, why in left.context["rows"]] == [
        ("ana", "Messages or other work belong to it.")
    ]
    answer = browser(alice, htmx="panel").post(address)
    assert answer.headers["HX-Redirect"] == page
