"""Another data key for a tenant: every credential still opens, and who is suppressed stays so."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.test_house import sources
from integrations import connecting, rekeying
from integrations.models import Connection
from leads import editing, suppression
from leads.models import Lead
from tenants import crypto
from tenants.models import Tenant

pytestmark = pytest.mark.django_db


def keys(tenant):
    return Tenant.objects.values_list("data_key", "hash_key", "data_key_at").get(pk=tenant.pk)


def tokens(tenant):
    """What the tenant's credentials say, each read by a process that knows nothing of before."""
    with scope.as_tenant(tenant):
        return [row.reveal()["token"] for row in Connection.objects.order_by("pk")]


def rotate(*args):
    out = StringIO()
    call_command("rotate_credential_keys", "--data", *args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def three(acme, rival):
    for tenant in (acme, acme, rival):
        factories.make_connection(tenant)
    return tokens(acme), tokens(rival)


def test_every_credential_opens_under_the_new_key_and_not_under_the_old(acme, rival, three):
    before = keys(acme)
    with scope.as_tenant(acme):
        stored = bytes(Connection.objects.first().secret)
    assert "2 data keys replaced, 3 credentials sealed anew" in rotate()
    assert (tokens(acme), tokens(rival)) == three
    after = keys(acme)
    assert bytes(after[0]) != bytes(before[0])
    assert after[2] is not None
    with scope.as_tenant(acme):
        row = Connection.objects.first()
        assert bytes(row.secret) != stored
        with pytest.raises(crypto.CannotOpen):
            crypto.reveal(acme.pk, row._context(), stored)
        Tenant.objects.filter(pk=acme.pk).update(data_key=before[0])
        with pytest.raises(crypto.CannotOpen):
            row.reveal()


def test_who_must_not_be_written_to_stays_so(acme, three):
    with scope.as_tenant(acme):
        lead = factories.make_lead(acme, "ana", email="ana@example.com")
        suppression.suppress_leads([lead.pk], reason="asked", now=timezone.now())
        key = crypto.hash_key(acme.pk)
        lead.delete()
    for _ in range(2):  # the first replacement keeps the derived key, the second keeps what is kept
        rotate("--older-than", "0")
        assert crypto.hash_key(acme.pk) == key
    assert keys(acme)[1] is not None
    with scope.as_tenant(acme):
        row = {"handle": "other", "email": "ana@example.com"}
        editing.upsert_leads(acme, [row], by=None, now=timezone.now())
        assert Lead.objects.get(handle="other").suppressed_at is not None


def test_the_hash_key_follows_the_master_keys(acme, three, settings):
    rotate()
    key = crypto.hash_key(acme.pk)
    new = "new:" + base64.b64encode(b"n" * 32).decode()
    settings.CREDENTIAL_KEYS = f"{new},{settings.CREDENTIAL_KEYS}"
    call_command("rotate_credential_keys", stdout=StringIO())
    settings.CREDENTIAL_KEYS = new
    assert crypto.hash_key(acme.pk) == key
    assert tokens(acme) == three[0]


def test_a_rotation_killed_inside_a_tenant_changes_nothing_of_it_and_is_finished_by_the_next(
    acme, rival, three, monkeypatch
):
    before, reseal, calls = keys(acme), Connection.reseal, []

    def dies_at_the_second(self, change):
        calls.append(self.pk)
        if len(calls) == 2:
            raise KeyboardInterrupt
        reseal(self, change)

    monkeypatch.setattr(Connection, "reseal", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        rotate()
    monkeypatch.undo()
    assert keys(acme) == before
    assert (tokens(acme), tokens(rival)) == three
    assert "2 data keys replaced" in rotate()
    assert (tokens(acme), tokens(rival)) == three


def test_a_rotation_stopped_between_two_tenants_goes_on_with_the_second(
    acme, rival, three, monkeypatch
):
    replace, calls = rekeying.replace_data_key, []

    def once(pk, *, now):
        if calls:
            raise KeyboardInterrupt
        calls.append(pk)
        return replace(pk, now=now)

    monkeypatch.setattr(rekeying, "replace_data_key", once)
    with pytest.raises(KeyboardInterrupt):
        rotate()
    monkeypatch.undo()
    first = keys(acme)
    assert "1 data keys replaced, 1 credentials sealed anew" in rotate()
    assert keys(acme) == first
    assert "0 data keys replaced" in rotate()
    assert (tokens(acme), tokens(rival)) == three


def test_a_secret_that_never_opened_is_left_and_stops_nothing(acme, three):
    with scope.as_tenant(acme):
        row = Connection.objects.first()
        Connection.objects.filter(pk=row.pk).update(secret=b"\x01rubbish")
    assert "1 that never opened left" in rotate("--older-than", "0")
    with scope.as_tenant(acme):
        assert bytes(Connection.objects.get(pk=row.pk).secret) == b"\x01rubbish"
        assert Connection.objects.last().reveal()["token"] == three[0][1]


def test_a_tenant_whose_key_does_not_open_is_named_and_the_others_are_done(acme, rival, three):
    Tenant.objects.filter(pk=acme.pk).update(data_key=b"gone:rubbish")
    with pytest.raises(CommandError, match="acme"):
        rotate()
    assert keys(rival)[2] is not None
    assert tokens(rival) == three[1]


def test_a_credential_that_was_read_before_opens_after(acme, three):
    """A worker holds the row, the key is replaced, then the worker asks for the token."""
    with scope.as_tenant(acme):
        held, owner = Connection.objects.first(), Tenant.objects.get(pk=acme.pk)
        rotate()
        assert held.reveal()["token"] == three[0][0]
        fresh = Connection.objects.first()
        fresh.tenant = owner  # read before the key was replaced, the row after
        assert fresh.reveal()["token"] == three[0][0]
        Connection.objects.filter(pk=held.pk).update(secret=b"\x01rubbish")
        held.secret = b"\x01rubbish"
        with pytest.raises(crypto.CannotOpen):
            held.reveal()


def test_only_connections_seal_under_the_data_key():
    """What else would is not sealed anew when the key is replaced."""
    users = {name for name, text in sources() if "crypto.seal(" in text}
    assert users == {"integrations/models.py"}


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", ["key", "secret"])
def test_a_credential_that_is_replaced_at_the_same_time_is_not_lost(acme, first, monkeypatch):
    """Two real connections, each in the middle of its transaction while the other begins."""
    row = factories.make_connection(acme)
    inside, may_end, failed = threading.Event(), threading.Event(), []

    def stand_still(done):
        inside.set()
        assert may_end.wait(20)
        return done

    def in_thread(work):
        def run():
            try:
                with scope.as_tenant(acme):
                    work()
            except BaseException as error:
                failed.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def rekey(hold):
        if hold:
            replace = rekeying._replace
            monkeypatch.setattr(rekeying, "_replace", lambda *given: stand_still(replace(*given)))
        rekeying.replace_data_key(acme.pk, now=timezone.now())

    def new_secret(hold):
        with transaction.atomic():
            stored = Connection.objects.get(pk=row.pk)
            connecting.replace_secret(stored, "the-new-token", "x", by=None, now=timezone.now())
            if hold:
                stand_still(None)

    one = in_thread(lambda: (rekey if first == "key" else new_secret)(True))
    assert inside.wait(20)
    two = in_thread(lambda: (new_secret if first == "key" else rekey)(False))
    may_end.set()
    for thread in (one, two):
        thread.join(30)
    assert failed == []
    assert tokens(acme) == ["the-new-token"]
    assert keys(acme)[2] - timezone.now() < timedelta(minutes=1)
