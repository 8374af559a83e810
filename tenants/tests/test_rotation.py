"""Rotation of the master keys."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.db import connection

from agenticos.tests import factories
from tenants import crypto, second_factor
from tenants.models import Tenant

OLD = "old:" + base64.b64encode(b"o" * 32).decode()
NEW = "new:" + base64.b64encode(b"n" * 32).decode()


@pytest.mark.django_db
def test_secrets_and_derived_keys_outlive_the_old_master_key(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    tenant = Tenant.objects.create(slug="rotated", name="Rotated")
    sealed = crypto.seal(tenant.pk, "a", "secret")
    derived = crypto.hash_key(tenant.pk)
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    call_command("rotate_credential_keys")
    assert not crypto.rewrap_keys(tenant.pk)
    settings.CREDENTIAL_KEYS = NEW
    assert crypto.reveal(tenant.pk, "a", sealed) == "secret"
    assert crypto.hash_key(tenant.pk) == derived


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


def make_factor() -> Authenticator:
    return Authenticator.objects.create(
        user=factories.make_user(),
        type=Authenticator.Type.TOTP,
        data={"secret": second_factor.Adapter().encrypt("JBSWY3DP")},
    )


@pytest.mark.django_db
def test_second_factors_outlive_the_old_master_key(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    factor = make_factor()
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    call_command("rotate_credential_keys")
    settings.CREDENTIAL_KEYS = NEW
    factor.refresh_from_db()
    assert second_factor.Adapter().decrypt(factor.data["secret"]) == "JBSWY3DP"


@pytest.mark.django_db
def test_a_factor_that_does_not_open_is_said(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    make_factor()
    settings.CREDENTIAL_KEYS = NEW
    with pytest.raises(CommandError, match="second factors"):
        call_command("rotate_credential_keys")


@pytest.mark.django_db
def test_a_rotation_stopped_midway_is_finished_by_the_next(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CREDENTIAL_KEYS = OLD
    tenants = [factories.make_tenant() for _ in range(3)]
    sealed = [crypto.seal(tenant.pk, "a", f"secret {tenant.pk}") for tenant in tenants]
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    rewrap, left = crypto.rewrap_keys, [1]

    def until_it_is_stopped(pk: int) -> bool:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return rewrap(pk)

    monkeypatch.setattr(crypto, "rewrap_keys", until_it_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        call_command("rotate_credential_keys")
    monkeypatch.setattr(crypto, "rewrap_keys", rewrap)
    call_command("rotate_credential_keys")
    settings.CREDENTIAL_KEYS = NEW
    for tenant, secret in zip(tenants, sealed, strict=True):
        assert crypto.reveal(tenant.pk, "a", secret) == f"secret {tenant.pk}"


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_rotations_at_once_leave_every_key_readable(settings: Any) -> None:
    settings.CREDENTIAL_KEYS = OLD
    tenants = [factories.make_tenant() for _ in range(5)]
    sealed = [crypto.seal(tenant.pk, "a", "secret") for tenant in tenants]
    factor = make_factor()
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    together, failed = threading.Barrier(2), []

    def rotate() -> None:
        try:
            together.wait()
            call_command("rotate_credential_keys")
        except Exception as error:
            failed.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rotate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settings.CREDENTIAL_KEYS = NEW
    assert failed == []
    assert all(
        crypto.reveal(tenant.pk, "a", secret) == "secret"
        for tenant, secret in zip(tenants, sealed, strict=True)
    )
    factor.refresh_from_db()
    assert second_factor.Adapter().decrypt(factor.data["secret"]) == "JBSWY3DP"
