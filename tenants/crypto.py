"""Credentials at rest: AES-256-GCM under a data key per tenant, wrapped by a master key.

`CREDENTIAL_KEYS` lists master keys as `name:base64`, the newest first; the first one wraps. A
wrapped key is `name ‖ ":" ‖ nonce ‖ ciphertext` with the associated data `dek:<tenant>` for the
data key, `hek:<tenant>` for the key of hashes; a sealed secret is `version ‖ nonce ‖ ciphertext`
with `<model>.<field>:<tenant>:<row>`. So a ciphertext moved to another row or tenant, or altered
by one bit, does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from tenants.models import Tenant

VERSION = b"\x01"
NONCE_BYTES = 12
KEY_BYTES = 32
Stored = bytes | memoryview  # as it comes from the database


class CannotOpen(Exception):
    """The ciphertext is not this row's, was altered, or its master key is gone."""


@lru_cache(maxsize=4)
def _master_keys(text: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition(":")
        try:
            key = base64.b64decode(value, validate=True)
        except binascii.Error:
            key = b""
        if not name or len(key) != KEY_BYTES:
            raise ImproperlyConfigured(
                "CREDENTIAL_KEYS: expected name:base64 of 32 bytes, the newest first, "
                "separated by commas."
            )
        if name in keys or key in keys.values():
            raise ImproperlyConfigured("CREDENTIAL_KEYS: a name or a key stands there twice.")
        keys[name] = key
    if not keys:
        raise ImproperlyConfigured("CREDENTIAL_KEYS is empty.")
    return keys


def master_keys() -> dict[str, bytes]:
    """The master keys by name, the newest first. Raises ImproperlyConfigured for a bad value."""
    return _master_keys(settings.CREDENTIAL_KEYS)


def _seal(key: bytes, plain: bytes, context: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def _open(key: bytes, sealed: bytes, context: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise CannotOpen("A stored credential does not open.") from error


DATA, HASH = "dek", "hek"  # what a wrapped key is for: part of its associated data


def _wrap(kind: str, tenant_id: int, key: bytes) -> bytes:
    """Wrap a key of a tenant with the newest master key."""
    name, master = next(iter(master_keys().items()))
    return name.encode() + b":" + _seal(master, key, f"{kind}:{tenant_id}")


def _unwrap(kind: str, tenant_id: int, wrapped: Stored) -> bytes:
    """Open a wrapped key of a tenant. Raises CannotOpen."""
    name, _, sealed = bytes(wrapped).partition(b":")
    master = master_keys().get(name.decode(errors="replace"))
    if master is None:
        raise CannotOpen("The master key of a stored credential is not in CREDENTIAL_KEYS.")
    return _open(master, sealed, f"{kind}:{tenant_id}")


def opens(tenant_id: int, data_key: Stored | None, hash_key: Stored | None) -> bool:
    """Whether the master keys open a tenant's wrapped keys; one that is not there is no trouble."""
    try:
        for kind, wrapped in ((DATA, data_key), (HASH, hash_key)):
            if wrapped:
                _unwrap(kind, tenant_id, wrapped)
    except CannotOpen:
        return False
    return True


def seal_with_master(context: str, plain: str) -> bytes:
    """Encrypt what belongs to no tenant, with the newest master key; `reveal_with_master` opens."""
    name, master = next(iter(master_keys().items()))
    return name.encode() + b":" + _seal(master, plain.encode(), context)


def reveal_with_master(context: str, sealed: bytes) -> str:
    """Decrypt what `seal_with_master` made for the same context. Raises CannotOpen."""
    name, _, rest = sealed.partition(b":")
    master = master_keys().get(name.decode(errors="replace"))
    if master is None:
        raise CannotOpen("The master key of a stored secret is not in CREDENTIAL_KEYS.")
    return _open(master, rest, context).decode()


@transaction.atomic
def rewrap_keys(tenant_id: int) -> bool:
    """Wrap the tenant's keys with the newest master key; False if there is nothing to do.

    The keys themselves stay, so secrets and hashes do too. Raises CannotOpen.
    """
    tenant = _locked(tenant_id)
    if tenant is None or not tenant.data_key:
        return False
    newest = next(iter(master_keys())).encode()
    old = [
        (name, kind)
        for name, kind in (("data_key", DATA), ("hash_key", HASH))
        if (wrapped := getattr(tenant, name)) and bytes(wrapped).partition(b":")[0] != newest
    ]
    for name, kind in old:
        key = _unwrap(kind, tenant_id, getattr(tenant, name))
        setattr(tenant, name, _wrap(kind, tenant_id, key))
    if old:
        tenant.save(update_fields=[name for name, _kind in old])
    return bool(old)


def _locked(tenant_id: int) -> Tenant | None:
    """The tenant's row, held. Rows that only point to the tenant do not wait."""
    return Tenant.objects.select_for_update(no_key=True).filter(pk=tenant_id).first()


@transaction.atomic
def _data_key(tenant_id: int) -> bytes:
    """The tenant's data key, made at first use; it stays until the transaction in force ends."""
    tenant = _locked(tenant_id)
    if tenant is None:
        raise Tenant.DoesNotExist
    if not tenant.data_key:
        tenant.data_key = _wrap(DATA, tenant_id, os.urandom(KEY_BYTES))
        tenant.save(update_fields=["data_key"])
    return _unwrap(DATA, tenant_id, tenant.data_key)


def renew_data_key(tenant_id: int, *, now: datetime) -> Callable[[str, Stored], bytes]:
    """Give the tenant another data key; return what seals a secret of the old one under it.

    That takes a secret's context and ciphertext, and raises CannotOpen. In the caller's
    transaction, which must do it to every secret of the tenant and hold them: see
    integrations/rekeying.py. Hashes stay as they are: their key is kept by itself from here on.
    Raises CannotOpen when the old key does not open.
    """
    old, new = _data_key(tenant_id), os.urandom(KEY_BYTES)
    tenant = Tenant.objects.get(pk=tenant_id)
    if not tenant.hash_key:
        tenant.hash_key = _wrap(HASH, tenant_id, _derived(old, tenant_id))
    tenant.data_key, tenant.data_key_at = _wrap(DATA, tenant_id, new), now
    tenant.save(update_fields=["data_key", "data_key_at", "hash_key"])

    def reseal(context: str, sealed: Stored) -> bytes:
        return VERSION + _seal(new, _open(old, _body(sealed), context), context)

    return reseal


def hash_key(tenant_id: int) -> bytes:
    """The key of 32 bytes under which the tenant hashes identities.

    The same for ever, whichever keys are rotated; lost with the tenant's keys. Takes no lock once
    the tenant has a data key.
    """
    found = Tenant.objects.values_list("hash_key", "data_key").get(pk=tenant_id)
    wrapped, data_key = found
    if wrapped:
        return _unwrap(HASH, tenant_id, wrapped)
    key = _unwrap(DATA, tenant_id, data_key) if data_key else _data_key(tenant_id)
    return _derived(key, tenant_id)


def _derived(data_key: bytes, tenant_id: int) -> bytes:
    """The hash key of a tenant whose data key was never replaced (HKDF-SHA256)."""
    info = f"agenticos:suppression:{tenant_id}".encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(data_key)


def seal(tenant_id: int, context: str, plain: str) -> bytes:
    """Encrypt `plain` for one tenant; `context` names model, field, tenant and row."""
    return VERSION + _seal(_data_key(tenant_id), plain.encode(), context)


def reveal(tenant_id: int, context: str, sealed: Stored, wrapped: Stored | None = None) -> str:
    """Decrypt what `seal` made for the same tenant and context. Raises CannotOpen.

    `wrapped` is the tenant's data key as stored, of a caller that has read it; it may be outdated.
    """
    body = _body(sealed)
    if wrapped is None:
        wrapped = Tenant.objects.values_list("data_key", flat=True).get(pk=tenant_id)
    return _open(_unwrap(DATA, tenant_id, wrapped), body, context).decode()


def _body(sealed: Stored) -> bytes:
    """A secret without its version. Raises CannotOpen for one that is not ours."""
    plain = bytes(sealed)
    if plain[:1] != VERSION:
        raise CannotOpen("A stored credential has an unknown format.")
    return plain[1:]


def context_of(model: str, field: str, tenant_id: int, row_id: int) -> str:
    """The associated data of one secret: it opens in this row and nowhere else."""
    return f"{model}.{field}:{tenant_id}:{row_id}"
