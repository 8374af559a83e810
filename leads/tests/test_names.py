import pytest
from hypothesis import example, given, strategies as st

from leads.names import first_name


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Ana Silva", "Ana"),
        ("  João  da Silva ", "João"),
        ("jorge da silva", "Jorge"),
        ("Maria da Luz", "Maria"),
        ("Manuella Sá", "Manuella"),
        ("MANUELLA SÁ", "Manuella"),
        # Titles, with the failures of the first system among them.
        ("DR JOAO DA SILVA", "Joao"),
        ("Drª Bia", "Bia"),
        ("DRª LUIZA PEIXOTO", "Luiza"),
        ("Prof. Caio", "Caio"),
        ("Dr.João", "João"),
        ("Sr. José", "José"),
        ("✨ Dra. Alana Andrade", "Alana"),
        ("Nutricionista Maria Souza", "Maria"),
        ("Nutricionista | Maria Souza", "Maria"),
        ("Dra. Ana Clínica", "Ana"),
        # Capitals and spellings.
        ("ANA MARIA", "Ana"),
        ("ÉRICA", "Érica"),
        ("ana", "Ana"),
        ("MARIA-JOSÉ", "Maria-José"),
        ("McArthur Lee", "McArthur"),
        ("D'Ávila Maria", "D'Ávila"),
        ("Joa\u0303o", "João"),
        # Emoji and decoration.
        ("🔥 Ana 🔥", "Ana"),
        ("Pedro 🇧🇷", "Pedro"),
        ("𝓐𝓷𝓪 𝓟𝓪𝓾𝓵𝓪", "Ana"),
        ("Maria | Clínica de Estética", "Maria"),
        ("Ana Lima - Imóveis", "Ana"),
        ("(Ana)", "Ana"),
        # Other scripts.
        ("李小龙", "李小龙"),
        ("محمد علي", "محمد علي"),
        ("МАРИЯ", "Мария"),
    ],
)
def test_the_first_name(name, first):
    assert first_name(name) == first


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "🔥🔥",
        "Dr",
        "Drª.",
        "A. Souza",
        "J.P. Souza",
        "JP",
        "da Silva",
        "null",
        "12345",
        "@ana.silva",
        "www.ana.example.com",
        "Clínica Sorriso",
        "CLINICA SORRISO",
        "Studio K Hair",
        "Consultório Dra. Ana",
        "Agência Up",
        "Academia Força",
        "Souza Imóveis",
        "Silva & Cia",
        "Souza e Filhos Ltda",
        "Souza Ltda.",
        "Souza S/A",
        "O Boticário",
        "Empresa De Software Gomes",
    ],
)
def test_none_can_be_told(name):
    assert first_name(name) == ""


def test_a_name_that_only_repeats_a_long_handle_is_none():
    assert first_name("anasilvafit", "anasilva.fit") == ""
    assert first_name("ana", "ana") == "Ana"
    assert first_name("Ana Silva", "anasilva") == "Ana"


@given(st.text(max_size=40))
@example("ਓ@")
def test_any_text_gives_clean_text(name):
    found = first_name(name)
    assert found == found.strip()
    assert "@" not in found
