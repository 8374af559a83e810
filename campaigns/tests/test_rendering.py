import pytest
from hypothesis import given, strategies as st

from campaigns.rendering import (
    PLACEHOLDERS,
    SENTENCES,
    BadTemplate,
    combinations,
    parse,
    placeholders,
    render,
)

ANA = {"first_name": "Ana", "handle": "ana.silva", "category": "Educação"}


def text_of(template: str, seed: str = "1", **values: str) -> str:
    return render(template, {**ANA, **values}, seed).text


def test_values_are_put_in():
    assert text_of("Oi {first_name}, você é @{handle}?") == "Oi Ana, você é @ana.silva?"


def test_an_empty_value_takes_its_fallback():
    assert text_of("Oi {first_name|você}!", first_name="") == "Oi você!"
    assert text_of("Oi {first_name | você}!", first_name="  ") == "Oi você!"
    assert text_of("Oi {first_name|você}!") == "Oi Ana!"


def test_an_empty_value_without_fallback_is_missing_once():
    rendered = render("{city} {name}, {city}", {}, "1")
    assert rendered.missing == ("city", "name")


def test_a_placeholder_of_an_unchosen_variant_is_not_missing():
    texts = [render("{{Oi|{city}}}", {}, str(seed)) for seed in range(20)]
    assert {text.missing for text in texts} == {(), ("city",)}
    assert all(text.missing or text.text == "Oi" for text in texts)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Oi {name?}, tudo bem?", "Oi, tudo bem?"),
        ("Oi {name?}! Tudo bem?", "Oi! Tudo bem?"),
        ("Oi {name?} {city?}, tudo?", "Oi, tudo?"),
        ("{name?}, vi seu perfil", "Vi seu perfil"),
        ("Oi! {name?}, vi seu perfil.", "Oi! Vi seu perfil."),
        ("Vi seu perfil de {city?}.", "Vi seu perfil."),
        ("Vi seu perfil ({city?}) hoje", "Vi seu perfil hoje"),
        ("Vi seu perfil (em {city?}) hoje", "Vi seu perfil hoje"),
        ("Oi Ana, de {city?}, tudo?", "Oi Ana, tudo?"),
        ("Moro — {city?} — e você?", "Moro — e você?"),
        ("Clientes em {city?}: bora?", "Clientes: bora?"),
        ("Olá 🙂 {name?} !", "Olá 🙂!"),
        ("Oi {name?} :)", "Oi :)"),
        ("Oi\n\n{city?}\n\nAbraço", "Oi\n\nAbraço"),
        ("I saw your work in {city?}!", "I saw your work!"),
    ],
)
def test_an_optional_value_leaves_with_its_punctuation(template, text):
    rendered = render(template, ANA | {"name": ""}, "1")
    assert (rendered.text, rendered.missing) == (text, ())


def test_an_optional_value_that_is_there_stays():
    assert text_of("Vi você em {city?}!", city="Recife") == "Vi você em Recife!"


def test_what_the_author_wrote_stays_as_it_is():
    text = "http://x.example.com/?a=1 às 10:30 ... (oi) :) a , b"
    assert text_of(text) == text


@pytest.mark.parametrize(
    "template", ["Oi, {first_name|oi}, tudo?", "Oi, oi, tudo?", "Oi! Oi, tudo?", "Oi oi, tudo?"]
)
def test_no_greeting_is_doubled(template):
    assert text_of(template, first_name="") == "Oi, tudo?"


def test_spaces_are_never_doubled():
    assert text_of("  Oi   {first_name}  ,  tudo?  ") == "Oi Ana , tudo?"


# --- Spintax ---


def test_the_same_seed_gives_the_same_text_for_ever():
    template = "{{oi|olá|e aí}} {first_name}, {{tudo bem|tudo certo}}?"
    assert [text_of(template, seed) for seed in ("lead:1", "lead:2", "lead:3")] == [
        text_of(template, seed) for seed in ("lead:1", "lead:2", "lead:3")
    ]
    # Written down, so that another Python or another machine must agree.
    assert text_of(template, "lead:42") == "olá Ana, tudo bem?"


