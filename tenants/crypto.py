"""Credentials at rest: AES-256-GCM under a data key per tenant, wrapped by a master key.

`CREDENTIAL_KEYS` lists master keys as `name:base64`, the newest first; the first one wraps. A
wrapped data key is `name ‖ ":" ‖ nonce ‖ ciphertext` with the associated data `dek:<tenant>`; a
sealed secret is `version ‖ nonce ‖ ciphertext` with `<model>.<field>:<tenant>:<row>`. So a
ciphertext moved to another row or tenant, or altered by one bit, does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
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


def wrap_data_key(tenant_id: int, data_key: bytes) -> bytes:
    """Wrap a tenant's data key with the newest master key."""
    name, master = next(iter(master_keys().items()))
    return name.encode() + b":" + _seal(master, data_key, f"dek:{tenant_id}")


def unwrap_data_key(tenant_id: int, wrapped: bytes) -> bytes:
    """Open a wrapped data key. Raises CannotOpen."""
    name, _, sealed = bytes(wrapped).partition(b":")
    master = master_keys().get(name.decode(errors="replace"))
    if master is None:
        raise CannotOpen("The master key of a stored credential is not in CREDENTIAL_KEYS.")
    return _open(master, sealed, f"dek:{tenant_id}")


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
def rewrap_data_key(tenant_id: int) -> bool:
    """Wrap the tenant's data key with the newest master key; False if there is nothing to do.

    The data key itself stays, so secrets and derived keys do too. Raises CannotOpen.
    """
    tenant = Tenant.objects.select_for_update().filter(pk=tenant_id).first()
    if tenant is None or not tenant.data_key:
        return False
    wrapped = bytes(tenant.data_key)
    if wrapped.partition(b":")[0] == next(iter(master_keys())).encode():
        return False
    tenant.data_key = wrap_data_key(tenant_id, unwrap_data_key(tenant_id, wrapped))
    tenant.save(update_fields=["data_key"])
    return True


@transaction.atomic
def _data_key(tenant_id: int) -> bytes:
    """The tenant's data key, made at first use."""
    tenant = Tenant.objects.select_for_update().get(pk=tenant_id)
    if not tenant.data_key:
        tenant.data_key = wrap_data_key(tenant_id, os.urandom(KEY_BYTES))
        tenant.save(update_fields=["data_key"])
    return unwrap_data_key(tenant_id, bytes(tenant.data_key))


def derived_key(tenant_id: int, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, from the tenant's data key (HKDF-SHA256).

    The same for ever, also after a rotation of the master keys; lost with the data key. Takes no
    lock once the tenant has a data key.
    """
    wrapped = Tenant.objects.values_list("data_key", flat=True).get(pk=tenant_id)
    key = unwrap_data_key(tenant_id, bytes(wrapped)) if wrapped else _data_key(tenant_id)
    info = f"agenticos:{purpose}:{tenant_id}".encode()
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(key)


def seal(tenant_id: int, context: str, plain: str) -> bytes:
    """Encrypt `plain` for one tenant; `context` names model, field, tenant and row."""
    return VERSION + _seal(_data_key(tenant_id), plain.encode(), context)


def reveal(tenant_id: int, context: str, sealed: bytes) -> str:
    """Decrypt what `seal` made for the same tenant and context. Raises CannotOpen."""
    sealed = bytes(sealed)
    if sealed[:1] != VERSION:
        raise CannotOpen("A stored credential has an unknown format.")
    wrapped = Tenant.objects.values_list("data_key", flat=True).get(pk=tenant_id)
    return _open(unwrap_data_key(tenant_id, bytes(wrapped)), sealed[1:], context).decode()


def context_of(model: str, field: str, tenant_id: int, row_id: int) -> str:
    """The associated data of one secret: it opens in this row and nowhere else."""
    return f"{model}.{field}:{tenant_id}:{row_id}"
