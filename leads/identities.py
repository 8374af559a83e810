"""Identities: one spelling per handle, mail address and phone number, shared by every matcher.

Whoever compares people (import, webhook, suppression, search) normalises through this module
first; two spellings of one person that differ here are two people everywhere.
Pure: plain text in, plain text or None out.
"""

import re
import unicodedata
from functools import lru_cache

import phonenumbers

# Invisible marks that come along when a handle or number is copied from an app or a right-to-left
# page: zero-width characters, direction marks, byte order mark, soft hyphen.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0e\ufe0f\ufeff]")

_HANDLE = re.compile(r"[a-z0-9_](?:\.?[a-z0-9_])*")
_HANDLE_MAX = 30
_PROFILE_URL = re.compile(
    r"(?:https?:)?(?://)?(?:[a-z0-9-]+\.)?(?:instagram\.com|instagr\.am)/+"
    r"(?:_u/|stories/)?@?([^/?#]+)(?:[/?#].*)?",
    re.DOTALL,
)
# First parts of a path on instagram.com that name a page of the site and never a person.
_NOT_PEOPLE = frozenset(
    [
        "p", "reel", "reels", "tv", "explore", "accounts", "direct", "about", "legal",
        "developer", "stories", "web", "press", "api", "challenge", "oauth", "graphql", "emails",
        "session", "privacy", "terms",
    ]
)  # fmt: skip

# RFC 5321 lengths with the characters people really use; quoted local parts are not accepted.
_EMAIL = re.compile(
    r"(?=.{6,254}\Z)(?=[^@]{1,64}@)"
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{2,59})"
)

_COMBINING = re.compile("[\u0300-\u036f]")


def normalise_handle(text: str) -> str | None:
    """Give the Instagram handle in lower case without `@`, or None when `text` holds none.

    Accepts a handle or the address of a profile, with or without scheme, `www`, query and
    trailing slash. Rules of a handle: 1 to 30 of `a-z 0-9 . _`, no dot at either end, no two
    dots in a row (Instagram help centre, "change your username").

    >>> normalise_handle(" @Ana.Silva ")
    'ana.silva'
    >>> normalise_handle("https://www.instagram.com/Ana_Silva/?hl=pt-br")
    'ana_silva'
    >>> normalise_handle("bad handle!!") is None
    True
    >>> normalise_handle("instagram.com/p/C0ffee/") is None  # a post, not a person
    True
    """
    # Most cells of a file are clean already: one match and out.
    if len(text) <= _HANDLE_MAX and _HANDLE.fullmatch(text):
        return None if text in _HOSTS else text
    handle = _INVISIBLE.sub("", text).strip()
    # Letters such as the Kelvin sign become ASCII when lower-cased, so this is asked first.
    if not handle.isascii():
        return None
    handle = handle.lower()
    if "/" in handle:
        match = _PROFILE_URL.fullmatch(handle)
        if match is None or match[1] in _NOT_PEOPLE:
            return None
        handle = match[1]
    else:
        handle = handle.removeprefix("@").lstrip()
    if len(handle) > _HANDLE_MAX or handle in _HOSTS or not _HANDLE.fullmatch(handle):
        return None
    return handle


# "instagram.com" reads as a handle but is an address whose path got lost.
_HOSTS = frozenset({"instagram.com", "www.instagram.com", "instagr.am"})


def display_handle(handle: str) -> str:
    """Give a normalised handle the way people write it; '' stays ''.

    >>> display_handle("ana.silva")
    '@ana.silva'
    """
    return f"@{handle}" if handle else ""


def normalise_email(text: str) -> str | None:
    """Give the mail address in lower case, or None when `text` is not one.

    >>> normalise_email(" Ana@Example.COM ")
    'ana@example.com'
    >>> normalise_email("not-an-email") is None
    True
    """
    email = text.strip().lower()
    if not email.isascii():
        email = _INVISIBLE.sub("", email).strip()
    email = email.removeprefix("mailto:")
    return email if _EMAIL.fullmatch(email) else None


def normalise_phone(text: str, region: str = "BR") -> str | None:
    """Give a valid phone number in E.164 (`+5511999998888`), or None.

    `region` (ISO 3166-1 alpha-2) is where a number without country code is taken to be.
    Validity is that of `phonenumbers` (Google's libphonenumber): length and known prefixes.

    >>> normalise_phone("+55 (11) 98888-7777")
    '+5511988887777'
    >>> normalise_phone("(11) 98888-7777")
    '+5511988887777'
    >>> normalise_phone("+1 202-555-0143")
    '+12025550143'
    >>> normalise_phone("123") is None
    True
    """
    # Brazilian numbers written in full are most of what comes in, and asking the library costs
    # a hundred times as much as asking its own patterns.
    if text.startswith("+55") and _brazilian().fullmatch(text):
        return text
    return _parse_phone(text, region)


@lru_cache(maxsize=1)
def _brazilian() -> re.Pattern[str]:
    """`+55` and any national number that libphonenumber's own data calls fixed or mobile."""
    data = phonenumbers.PhoneMetadata.metadata_for_region("BR")
    kinds = [data.mobile, data.fixed_line] if data else []
    patterns = [kind.national_number_pattern for kind in kinds if kind]
    national = "|".join(f"(?:{pattern})" for pattern in patterns if pattern)
    # Ten or eleven digits: shorter ones are service numbers, which are nobody's.
    return re.compile(rf"\+55(?=[0-9]{{10,11}}\Z)(?:{national})", re.ASCII)


@lru_cache(maxsize=65_536)
def _parse_phone(text: str, region: str) -> str | None:
    # A phone cell is short; a long one would only cost time (and the cache's memory).
    if len(text) > 80:
        return None
    try:
        number = phonenumbers.parse(_INVISIBLE.sub("", text), region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def fold(text: str) -> str:
    """Give `text` for comparing: accents folded, lower-cased, look-alikes unified (NFKD).

    Folding twice changes nothing.

    >>> fold("Médica · SÃO PAULO · Drª")
    'medica · sao paulo · dra'
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return _COMBINING.sub("", _INVISIBLE.sub("", folded))
