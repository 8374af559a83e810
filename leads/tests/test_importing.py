import csv
import gc
import io
import tracemalloc
import weakref
from collections import Counter
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation
from hypothesis import given, settings, strategies as st

from leads.importing import (
    FIELDS,
    MAX_CELL,
    SENTENCES,
    BadFile,
    Checkpoint,
    Dialect,
    Rejected,
    Row,
    guess_mapping,
    read_header,
    rows,
    sentence_for,
    sniff,
    sniff_stream,
)
from leads.scoring import Band, Profile, score
from leads.tests.records import fates, outcomes

DIRTY = Path(__file__).parent / "data" / "dirty.csv"


# --- What kind of file ---


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_delimiters_and_line_ends(delimiter, encoding, newline):
    lines = [["usuário", "nome"], ["joao", "João"], ["ana", '"A""n\u00e3"'], [], ["bia", "Bia"]]
    data = newline.join(delimiter.join(cells) for cells in lines).encode(encoding)
    found = outcomes(data)
    assert [one.values for one in found if isinstance(one, Row)] == [
        {"handle": "joao", "name": "João"},
        {"handle": "ana", "name": 'A"nã'},
        {"handle": "bia", "name": "Bia"},
    ]
    assert [one.line for one in found] == [2, 3, 5]


def test_the_dialect_says_what_was_found_and_what_assumed():
    assert sniff("handle;name\nana;João".encode()) == Dialect("utf-8", ";", False, False)
    assert sniff("handle;name\nana;João".encode("utf-8-sig")) == Dialect("utf-8", ";", True, False)
    assert sniff("handle,name\nana,João".encode("cp1252")) == Dialect("cp1252", ",", False, True)
    assert sniff("handle\tname".encode("utf-16")).has_bom
    assert Dialect(**sniff(b"handle|name").to_json()) == sniff(b"handle|name")


def test_accents_that_come_late_are_seen_in_the_whole_file():
    data = b"handle,name\n" + b"ana,Ana\n" * 20_000 + "joao,João\n".encode("cp1252")
    assert not sniff(data[:1_000]).assumed
    assert sniff_stream(io.BytesIO(data)).assumed


def test_a_character_cut_in_two_by_the_block_is_no_damage():
    data = "handle,name\nana,João".encode()
    assert not any(sniff(data[:end]).assumed for end in range(12, len(data)))


def test_one_damaged_row_does_not_turn_the_file_into_another_encoding():
    data = "handle,name\na1,João\na2,Zoé\n".encode() + b"a3,Jo\xe3o\n" + "a4,Inês\n".encode()
    assert fates(data) == [(2, "a1"), (3, "a2"), (4, "NOT_TEXT"), (5, "a4")]


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"", "empty_file"),
        (b"\xef\xbb\xbf \n", "empty_file"),
        (b"PK\x03\x04handle,name", "spreadsheet_or_zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "spreadsheet_or_zip"),
        (b"  <!DOCTYPE html><html>", "web_page"),
        ("<html>".encode("utf-16"), "web_page"),
        (b'[{"handle": "ana"}]', "json_file"),
        (b"%PDF-1.7", "binary"),
        (bytes(range(256)) * 4, "binary"),
    ],
)
def test_what_is_no_csv_is_refused_with_a_sentence(head, code):
    with pytest.raises(BadFile) as caught:
        sniff(head)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")


def test_excels_line_that_names_the_delimiter_is_passed_over():
    assert fates("sep=;\nhandle;name\nana;A, B\n") == [(3, "ana")]


# --- Columns ---


def test_own_names_portuguese_names_and_a_scrapers_names_map_themselves():
    assert guess_mapping(FIELDS) == dict(enumerate(FIELDS))
    portuguese = ["Usuário", "Nome completo", "Biografia", "Seguidores", "Seguindo", "Publicações",
                  "Engajamento (%)", "Conta privada", "Categoria", "E-mail", "Celular", "Cidade",
                  "Site"]  # fmt: skip
    assert list(guess_mapping(portuguese).values()) == [
        "handle", "name", "bio", "followers", "following", "posts", "engagement", "is_private",
        "category", "email", "phone", "city", "website",
    ]  # fmt: skip
    scraper = ["profileUrl", "username", "fullName", "followersCount", "isBusinessAccount"]
    assert list(guess_mapping(scraper).values()) == [
        "profile_url", "handle", "name", "followers", "is_business",
    ]  # fmt: skip


