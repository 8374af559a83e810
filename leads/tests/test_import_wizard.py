"""The import wizard: nothing touches a lead before the commit, and the check counts the same."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone, translation

from agenticos import scope
from agenticos.errors import Refused
from agenticos.leasing import LeaseLost, new_token
from agenticos.tests.factories import make_lead
from leads import actions, importing, intake, staging, tasks, undoing
from leads.models import ImportedLead, ImportMapping, ImportProblem, Lead, LeadImport, LeadTag
from leads.tests.test_import_actions import everything

pytestmark = pytest.mark.django_db
COUNTERS = (*intake.COUNTERS, "records")
DATA = Path(__file__).parent / "data"
DEMO = Path(__file__).parents[1] / "demo" / "leads-500.csv"
HEADER = "handle,name,bio,followers,email,phone,ghl_id"


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def csv_of(*rows: str, header: str = HEADER) -> bytes:
    return "".join(f"{row}\n" for row in (header, *rows)).encode()


def upload(content: bytes, name: str = "leads.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="text/csv")


def stage(tenant, content: bytes, clock) -> LeadImport:
    return staging.stage_import(tenant, upload(content), "leads.csv", by=None, now=clock.now())


def work(row, clock) -> LeadImport:
    row.refresh_from_db()
    token = new_token()
    assert intake.lease(row, token=token, now=clock.now())
    while not intake.work_chunk(row, token=token, now=clock.now()):
        pass
    row.refresh_from_db()
    return row


def rehearse(tenant, content: bytes, clock, **options) -> LeadImport:
    row = stage(tenant, content, clock)
    mapping = staging.offer(row.headers, guess=True).mapping
    staging.start_rehearsal(row, **{"mapping": mapping, "by": None, "now": clock.now(), **options})
    return work(row, clock)


def commit(row, clock) -> LeadImport:
    staging.commit_import(row, by=None, now=clock.now())
    return work(row, clock)


def counts(row) -> dict[str, int]:
    return {name: getattr(row, name) for name in COUNTERS}


def some(row) -> dict[str, int]:
    return {name: number for name, number in counts(row).items() if number}


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


def text(response) -> str:
    return response.content.decode()


def a_hard_file() -> bytes:
    """Repeats, GHL ids that wander, values that come and go, over several chunks."""
    rows = [f"lead{n},Ana {n},CEO,{n},a{n}@example.com,,g{n}" for n in range(8)]
    rows += [f"LEAD{n},,,{n + 1},,," for n in range(0, 8, 2)]
    rows += ["lead0,,,,,,h0", "new1,,,,,,g0", "lead1,Bia,,,,,", "lead1,Ana 1,,,,,", "new2,,,,,,g1"]
    rows += [
        "bad handle!,,,,,,",
        "new3,,,-5,,,",
        "new4,,,,no mail,12,",
        "lead3,,,,,,g2",
        "new1,,,,,,",
    ]
    return csv_of(*rows)


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


# --- Through the front door -------------------------------------------------------------------


def test_from_the_upload_to_the_report(acme, alice, browser):
    client = browser(alice)
    content = csv_of("ana,Ana,,10,,,", "ANA,Ana Lima,,,,,", "bad handle!,,,,,,", "bia,,,,,,")
    response = client.post(url("imports", acme), {"file": upload(content)})
    with scope.as_tenant(acme):
        row = LeadImport.objects.get()
    assert response["Location"] == url("import-file", acme, row.pk)
    page = text(client.get(response["Location"]))
    assert "Ana Lima" in page
    assert "Choose the columns" in page
    page = text(client.get(url("import-columns", acme, row.pk)))
    assert '<option value="handle" selected>' in page
    columns = {f"column_{at}": name for at, name in enumerate(HEADER.split(","))}
    response = client.post(
        url("import-columns", acme, row.pk),
        {**columns, "policy": "overwrite", "list_name": "Clínicas"},
    )
    assert response["Location"] == url("import", acme, row.pk)
    assert "every 3s" in text(client.get(response["Location"]))
    with scope.as_nobody():
        tasks.import_slice()
    page = text(client.get(response["Location"]))
    assert "No lead has been touched so far" in page
    assert "is not an Instagram handle" in page
    with scope.as_tenant(acme):
        assert not Lead.objects.exists()
    response = client.post(url("import-commit", acme, row.pk))
    with scope.as_nobody():
        tasks.import_slice()
    page = text(client.get(response["Location"]))
    assert "can be undone until" in page
    assert "every 3s" not in page
    with scope.as_tenant(acme):
        row.refresh_from_db()
        assert some(row) == {
            "created": 2, "updated": 1, "rejected": 1, "duplicates": 1, "records": 4
        }  # fmt: skip
        assert LeadTag.objects.filter(name="Clínicas").count() == 2
    assert "Alice" in text(client.get(url("imports", acme)))


def test_columns_are_remembered_for_the_next_file_in_any_order(acme, clock, in_tenant):
    in_tenant(acme)
    content = csv_of("ana,Ana", header="who,remark")
    rehearse(acme, content, clock, mapping={0: "handle", 1: "name"}, policy="fill")
    offer = staging.offer(["Remark", "WHO"])
    assert (offer.mapping, offer.policy, offer.remembered) == (
        {0: "name", 1: "handle"},
        "fill",
        True,
    )
    assert staging.offer(["Remark", "WHO"], guess=True).mapping == {}
    assert not staging.offer(["who"]).remembered
    rehearse(acme, content, clock, mapping={0: "handle"})
    assert staging.offer(["who", "remark"]).mapping == {0: "handle"}
    assert ImportMapping.objects.count() == 1


def test_a_rivals_remembered_columns_stay_theirs(acme, rival, clock):
    with scope.as_tenant(rival):
        rehearse(rival, csv_of("ana", header="who"), clock, mapping={0: "handle"})
    with scope.as_tenant(acme):
        assert not staging.offer(["who"]).remembered


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"column_0": "name"}, "Say which column holds the Instagram handle"),
        ({"column_0": "handle", "column_1": "handle"}, "is taken for this already"),
        ({"column_0": "nonsense"}, "Select a valid choice"),
    ],
)
def test_a_wrong_choice_of_columns_comes_back_with_the_reason(
    acme, alice, browser, clock, in_tenant, chosen, said
):
    in_tenant(acme)
    row = stage(acme, csv_of("ana,Ana,,,,,"), clock)
    response = browser(alice).post(
        url("import-columns", acme, row.pk), {"policy": "overwrite", **chosen}
    )
    assert response.status_code == 200
    assert said in text(response)
    row.refresh_from_db()
    assert row.state == "draft"


def test_how_a_file_is_read_can_be_changed(acme, alice, browser, clock, in_tenant):
    in_tenant(acme)
    row = stage(acme, "handle|nome\nana|José\n".encode("cp1252"), clock)
    page = text(browser(alice).get(url("import-file", acme, row.pk)))
    assert "Windows-1252" in page
    assert "José" in page
    client = browser(alice, htmx="preview")
    address = url("import-file", acme, row.pk)
    part = text(client.post(address, {"delimiter": "comma", "encoding": "utf-8"}))
    assert "<html" not in part
    assert "handle|nome" in part
    row.refresh_from_db()
    assert (row.headers, row.dialect["delimiter"]) == (["handle|nome"], ",")
    client.post(address, {"delimiter": "pipe", "encoding": "cp1252"})
    row.refresh_from_db()
    assert row.headers == ["handle", "nome"]
    assert not row.dialect["assumed"]


LONG = "x" * 5_000_000
HELL = {
    "bom": ("\ufeffhandle,nome\nana,Ana\n".encode(), ""),
    "utf-16": ("handle;nome\nana;Ana\n".encode("utf-16"), ""),
    "semicolons": (b"handle;nome\nana;Ana\n", ""),
    "mac": (b"handle,nome\rana,Ana\r", ""),
    "unclosed quote": (b'handle,nome\n"ana,Ana\nbia,Bia\n', ""),
    "header only": (b"handle,nome\n", "nothing below it"),
    "duplicate headers": (b"handle,Handle\nana,x\n", "Two columns are called"),
    "empty header": (b"handle,,nome\nana,x,y\n", "has no name"),
    "300 columns": (
        (",".join(f"c{n}" for n in range(300)) + "\n" + "," * 299).encode(),
        "300 columns",
    ),
    "one long line": (f"handle,{LONG}".encode(), "cannot be read"),
    "a long second line": (f"handle,nome\nana,{LONG}\nbia,Bia\n".encode(), ""),
    "nul": (b"handle,nome\nana,A\x00na\n", ""),
    "an open header": (b'"handle,nome\nana,Ana\n', "cannot be read"),
    "no handle": (b"nome,bio\nAna,CEO\n", ""),
}


@pytest.mark.parametrize(("content", "said"), HELL.values(), ids=HELL)
def test_a_file_from_hell_gets_a_sentence_at_every_step(
    acme, alice, browser, in_tenant, content, said
):
    in_tenant(acme)
    client = browser(alice)
    response = client.post(url("imports", acme), {"file": upload(content)})
    assert response.status_code == 302
    row = LeadImport.objects.get()
    page = text(client.get(response["Location"]))
    assert said in page
    assert ("Choose the columns" in page) == (not said)
    for delimiter in ("comma", "tab"):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp1252"):
            chosen = {"delimiter": delimiter, "encoding": encoding}
            answer = client.post(url("import-file", acme, row.pk), chosen, follow=True)
            assert answer.status_code == 200
    staging.read_as(row, **{name: row.dialect[name] for name in ("encoding", "delimiter")})
    page = client.get(url("import-columns", acme, row.pk))
    assert page.status_code == (302 if said else 200)
    if said:
        return
    client.post(
        url("import-columns", acme, row.pk),
        {"column_0": "handle", "column_1": "name", "policy": "overwrite"},
    )
    with scope.as_nobody():
        tasks.import_slice()
    row.refresh_from_db()
    assert row.state == "ready"
    assert client.get(url("import", acme, row.pk)).status_code == 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The submitted file is empty|The file is empty"),
        (b"   \n", "The file is empty"),
        (b"PK\x03\x04zip", "spreadsheet"),
        (b"<!DOCTYPE html><p>", "web page"),
        (b'{"a": [1]}', "JSON file"),
        (b"%PDF-1.7", "not a text file"),
    ],
)
def test_what_is_no_csv_file_is_not_stored(acme, alice, browser, content, said):
    response = browser(alice).post(url("imports", acme), {"file": upload(content)})
    assert response.status_code == 200
    assert any(words in text(response) for words in said.split("|"))
    with scope.as_tenant(acme):
        assert not LeadImport.objects.exists()


@pytest.mark.parametrize("language", ["en", "pt-br"])
def test_the_sample_file_imports_as_it_is(acme, alice, browser, clock, in_tenant, language):
    in_tenant(acme)
    response = browser(alice).get(url("import-sample", acme), headers={"accept-language": language})
    row = rehearse(acme, response.content, clock)
    assert some(row) == {"created": 2, "records": 2}
    assert len(row.mapping) == len(row.headers)


# --- Rejects -----------------------------------------------------------------------------------


def test_rejects_come_back_harmless_and_can_be_uploaded_again(
    acme, alice, browser, clock, in_tenant, monkeypatch
):
    in_tenant(acme)
    content = csv_of("ana;1", "bad handle!;=1+1", "dora;-5", header="handle;followers")
    row = rehearse(acme, content, clock)
    assert some(row) == {"created": 1, "rejected": 2, "records": 3}
    monkeypatch.setattr("leads.views.import_acts.REJECTS_AT_ONCE", 1)
    with scope.as_nobody():
        response = browser(alice).get(url("import-rejects", acme, row.pk))
        got = b"".join(response.streaming_content).decode("utf-8-sig")
    table = list(csv.reader(io.StringIO(got), delimiter=";"))
    assert table[0] == ["line", "reason", "handle", "followers"]
    assert [cells[0] for cells in table[1:]] == ["3", "4"]
    assert table[1][3] == "'=1+1"
    assert table[2][2:] == ["dora", "'-5"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cells in table for cell in cells)
    mended = got.replace("bad handle!", "eva").replace("'=1+1", "7").replace("'-5", "5")
    again = rehearse(acme, mended.encode("utf-8-sig"), clock)
    assert some(again) == {"created": 2, "records": 2}
    assert again.mapping == {"2": "handle", "3": "followers"}


def test_reasons_are_grouped_and_lead_to_their_rows(acme, alice, browser, clock, in_tenant):
    in_tenant(acme)
    rows = ["bad handle!,,,,,,", "worse!,,,,,,", "ana,,,,no mail,,"]
    row = rehearse(acme, csv_of(*rows), clock)
    response = browser(alice).get(url("import", acme, row.pk))
    groups = {one["code"]: (one["n"], one["rejected"]) for one in response.context["groups"]}
    assert groups == {"bad_handle": (2, True), "bad_email": (1, False)}
    for code, (number, _rejected) in groups.items():
        page = browser(alice).get(url("import", acme, row.pk), {"code": code})
        assert len(page.context["rows"]) == number
        assert {one.code for one, _why in page.context["rows"]} == {code}


def test_lists_of_leads_hold_what_the_figures_count(acme, alice, browser, clock, in_tenant):
    in_tenant(acme)
    make_lead(acme, "ana", name="Old", score=None)
    make_lead(acme, "same", name="Same", score=None)
    actions.suppress(acme, handle="stop", reason="asked", by=None, now=clock.now())
    rows = ["ana,New,,,,,", "same,Same,,,,,", "bia,,,,,,", "stop,,,,,,", "BIA,,,,,,"]
    row = rehearse(acme, csv_of(*rows), clock)
    shown = {
        show: [one.handle for one, *_rest in browser(alice).get(
            url("import-leads", acme, row.pk), {"show": show}
        ).context["rows"]]
        for show in ("created", "updated", "same", "repeated", "suppressed", "kept")
    }  # fmt: skip
    assert shown == {
        "created": ["bia", "stop"], "updated": ["ana"], "same": ["same"],
        "repeated": ["bia"], "suppressed": ["stop"], "kept": [],
    }  # fmt: skip
    page = text(browser(alice).get(url("import", acme, row.pk)))
    assert "Old" in page
    assert "New" in page


# --- Doors -------------------------------------------------------------------------------------


def test_a_viewer_reads_an_import_and_changes_none(acme, vera, browser, clock, in_tenant):
    in_tenant(acme)
    row = rehearse(acme, csv_of("ana,,,,,,"), clock)
    page = browser(vera).get(url("import", acme, row.pk))
    assert page.status_code == 200
    assert 'action="' + url("import-commit", acme, row.pk) not in text(page)
    for name in ("import-commit", "import-undo", "import-discard", "import-columns", "import-file"):
        assert browser(vera).post(url(name, acme, row.pk)).status_code == 403
    assert browser(vera).get(url("import-rejects", acme, row.pk)).status_code == 403


@pytest.mark.parametrize("name", ["import", "import-leads", "import-file", "import-columns"])
def test_the_queries_of_a_page_do_not_grow(acme, alice, browser, clock, in_tenant, name):
    in_tenant(acme)

    def queries(size: int) -> int:
        known = [f"known{size}x{n},New,,,,," for n in range(size)]
        for line in known:
            make_lead(acme, line.partition(",")[0], name="Old", score=None)
        bad = [f"bad {n}!,,,,,," for n in range(size)]
        row = stage(acme, csv_of(*known, *bad), clock)
        if name in ("import", "import-leads"):
            mapping = staging.offer(row.headers).mapping
            staging.start_rehearsal(row, mapping=mapping, by=None, now=clock.now())
            work(row, clock)
        client = browser(alice)
        client.get(url("imports", acme))
        with CaptureQueriesContext(connection) as seen:
            address = url(name, acme, row.pk)
            assert client.get(address, {"show": "updated"}).status_code == 200
        return len(seen)

    assert queries(3) == queries(30)


# --- A policy per column ----------------------------------------------------------------------

OWN_RULES = {"name": "keep", "city": "fill"}


def known_lead(tenant, **fields):
    return make_lead(tenant, "ana", name="Old", city="", category="Old", score=None, **fields)


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


def test_the_wizard_takes_and_shows_the_rules_of_columns(acme, alice, browser):
    client = browser(alice)
    with scope.as_tenant(acme):
        known_lead(acme)
    content = csv_of("ana,New,Recife", header="handle,name,city")
    client.post(url("imports", acme), {"file": upload(content)})
    with scope.as_tenant(acme):
        row = LeadImport.objects.get()
    columns = {"column_0": "handle", "column_1": "name", "column_2": "city"}
    rules = {"policy_0": "keep", "policy_1": "keep", "policy": "overwrite", "list_name": ""}
    client.post(url("import-columns", acme, row.pk), columns | rules)
    with scope.as_tenant(acme):
        row.refresh_from_db()
    assert (row.policies, row.policy) == ({"name": "keep"}, "overwrite")
    page = text(client.get(url("import-columns", acme, row.pk)))
    assert '<option value="keep" selected>' in page
    assert "1 column by its own rule" in text(client.get(url("import", acme, row.pk)))
    answer = client.post(
        url("import-columns", acme, row.pk), columns | rules | {"policy_1": "replace"}
    )
    assert answer.status_code == 200
