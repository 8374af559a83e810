"""Rotation of the master keys."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tenants import crypto
from tenants.models import Tenant

OLD = "old:" + base64.b64encode(b"o" * 32).decode()
NEW = "new:" + base64.b64encode(b"n" * 32).decode()


@pytest.mark.django_db
def test_secrets_and_derived_keys_outlive_the_old_master_key(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    tenant = Tenant.objects.create(slug="rotated", name="Rotated")
    sealed = crypto.seal(tenant.pk, "a", "secret")
    derived = crypto.derived_key(tenant.pk, "suppression")
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    call_command("rotate_credential_keys")
    assert not crypto.rewrap_data_key(tenant.pk)
    settings.CREDENTIAL_KEYS = NEW
    assert crypto.reveal(tenant.pk, "a", sealed) == "secret"
    assert crypto.derived_key(tenant.pk, "suppression") == derived


@pytest.mark.django_db
def test_a_data_key_that_does_not_open_is_named_and_left(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    tenant = Tenant.objects.create(slug="stuck", name="Stuck")
    crypto.seal(tenant.pk, "a", "secret")
    before = bytes(Tenant.objects.get(pk=tenant.pk).data_key)
    settings.CREDENTIAL_KEYS = NEW
    with pytest.raises(CommandError):
        call_command("rotate_credential_keys")
    assert bytes(Tenant.objects.get(pk=tenant.pk).data_key) == before