def test_seeds_reach_every_combination_about_equally():
    template = "{{a|b|c}} {{d|e}}"
    texts = [text_of(template, f"lead:{number}") for number in range(3_000)]
    counts = {text: texts.count(text) for text in texts}
    assert len(counts) == combinations(template) == 6
    assert all(380 < count < 620 for count in counts.values())


def test_variants_may_be_nested_and_hold_placeholders():
    template = "{{oi {first_name|você}|{{bom dia|boa tarde}}}}"
    assert combinations(template) == 3
    texts = {text_of(template, str(seed)) for seed in range(60)}
    assert texts == {"oi Ana", "bom dia", "boa tarde"}


def test_a_variant_may_be_empty():
    assert {text_of("Oi{{!|}}", str(seed)) for seed in range(20)} == {"Oi!", "Oi"}


def test_braces_and_bars_can_be_written():
    assert text_of(r"\{a\} {{b\|c|b\|c}} \\") == "{a} b|c \\"


# --- Refusals ---


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("", "empty_template"),
        ("  \n", "empty_template"),
        ("x" * 2_001, "template_too_long"),
        ("a\x00b", "control_character"),
        ("a\ud800b", "control_character"),
        ("{nome}", "unknown_placeholder"),
        ("{}", "unknown_placeholder"),
        ("{0}", "unknown_placeholder"),
        ("{first_name.__class__}", "unknown_placeholder"),
        ("{first_name!r}", "unknown_placeholder"),
        ("{first_name", "unbalanced_braces"),
        ("first_name}", "unbalanced_braces"),
        ("{{a|b}", "unbalanced_braces"),
        ("{{a|b", "unbalanced_braces"),
        ("{a{b}}", "unbalanced_braces"),
        ("{{first_name}}", "single_variant"),
        ("{first_name|}", "empty_fallback"),
        ("{name?|x}", "fallback_and_optional"),
        ("{{a|" * 11 + "b" + "}}" * 11, "too_deep"),
    ],
)
def test_a_bad_template_is_refused_with_a_sentence(template, code):
    with pytest.raises(BadTemplate) as caught:
        parse(template)
    assert caught.value.code == code
    assert caught.value.sentence.endswith(".")
    assert code in SENTENCES


def test_the_sentence_names_the_placeholder_and_what_is_known():
    with pytest.raises(BadTemplate) as caught:
        parse("Oi {nome}")
    assert "nome" in caught.value.sentence
    assert "first_name" in caught.value.sentence


def test_placeholders_are_listed_once():
    assert placeholders("{{{city?}|b}} {first_name|você} {city?}") == ("city", "first_name")
    assert set(placeholders("".join(f"{{{name}}}" for name in PLACEHOLDERS))) == set(PLACEHOLDERS)


# --- No code, no injection ---


@pytest.mark.parametrize("value", ["{handle}", "{{a|b}}", "${x}", "%s", "{0.__class__}", "\\{"])
def test_a_value_is_text_and_never_a_template(value):
    assert text_of("Oi {name}!", name=value) == f"Oi {value}!"


def test_a_value_is_one_line_of_limited_length():
    assert text_of("{name}", name="Ana\n\nMaria\x00") == "Ana Maria"
    assert len(text_of("{name}", name="x" * 5_000)) == 200


@given(st.text(max_size=80))
def test_any_text_either_parses_or_is_refused(text):
    try:
        template = parse(text)
    except BadTemplate:
        return
    assert combinations(template) >= 1
    render(template, ANA, "1")


pieces = st.sampled_from(
    ["Oi ", "{first_name?}", "{city?}", ", ", "! ", " de ", "{{a|b}}", "tudo bem?", " ", "\n", "("]
)


@given(st.lists(pieces, min_size=1, max_size=12), st.sampled_from(["", "Ana"]), st.text(max_size=5))
def test_a_rendered_text_has_no_marks_and_no_doubled_spaces(parts, name, seed):
    try:
        rendered = render("".join(parts), {"first_name": name}, seed)
    except BadTemplate:
        return
    assert "\x00" not in rendered.text
    assert "  " not in rendered.text
    assert rendered.text == rendered.text.strip()
    assert not rendered.missing
