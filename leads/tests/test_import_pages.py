"""The pages of the import wizard: from the upload to the report, its rejects, who may."""

from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agenticos import scope
from agenticos.tests.factories import make_lead
from leads import actions, staging, tasks
from leads.models import ImportMapping, Lead, LeadImport, LeadTag
from leads.tests.wizard import (
    HEADER,
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
