"""The form of an API key: `aos_<id>_<secret><checksum>`, all in base62.

The id finds the row; of the secret only the SHA-256 is kept, which is enough for 32 random bytes;
the checksum lets a typo, or a scanner's false find, be refused without asking the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from typing import NamedTuple

PREFIX = "aos"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_BYTES = 32
SECRET_LENGTH = 43  # the digits that 32 bytes take
CHECKSUM_LENGTH = 6  # and those that a CRC-32 takes


class NewKey(NamedTuple):
    """A key at the one moment when its text is known, and what is stored of it."""

    text: str
    public_id: str
    digest: bytes
    last_four: str


class ReadKey(NamedTuple):
    """What a presented key says: whose row, and the secret to compare."""

    public_id: str
    secret: str


def base62(number: int, length: int) -> str:
    """Write `number` in `length` digits of 0-9A-Za-z, the highest first.

    >>> base62(61, 2), base62(62, 2)
    ('0z', '10')
    """
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def checksum(text: str) -> str:
    """The CRC-32 of `text` as the last six characters of a key."""
    return base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def digest(secret: str) -> bytes:
    """What is stored of a secret: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def make_key() -> NewKey:
    """Make a key. Its text is shown once and never stored."""
    public_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))
    secret = base62(int.from_bytes(secrets.token_bytes(SECRET_BYTES)), SECRET_LENGTH)
    body = f"{PREFIX}_{public_id}_{secret}"
    text = body + checksum(body)
    return NewKey(text, public_id, digest(secret), text[-4:])


def read_key(text: str) -> ReadKey | None:
    """Take a presented key apart; None when it cannot be one of ours."""
    body, check = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    parts = body.split("_")
    if (
        not text.isascii()
        or [len(part) for part in parts] != [len(PREFIX), ID_LENGTH, SECRET_LENGTH]
        or parts[0] != PREFIX
        or not hmac.compare_digest(check, checksum(body))
    ):
        return None
    return ReadKey(parts[1], parts[2])


def verify(secret: str, stored: bytes) -> bool:
    """Whether `secret` is the one whose digest is stored, in constant time."""
    return hmac.compare_digest(digest(secret), bytes(stored))
