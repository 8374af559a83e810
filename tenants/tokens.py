"""Tokens for ten minutes: a JWT that a program gets for its key, to hand to what it trusts less.

Signed with Ed25519 by the newest key of `JWT_KEYS` and believed when any of them signed it, so
that keys can be changed under running programs. A token is a narrower, shorter key and no more:
the key's row is read on every call (tenants/authentication.py), so revoking takes effect at once.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from tenants.models import ApiKey

ALGORITHM: Final = "EdDSA"  # never what a token says of itself
TYPE: Final = "at+jwt"  # RFC 9068
ISSUER: Final = "agenticos"
AUDIENCE: Final = "agenticos-api"
LIFE: Final = timedelta(minutes=10)
LEEWAY: Final = timedelta(seconds=30)  # between the clocks of two hosts
CLAIMS: Final = ("iss", "aud", "sub", "tid", "scope", "iat", "nbf", "exp", "jti")
LONGEST: Final = 2000
_FORM: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class BadToken(Exception):
    """The text is no token of ours that is in force; `expired` says that it was one."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("expired" if expired else "invalid")
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says: the public id of its key, the tenant's id, the scopes."""

    key: str
    tenant_id: int
    scopes: frozenset[str]


def are_on() -> bool:
    """Whether this installation has a key to sign with."""
    return bool(settings.JWT_KEYS)


def issue(key: ApiKey, scopes: Iterable[str], *, now: datetime) -> str:
    """Make a token of `key` for these scopes. `are_on` must hold."""
    kid, signer = next(iter(_signers(settings.JWT_KEYS).items()))
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": key.public_id,
        "tid": key.tenant_id,
        "scope": " ".join(sorted(scopes)),
        "iat": now,
        "nbf": now,
        "exp": now + LIFE,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, signer, ALGORITHM, headers={"typ": TYPE, "kid": kid})


def read(text: str) -> Claims:
    """What a presented token says. Raises BadToken."""
    if len(text) > LONGEST or not _is_canonical(text):
        raise BadToken
    try:
        head = jwt.get_unverified_header(text)
        signer = _signers(settings.JWT_KEYS).get(str(head.get("kid")))
        if head != {"alg": ALGORITHM, "typ": TYPE, "kid": head.get("kid")} or signer is None:
            raise BadToken
        claims = jwt.decode(
            text,
            signer.public_key(),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": list(CLAIMS)},
        )
    except jwt.ExpiredSignatureError:
        raise BadToken(expired=True) from None
    except (jwt.PyJWTError, RecursionError):
        raise BadToken from None
    tenant_id, scope = claims["tid"], claims["scope"]
    if type(tenant_id) is not int or not isinstance(scope, str):
        raise BadToken
    return Claims(claims["sub"], tenant_id, frozenset(scope.split()))


def _is_canonical(text: str) -> bool:
    """Three parts of base64url in their one spelling: a token has no second form."""
    if not _FORM.fullmatch(text):
        return False
    for part in text.split("."):
        try:
            plain = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except binascii.Error:
            return False
        if base64.urlsafe_b64encode(plain).decode().rstrip("=") != part:
            return False
    return True


@lru_cache(maxsize=4)
def _signers(text: str) -> dict[str, Ed25519PrivateKey]:
    """The keys of `JWT_KEYS` by name, the newest first; the settings have checked their form."""
    pairs = (part.partition(":") for part in text.split(",") if part)
    return {
        name.strip(): Ed25519PrivateKey.from_private_bytes(base64.b64decode(value.strip()))
        for name, _, value in pairs
    }
