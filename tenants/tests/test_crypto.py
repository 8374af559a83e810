"""Credentials at rest: they open in their own row, whole, with a known master key, or never."""

from __future__ import annotations

import base64

import pytest
from django.core.exceptions import ImproperlyConfigured

from agenticos import scope
from agenticos.tests.factories import make_connection, make_tenant
from integrations.models import Connection
from tenants import crypto
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
OLD = "t1:" + base64.b64encode(bytes(range(32))).decode()
NEW = "t2:" + base64.b64encode(bytes(range(32, 64))).decode()


def stored(connection: Connection) -> bytes:
    return bytes(Connection.objects.values_list("secret", flat=True).get(pk=connection.pk))


@pytest.fixture
def connection(acme, in_tenant):
    in_tenant(acme)
    row = make_connection(acme)
    row.set_secret(token="pit-very-secret-token")
    return Connection.objects.get(pk=row.pk)


def store(row: Connection, secret: bytes) -> None:
    """Put a ciphertext into the row, as somebody at the database would."""
    row.secret = secret
    row.save(update_fields=["secret"])


def test_a_secret_comes_back(connection):
    assert connection.reveal() == {"token": "pit-very-secret-token"}
    assert connection.secret_last_four == "oken"


def test_the_secret_is_not_in_the_row(connection):
    assert b"secret-token" not in stored(connection)
    assert "secret-token" not in repr(connection.__dict__)


def test_the_same_secret_twice_gives_different_ciphertexts(connection):
    before = stored(connection)
    connection.set_secret(token="pit-very-secret-token")
    assert stored(connection) != before


@pytest.mark.parametrize("at", [0, 1, 12, 13, 20, -1])
def test_one_changed_bit_does_not_open(connection, at):
    sealed = bytearray(stored(connection))
    sealed[at] ^= 1
    store(connection, bytes(sealed))
    with pytest.raises(crypto.CannotOpen):
        connection.reveal()


@pytest.mark.parametrize("cut", [b"", b"\x01", b"\x01" + bytes(11), b"\x01" + bytes(12)])
def test_a_cut_secret_does_not_open(connection, cut):
    store(connection, cut)
    with pytest.raises(crypto.CannotOpen):
        connection.reveal()


def test_a_secret_moved_to_another_row_does_not_open(connection, acme):
    other = make_connection(acme)
    store(other, stored(connection))
    with pytest.raises(crypto.CannotOpen):
        other.reveal()


def test_a_secret_moved_to_another_tenant_does_not_open(connection, rival):
    with scope.as_tenant(rival):
        theirs = make_connection(rival)
        store(theirs, stored_in_system(connection))
        with pytest.raises(crypto.CannotOpen):
            theirs.reveal()


def stored_in_system(connection: Connection) -> bytes:
    with scope.as_system("test"):
        return stored(connection)


def test_a_data_key_moved_to_another_tenant_does_not_open(connection, rival):
    Tenant.objects.filter(pk=rival.pk).update(
        data_key=Tenant.objects.values_list("data_key", flat=True).get(slug="acme")
    )
    with pytest.raises(crypto.CannotOpen):
        crypto.seal(rival.pk, "x", "y")


def test_secrets_open_after_a_new_master_key_came_in_front(connection, settings):
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    assert connection.reveal()["token"] == "pit-very-secret-token"


def test_new_tenants_are_wrapped_with_the_newest_master_key(settings):
    settings.CREDENTIAL_KEYS = f"{NEW},{OLD}"
    tenant = make_tenant()
    crypto.seal(tenant.pk, "x", "y")
    tenant.refresh_from_db()
    assert bytes(tenant.data_key).startswith(b"t2:")


def test_without_its_master_key_nothing_opens(connection, settings):
    settings.CREDENTIAL_KEYS = NEW
    with pytest.raises(crypto.CannotOpen):
        connection.reveal()


def test_each_tenant_has_a_data_key_of_its_own(acme, rival):
    for tenant in (acme, rival):
        crypto.seal(tenant.pk, "x", "y")
    wrapped = dict(Tenant.objects.values_list("pk", "data_key"))
    plain = {crypto._unwrap(crypto.DATA, pk, key) for pk, key in wrapped.items()}
    assert len(plain) == 2


@pytest.mark.parametrize(
    "wrong", ["", "t1", "t1:not base64!", "t1:c2hvcnQ=", f"{OLD},{OLD}", f"{OLD},t9:{OLD[3:]}"]
)
def test_master_keys_that_cannot_be_meant_are_refused(settings, wrong):
    settings.CREDENTIAL_KEYS = wrong
    with pytest.raises(ImproperlyConfigured):
        crypto.master_keys()