def test_of_two_columns_for_one_field_the_one_with_the_very_name_wins():
    assert guess_mapping(["telefone", "phone", "celular"]) == {1: "phone"}
    assert guess_mapping(["telefone", "celular"]) == {0: "phone"}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("handle,,name", "empty_header"),
        ("handle,name,", "empty_header"),
        ("handle,name,Name", "duplicate_header"),
        (",".join(["handle", *map(str, range(200))]), "too_many_columns"),
        ('handle,"name', "bad_header"),
    ],
)
def test_bad_headers_are_refused(header, code):
    with pytest.raises(BadFile) as caught:
        outcomes(f"{header}\nana,1,2\n")
    assert caught.value.code == code


def test_a_file_in_which_nobody_can_be_told_apart_is_refused():
    with pytest.raises(BadFile) as caught:
        outcomes("name,email\nAna,ana@example.com\n")
    assert caught.value.code == "no_identity"


@pytest.mark.parametrize("mapping", [{5: "handle"}, {0: "colour"}, {0: "handle", 1: "handle"}])
def test_a_mapping_that_does_not_fit_is_refused(mapping):
    stream = io.BytesIO(b"handle,name\n")
    with pytest.raises(BadFile):
        rows(stream, sniff_stream(stream), mapping)


def test_a_profile_address_fills_in_for_a_handle():
    data = (
        "username,profileUrl\n"
        "ana,https://instagram.com/other\n"
        ",https://www.instagram.com/bia/\n"
        "bad handle,instagram.com/caio\n"
        ",\n"
        ",https://example.com/x\n"
    )
    found = outcomes(data)
    assert [one.values["handle"] for one in found if isinstance(one, Row)] == ["ana", "bia", "caio"]
    assert isinstance(found[2], Row)
    assert found[2].warnings == ("handle_from_url",)
    assert [one.code for one in found if isinstance(one, Rejected)] == ["no_handle", "bad_handle"]


def test_a_file_may_know_people_by_their_crm_id_alone():
    found = outcomes("ghl_id,name\nabc123,Ana\n,Bia\n")
    assert isinstance(found[0], Row)
    assert found[0].values == {"ghl_id": "abc123", "name": "Ana"}
    assert isinstance(found[1], Rejected)
    assert found[1].code == "no_identity"


# --- Rows ---


def test_short_rows_blank_lines_and_extra_cells():
    data = "handle,name,bio\n\nana\n , \nbia,B,x,\ncaio,C\n   \n"
    assert fates(data) == [
        (3, "ana"),
        (4, "NO_HANDLE"),
        (5, "TOO_MANY_CELLS"),
        (6, "caio"),
    ]


