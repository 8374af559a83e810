import phonenumbers
import pytest
from hypothesis import given, strategies as st

from leads.identities import (
    display_handle,
    fold,
    normalise_email,
    normalise_handle,
    normalise_phone,
)


@pytest.mark.parametrize(
    "text",
    [
        "ana.silva",
        "@ana.silva",
        " @ANA.Silva ",
        "https://www.instagram.com/ana.silva/",
        "http://instagram.com/Ana.Silva",
        "instagram.com/ana.silva?hl=pt-br",
        "www.instagram.com/@ana.silva/#top",
        "//m.instagram.com/ana.silva/reels/",
        "https://instagram.com/_u/ana.silva",
        "https://www.instagram.com/stories/ana.silva/123/",
        "\u2068@ana.silva\u2069",
        "\ufeffana.silva",
    ],
)
def test_one_person_has_one_handle_however_it_is_written(text):
    assert normalise_handle(text) == "ana.silva"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "   ",
        "bad handle!!",
        "ana silva",
        ".ana",
        "ana.",
        "ana..silva",
        "x" * 31,
        "ána",
        "\u212aelvin",  # the Kelvin sign lower-cases to an ASCII k
        "ana\n",
        "@@ana",
        "https://example.com/ana",
        "https://www.instagram.com/p/C0ffee/",
        "https://www.instagram.com/",
        "instagram.com",
        "https://notinstagram.com/ana",
        "https://www.instagram.com.evil.example/ana",
        "🔥",
    ],
)
def test_what_is_no_handle_is_none(text):
    # A trailing line break is white space around the handle, not part of it.
    assert normalise_handle(text) == ("ana" if text == "ana\n" else None)


def test_the_longest_handle_is_thirty_characters():
    assert normalise_handle("a" * 30) == "a" * 30


@given(st.text(max_size=40))
def test_normalising_a_handle_twice_changes_nothing(text):
    once = normalise_handle(text)
    assert once is None or normalise_handle(once) == once


def test_a_handle_is_shown_with_its_sign():
    assert display_handle("ana") == "@ana"
    assert display_handle("") == ""


@pytest.mark.parametrize(
    ("text", "email"),
    [
        (" Ana.Silva@Example.com ", "ana.silva@example.com"),
        ("mailto:ana@example.com", "ana@example.com"),
        ("ana+tag@sub.example.com.br", "ana+tag@sub.example.com.br"),
        ("not-an-email", None),
        ("ana@localhost", None),
        ("ana@@example.com", None),
        ("ana..b@example.com", None),
        (".ana@example.com", None),
        ("ana@-example.com", None),
        ("ana@example.com, bia@example.com", None),
        ("a" * 65 + "@example.com", None),
        ("ana@" + "a." * 130 + "com", None),
        ("", None),
    ],
)
def test_mail_addresses(text, email):
    assert normalise_email(text) == email


@pytest.mark.parametrize(
    ("text", "phone"),
    [
        ("+5511988887777", "+5511988887777"),
        ("+55 (11) 98888-7777", "+5511988887777"),
        ("(11) 98888-7777", "+5511988887777"),
        ("11 3888-7777", "+551138887777"),
        ("011988887777", "+5511988887777"),
        ("tel:+5511988887777", "+5511988887777"),
        ("+351 912 345 678", "+351912345678"),
        ("+1 202-555-0143", "+12025550143"),
        ("123", None),
        ("+5500988887777", None),
        ("+55119888877770", None),
        ("call me", None),
        ("", None),
        ("1" * 5_000, None),
    ],
)
def test_phone_numbers(text, phone):
    assert normalise_phone(text) == phone


def test_a_number_without_country_code_is_read_in_its_region():
    assert normalise_phone("202-555-0143", region="US") == "+12025550143"


@given(st.from_regex(r"\+55[0-9]{9,12}", fullmatch=True))
def test_the_short_way_agrees_with_the_library(text):
    number = phonenumbers.parse(text)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    expected = e164 if phonenumbers.is_valid_number(number) else None
    assert normalise_phone(text) == expected


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Médica", "medica"),
        ("SÃO PAULO", "sao paulo"),
        ("Drª", "dra"),
        ("Me\u0301dica", "medica"),
        ("𝗗𝗿𝗮 Ana", "dra ana"),
        ("em\u200bpresa", "empresa"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("東京", "東京"),
    ],
)
def test_folding(text, folded):
    assert fold(text) == folded


@given(st.text(max_size=30))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet="aàáâãçéêíñóõôúüzÀÉÕÇ 0.-·ß", max_size=30))
def test_case_does_not_matter(text):
    assert fold(text.upper()) == fold(text.lower()) == fold(text)
