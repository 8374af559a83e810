"""What stands in one cell: text, counts, rates, flags, addresses, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from leads.identities import fold, normalise_email, normalise_phone
from leads.importing.limits import (
    GHL_ID_LIMIT,
    MAX_COUNT,
    MAX_PERCENT,
    TEXT_LIMITS,
    WEBSITE_LIMIT,
    Value,
)


class RefusedError(Exception):
    """A cell that rejects its row."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


class DoubtError(Exception):
    """A cell that is left out, or kept as `value`, with a warning."""

    def __init__(self, code: str, value: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.value = value


# Our own export puts ' before what a spreadsheet would run as a formula.
_GUARDED = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# What tools write for "nothing"; a person is rarely called so.
_NOTHING = frozenset(
    {"", "-", "--", "\u2013", "\u2014", "null", "none", "nan", "n/a", "#n/a", "undefined", "nil"}
)


def unguard(text: str) -> str:
    """Take our own guard off: `'=1+1` was `=1+1` before it was exported."""
    stripped = text.strip()
    if stripped[:1] == "'" and stripped[1:2] in _GUARDED and len(stripped) > 1:
        return stripped[1:].strip()
    return stripped


def is_nothing(text: str) -> bool:
    """Whether a cell says in a word that there is nothing in it."""
    return len(text) <= 9 and text.strip().lower() in _NOTHING


def cleaners(region: str) -> dict[str, Callable[[str], Value | None]]:
    """Per field: cell -> value or None. Each may raise RefusedError or DoubtError."""

    def phone(cell: str) -> str | None:
        return _phone(cell, region)

    return {
        **{name: _text(limit, one_line=name != "bio") for name, limit in TEXT_LIMITS.items()},
        **dict.fromkeys(("followers", "following", "posts", "recent_posts"), _count),
        **dict.fromkeys(("is_private", "is_business", "is_verified"), _flag),
        "engagement": _percent,
        "email": _email,
        "phone": phone,
        "website": _website,
        "ghl_id": _ghl_id,
    }


def _text(limit: int, *, one_line: bool) -> Callable[[str], str | None]:
    def clean(cell: str) -> str | None:
        text = cell.strip()
        if text[:1] == "'":
            text = unguard(text)
        if len(text) <= 9 and text.lower() in _NOTHING:
            return None
        if one_line and ("\n" in text or "\r" in text or "\t" in text):
            text = " ".join(text.split())
        if len(text) > limit:
            raise DoubtError("text_cut", text[:limit].rstrip())
        return text

    return clean


def _count(cell: str) -> int | None:
    # Nearly every number is plain digits.
    if cell.isdigit() and len(cell) <= 9 and cell.isascii():
        return int(cell)
    return _loose_count(cell)


_NUMBER = re.compile(
    r"""
    (?P<sign>[-\u2212])?\s*
    (?:
        (?P<groups>[0-9]{1,3}(?:(?P<gap>[., \u00a0\u202f'])[0-9]{3})(?:(?P=gap)[0-9]{3})*)
        | (?P<whole>[0-9]+)(?:[.,](?P<part>[0-9]+))?
    )
    \s*(?P<unit>[a-z]+)?\s*\+?
    """,
    re.VERBOSE,
)
_UNITS: Final = {
    **dict.fromkeys(("k", "mil"), 1_000),
    **dict.fromkeys(("m", "mi", "mm", "mio", "milhao", "milhoes", "million", "millions"), 10**6),
    **dict.fromkeys(("b", "bi", "bilhao", "bilhoes", "billion"), 10**9),
}


def _loose_count(cell: str) -> int | None:
    """A count as people and scrapers write it.

    >>> [_loose_count(text) for text in ("12.345", "12k", "1,2 mil", "3,5 mi", "1 234", "10.0")]
    [12345, 12000, 1200, 3500000, 1234, 10]
    """
    text = unguard(cell)
    if is_nothing(text):
        return None
    # A cell of thousands of digits is not worth converting.
    match = _NUMBER.fullmatch(fold(text)) if len(text) <= 40 else None
    if match is None:
        raise RefusedError("not_a_number", text)
    unit = _UNITS.get(match["unit"]) if match["unit"] else 1
    if unit is None:
        raise RefusedError("not_a_number", text)
    if match["groups"] and unit == 1:
        number = Decimal(re.sub(r"[^0-9]", "", match["groups"]))
    elif match["groups"]:
        # Before a unit the mark is a decimal one: 1.234k is 1 234, and 1.234.567k is nothing.
        if match["groups"].count(match["gap"]) > 1 or match["gap"] not in ".,":
            raise RefusedError("not_a_number", text)
        number = Decimal(match["groups"].replace(",", ".")) * unit
    else:
        number = Decimal(f"{match['whole']}.{match['part'] or 0}") * unit
    if match["sign"] and number:
        raise RefusedError("negative_number", text)
    if number > MAX_COUNT:
        raise RefusedError("number_too_large", text)
    # "10.0" is how a table tool writes 10 once a cell in its column was empty.
    if number != number.to_integral_value():
        raise RefusedError("not_a_number", text)
    return int(number)


_RATE = re.compile(r"([-\u2212])?\s*([0-9]{1,12})(?:[.,]([0-9]{1,20}))?\s*%?")


@lru_cache(maxsize=4_096)
def _percent(cell: str) -> Decimal | None:
    """A rate in percent, with a decimal comma or point, to two places.

    >>> _percent("3,81"), _percent("3.815 %")
    (Decimal('3.81'), Decimal('3.82'))
    """
    text = unguard(cell)
    if is_nothing(text):
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise RefusedError("not_a_number", text)
    number = Decimal(f"{match[2]}.{match[3] or 0}")
    if match[1] and number:
        raise RefusedError("negative_number", text)
    if number > MAX_PERCENT:
        raise RefusedError("number_too_large", text)
    return number.quantize(Decimal("0.01"), ROUND_HALF_UP)


_FLAGS: Final = {
    **dict.fromkeys(
        [
            "true", "t", "yes", "y", "1", "1.0", "sim", "s", "verdadeiro", "v", "x", "on",
            "private", "privado", "privada", "fechado", "fechada", "business", "comercial",
            "profissional", "verified", "verificado", "verificada",
        ],
        True,
    ),
    **dict.fromkeys(
        [
            "false", "f", "no", "n", "0", "0.0", "nao", "falso", "off", "public", "publico",
            "publica", "aberto", "aberta", "personal", "pessoal", "unverified",
        ],
        False,
    ),
    # The two spellings of nearly every file, so that they need no folding.
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
}  # fmt: skip


def _flag(cell: str) -> bool | None:
    """True or False in Portuguese and English; a word that is neither stays unknown."""
    value = _FLAGS.get(cell)
    if value is not None:
        return value
    text = unguard(cell)
    if is_nothing(text):
        return None
    if len(text) > 20 or (value := _FLAGS.get(fold(text))) is None:
        raise DoubtError("bad_flag")
    return value


def _email(cell: str) -> str | None:
    email = normalise_email(cell)
    if email is None:
        text = unguard(cell)
        if not is_nothing(text) and (email := normalise_email(text)) is None:
            raise DoubtError("bad_email")
    return email


def _phone(cell: str, region: str) -> str | None:
    text = unguard(cell)
    if is_nothing(text):
        return None
    # Table tools turn +5511988887777 into 5511988887777.0.
    phone = normalise_phone(text.removesuffix(".0"), region)
    if phone is None and text[:2] == "55" and text.isdigit():
        phone = normalise_phone(f"+{text}", region)
    if phone is None:
        raise DoubtError("bad_phone")
    return phone


_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]*[^\W_])?\.)+[^\W\d_]{2,}(?::[0-9]+)?(?:[/?#]\S*)?")


def _website(cell: str) -> str | None:
    """An http address; anything else (`javascript:` above all) never becomes a link."""
    text = unguard(cell)
    if is_nothing(text):
        return None
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "https", text
    scheme = scheme.lower()
    if (
        len(text) > WEBSITE_LIMIT - 8
        or scheme not in {"http", "https"}
        or not _DOMAIN.fullmatch(rest)
    ):
        raise DoubtError("bad_website")
    return f"{scheme}://{rest}"


def _ghl_id(cell: str) -> str | None:
    text = unguard(cell)
    if is_nothing(text):
        return None
    if len(text) > GHL_ID_LIMIT or not text.isascii() or " " in text:
        raise DoubtError("bad_ghl_id")
    return text
