"""What a cell of a file means."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from leads.importing import (
    Row,
)
from leads.tests.records import outcomes


def value(field: str, cell: str) -> Any:
    (one,) = outcomes(f'handle|{field}\nana|"{cell}"\n')
    return one.values.get(field) if isinstance(one, Row) else one.code


def warnings(field: str, cell: str) -> tuple[str, ...]:
    (one,) = outcomes(f"handle|{field}\nana|{cell}\n")
    assert isinstance(one, Row)
    return one.warnings


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0", 0), ("1234", 1234), (" 12 ", 12), ("12.345", 12_345), ("1.234.567", 1_234_567),
        ("12,345", 12_345), ("12 345", 12_345), ("12k", 12_000), ("12,5k", 12_500),
        ("12.5K", 12_500), ("1,2 mil", 1_200), ("3 mi", 3_000_000), ("1,5 milhão", 1_500_000),
        ("1.5M", 1_500_000), ("1.234k", 1_234), ("10k+", 10_000), ("10.0", 10), ("1234.0", 1234),
        ("'12", "not_a_number"), ("'+12", "not_a_number"), ("", None), ("-", None), ("null", None),
        ("N/A", None), ("-5", "negative_number"), ("-1.000", "negative_number"), ("-0", 0),
        ("muitos", "not_a_number"), ("12x", "not_a_number"), ("1.5", "not_a_number"),
        ("1.23.45", "not_a_number"), ("1e5", "not_a_number"), ("٣", "not_a_number"),
        ("9" * 20, "number_too_large"), ("9" * 5_000, "not_a_number"),
        ("2.000.000.001", "number_too_large"), ("3 bi", "number_too_large"),
    ],
)  # fmt: skip
def test_counts(cell, expected):
    assert value("followers", cell) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("3.81", Decimal("3.81")), ("3,81", Decimal("3.81")), ("3,81 %", Decimal("3.81")),
        ("3", Decimal(3)), ("3.815", Decimal("3.82")), ("", None), ("nan", None),
        ("-1", "negative_number"), ("alto", "not_a_number"), ("1001", "number_too_large"),
    ],
)  # fmt: skip
def test_engagement_is_in_percent(cell, expected):
    assert value("engagement", cell) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("True", True), ("sim", True), ("S", True), ("1", True), ("VERDADEIRO", True), ("x", True),
        ("Privada", True), ("false", False), ("Não", False), ("nao", False), ("0", False),
        ("n", False), ("público", False), ("", None), ("null", None), ("talvez", None),
    ],
)  # fmt: skip
def test_flags_in_both_languages(cell, expected):
    assert value("is_private", cell) is expected


def test_what_is_only_matched_on_is_left_out_with_a_warning():
    assert warnings("email", "not-an-email") == ("bad_email",)
    assert warnings("phone", "123") == ("bad_phone",)
    assert warnings("is_private", "talvez") == ("bad_flag",)
    assert warnings("website", "javascript:alert(1)") == ("bad_website",)
    assert warnings("email", "-") == ()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("+55 (11) 98888-7777", "+5511988887777"), ("5511988887777", "+5511988887777"),
        ("5511988887777.0", "+5511988887777"), ("'+5511988887777", "+5511988887777"),
        ("(11) 98888-7777", "+5511988887777"),
    ],
)  # fmt: skip
def test_phones(cell, expected):
    assert value("phone", cell) == expected


def test_a_phone_without_country_code_belongs_to_the_region():
    (one,) = outcomes("handle,phone\nana,202-555-0143\n", region="US")
    assert isinstance(one, Row)
    assert one.values["phone"] == "+12025550143"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("example.com/a", "https://example.com/a"), ("HTTP://Example.com", "http://Example.com"),
        ("javascript:alert(1)", None), ("javascript://example.com", None), ("not a site", None),
    ],
)  # fmt: skip
def test_websites(cell, expected):
    assert value("website", cell) == expected


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-x", "@ana", "＝1"])
def test_a_formula_is_text_and_our_own_guard_is_taken_off(text):
    assert value("bio", text) == text
    assert value("bio", f"'{text}") == text


def test_an_apostrophe_of_a_text_stays():
    assert value("name", "'Ana'") == "'Ana'"
    assert value("name", "'") == "'"


def test_an_empty_cell_has_no_value_so_that_it_erases_nothing():
    (one,) = outcomes("handle,name,bio,followers\nana, ,null,\n")
    assert isinstance(one, Row)
    assert one.values == {"handle": "ana"}


def test_a_name_is_one_line_and_a_bio_keeps_its_lines():
    (one,) = outcomes('handle,name,bio\nana,"Ana\nMaria","a\nb"\n')
    assert isinstance(one, Row)
    assert one.values == {"handle": "ana", "name": "Ana Maria", "bio": "a\nb"}


def test_a_text_that_is_too_long_is_cut_with_a_warning():
    (one,) = outcomes("handle,name\nana," + "x" * 300 + "\n")
    assert isinstance(one, Row)
    assert one.warnings == ("text_cut",)
    assert len(str(one.values["name"])) == 200