def test_a_cell_may_hold_32_kb_and_no_more():
    for quote in ("", '"'):
        for text, fate in (("x" * MAX_CELL, "ana"), ("x" * (MAX_CELL + 1), "CELL_TOO_LONG"),
                           ("é" * (MAX_CELL // 2 + 1), "CELL_TOO_LONG"),
                           ("x" * 200_000, "CELL_TOO_LONG")):  # fmt: skip
            data = f"handle,bio\nana,{quote}{text}{quote}\nbia,b\n"
            assert fates(data) == [(2, fate), (3, "bia")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_control_characters_reject_their_row_only(encoding):
    data = 'handle,bio\na1,x\x00\na2,"y\x07"\na3,a\rb\na4,ok\ta\na5,"a\r\nb"\n'.encode(encoding)
    assert fates(data) == [
        (2, "NUL_BYTE"),
        (3, "CONTROL_CHARACTER"),
        (4, "CONTROL_CHARACTER"),
        (5, "a4"),
        (6, "a5"),
    ]


def test_lines_are_counted_as_an_editor_counts_them():
    data = 'handle,bio\na1,"one\ntwo\r\nthree"\na2,x\n\na3,"y\n\n"\na4,z'
    assert fates(data) == [(2, "a1"), (5, "a2"), (7, "a3"), (10, "a4")]


# --- Broken quotes ---


def test_a_quote_that_is_never_closed_costs_its_own_row_only():
    data = 'handle,name,bio\na1,A,x\na2,"never,closed\na3,C,y\na4,D,z\n'
    assert fates(data) == [(2, "a1"), (3, "BROKEN_QUOTE"), (4, "a3"), (5, "a4")]


def test_a_quote_that_the_next_row_would_close_costs_its_own_row_only():
    data = 'handle,name,bio\na1,"open,x\na2,"B",y\na3,C,z\n'
    assert fates(data) == [(2, "BROKEN_QUOTE"), (3, "a2"), (4, "a3")]


def test_rows_run_together_into_one_short_or_long_record_are_told_apart():
    # The second quote is a stray one as well, and would have hidden that anything is wrong.
    short = 'handle,name,bio\na1,"open,x\na2,B,"\na3,C,z\n'
    assert fates(short) == [(2, "BROKEN_QUOTE"), (3, "BROKEN_QUOTE"), (4, "a3")]
    long = 'handle,name,bio\na1,"open,x\na2,B",y,z,z\na3,C,z\n'
    assert fates(long)[0] == (2, "BROKEN_QUOTE")
    assert fates(long)[-1] == (4, "a3")


def test_a_word_out_of_a_torn_bio_does_not_become_a_lead():
    data = 'handle,name,bio\na1,A,"bio\nvendas\nmarketing\na2,B,y\na3,C,z\n'
    assert fates(data) == [
        (2, "BROKEN_QUOTE"),
        (3, "BROKEN_QUOTE"),
        (4, "BROKEN_QUOTE"),
        (5, "a2"),
        (6, "a3"),
    ]


def test_text_after_a_closing_quote_costs_its_own_row_only():
    data = 'handle,name,bio\na1,"A"x,1\na2,B,2\n'
    assert fates(data) == [(2, "BROKEN_QUOTE"), (3, "a2")]


def test_a_broken_quote_does_not_swallow_a_long_file():
    data = 'handle,bio\na0,"open\n' + "".join(f"a{n},{'x' * 60}\n" for n in range(1, 9_000))
    found = fates(data)
    assert found[0] == (2, "BROKEN_QUOTE")
    assert [handle for _line, handle in found[1:]] == [f"a{n}" for n in range(1, 9_000)]


def test_a_quote_inside_plain_text_is_a_character():
    assert value_of('handle,bio\nana,tela de 5" e "aspas"\n') == 'tela de 5" e "aspas"'


def value_of(data: str) -> Any:
    (one,) = outcomes(data)
    assert isinstance(one, Row)
    return one.values["bio"]


# --- Going on from a checkpoint ---

TRICKY = (
    'handle,name,bio\r\na1,João,"línea\nçwo"\r\n\r\na2,"B ""b""",😀\r\nbad handle,x,y\r\n'
    'a3,"open,z\r\nvendas\r\na4,D,"x\r\n,y"\r\na5,E,é\r\na6'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("block", [7, 64, 256 * 1024])
def test_reading_goes_on_from_any_checkpoint(monkeypatch, encoding, block):
    monkeypatch.setattr("leads.importing.dialect.BLOCK", block)
    monkeypatch.setattr("leads.importing.records.BLOCK", block)
    text = TRICKY.replace("😀", "ü") if encoding == "cp1252" else TRICKY
    stream = io.BytesIO(text.encode(encoding))
    dialect = sniff_stream(stream)
    mapping = guess_mapping(read_header(stream, dialect))
    whole = list(rows(stream, dialect, mapping))
    assert [one.line for one in whole] == [2, 5, 6, 7, 8, 9, 11, 12]
    for stop in range(len(whole) + 1):
        reader = rows(stream, dialect, mapping)
        before = list(islice(reader, stop))
        saved = Checkpoint(**asdict(reader.checkpoint)) if stop else None
        assert reader.checkpoint.records == stop
        after = list(rows(stream, dialect, mapping, saved))
        assert before + after == whole


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(
                alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8
            )
            | st.sampled_from(['"', "a\nb", 'x"y', ",", " ", "'"]),
            min_size=3,
            max_size=3,
        ),
        max_size=8,
    ),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_is_read_cell_by_cell(table, encoding, quoting):
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting)
    writer.writerow(["handle", "one", "two"])
    writer.writerows(table)
    stream = io.BytesIO(text.getvalue().encode(encoding))
    dialect = Dialect(encoding="utf-8", delimiter=",", has_bom=False, assumed=False)
    if encoding != "utf-8":
        dialect = sniff_stream(stream)
    found = [one.raw for one in rows(stream, dialect, {0: "handle"})]
    expected = [[cell.strip() for cell in cells] for cells in table]
    assert [[cell.strip() for cell in cells] for cells in found] == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_and_never_crash(data):
    try:
        found = outcomes(b"handle,name\n" + data)
    except BadFile as error:
        found, sentence = [], error.sentence
        assert sentence
    for one in found:
        if isinstance(one, Rejected):
            assert sentence_for(one.code, one.params) != one.code


# --- Limits ---


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr("leads.importing.dialect.MAX_BYTES", 1_000)
    monkeypatch.setattr("leads.importing.reader.MAX_BYTES", 1_000)
    stream = io.BytesIO(b"handle\n" + b"ana\n" * 300)
    with pytest.raises(BadFile, match="file_too_large"):
        sniff_stream(stream)
    with pytest.raises(BadFile, match="file_too_large"):
        rows(stream, Dialect("utf-8", ",", False, False), {0: "handle"})


def test_more_rows_than_allowed_are_refused_when_they_are_reached(monkeypatch):
    monkeypatch.setattr("leads.importing.reader.MAX_ROWS", 3)
    stream = io.BytesIO(b"handle\na1\na2\na3\na4\n")
    reader = rows(stream, sniff_stream(stream), {0: "handle"})
    assert len(list(islice(reader, 3))) == 3
    with pytest.raises(BadFile, match="too_many_rows"):
        next(reader)


def test_a_line_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr("leads.importing.records._LONGEST_LINE", 1_000_000)
    with pytest.raises(BadFile, match="line_too_long"):
        outcomes(b"handle\n" + b"x" * 2_000_000)


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "long.csv"
    path.write_bytes(b"handle,name,bio\n" + b'ana,Ana Maria,"so\nlong"\n' * 800_000)
    tracemalloc.start()
    with path.open("rb") as stream:
        reader = rows(stream, Dialect("utf-8", ",", False, False), {0: "handle"})
        for _one in islice(reader, 60_000):
            pass
        assert 1_000_000 < reader.checkpoint.offset < path.stat().st_size
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024**2


def test_a_reader_that_is_let_go_leaves_nothing_to_the_collector():
    stream = io.BytesIO(b'handle,name\nana,"Ana\nMaria"\nbia,Bia\n')
    gc.disable()
    try:
        reader = rows(stream, Dialect("utf-8", ",", False, False), {0: "handle"})
        next(reader)
        left = [weakref.ref(one) for one in (reader, reader._records, stream)]
        del reader, stream
        assert [one() for one in left] == [None, None, None]
    finally:
        gc.enable()


# --- A whole dirty file ---


def test_every_row_of_a_dirty_file_has_its_fate_and_none_spoils_another():
    assert fates(DIRTY.read_bytes()) == [
        (2, "carla.nogueira"),
        (3, "carla.nogueira"),
        (4, "davi_prado"),
        (5, "NO_HANDLE"),
        (6, "BAD_HANDLE"),
        (7, "NEGATIVE_NUMBER"),
        (8, "NOT_A_NUMBER"),
        (9, "NUMBER_TOO_LARGE"),
        (10, "bad.contacts"),
        (11, "TOO_MANY_CELLS"),
        (12, "short.row"),
        (14, "two.lines"),
        (17, "BAD_HANDLE"),
        (18, "guarded.cell"),
        (19, "NUL_BYTE"),
        (20, "BROKEN_QUOTE"),
        (21, "after.quote"),
        (22, "last.one"),
    ]


def test_every_code_has_a_sentence_and_a_sentence_survives_missing_params():
    for one in outcomes(DIRTY.read_bytes()):
        codes = [one.code] if isinstance(one, Rejected) else one.warnings
        assert all(code in SENTENCES for code in codes)
    assert sentence_for("negative_number", {"value": "-5", "field": "followers"}).startswith("“-5”")
    assert all(sentence_for(code).endswith(".") for code in SENTENCES)
    assert sentence_for("from_the_future") == "from_the_future"
    assert sentence_for("ghl_id_taken", {"handle": "ana"}) != "ghl_id_taken"


def test_a_sentence_on_a_number_names_the_column_in_the_readers_language():
    params = {"value": "x", "field": "recent_posts"}
    assert sentence_for("not_a_number", params) == "“x” in recent posts is not a number."
    with translation.override("pt-br"):
        assert "posts recentes" in sentence_for("not_a_number", params)


def test_the_demo_leads_import_without_a_word_and_fill_every_band():
    stream = (Path(__file__).parents[1] / "demo" / "leads-500.csv").open("rb")
    with stream:
        dialect = sniff_stream(stream)
        found = list(rows(stream, dialect, guess_mapping(read_header(stream, dialect))))
    assert [one for one in found if isinstance(one, Rejected) or one.warnings] == []
    values: list[dict[str, Any]] = [dict(one.values) for one in found if isinstance(one, Row)]
    assert len({one["handle"] for one in values}) == 500
    assert all(str(one.get("email", "@example.com")).endswith("@example.com") for one in values)
    names = [item.name for item in fields(Profile)]
    scores = [score(Profile(**{name: one.get(name) for name in names})) for one in values]
    bands = Counter(one.band for one in scores)
    assert min(bands[band] for band in Band) >= 90
    assert sum(one.eligible and one.total >= 40 for one in scores) >= 330
    assert sum(one.ineligible_reason == "private_profile" for one in scores) >= 5
