"""Credentials are write-only, and open in their own row alone: wherever they are used or shown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.db.models import TextField
from django.db.models.functions import Cast
from django.urls import reverse

from agenticos import doctor, scope
from agenticos.tests import factories
from agenticos.tests.test_house import address, is_admin, operations, routes, tenant_routes
from campaigns import sending
from campaigns.models import Message
from integrations import syncing
from integrations.models import Connection, SyncItem
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
SECRET = "pit-PLANTED-0123456789-never-shown"


def moved(row: Connection, rival: Tenant) -> bytes:
    """The rival's own ciphertext, which opens in the rival's row."""
    theirs = factories.make_connection(rival, row.kind)
    with scope.as_tenant(rival):
        theirs.set_secret(token="the-rivals-token-0123456789")
    return bytes(theirs.secret)


def flipped(row: Connection, rival: Tenant) -> bytes:
    secret = bytearray(row.secret)
    secret[-1] ^= 1
    return bytes(secret)


Tampering = Callable[[Connection, Tenant], bytes]


@pytest.fixture(params=[moved, flipped])
def tampered(request: Any, acme: Tenant, rival: Tenant) -> Callable[[str], Connection]:
    """Makes a connection of acme whose ciphertext is not its own."""

    def make(kind: str) -> Connection:
        row = factories.make_connection(acme, kind)
        with scope.as_tenant(acme):
            row.set_secret(token=SECRET)
            Connection.objects.filter(pk=row.pk).update(secret=request.param(row, rival))
            return Connection.objects.get(pk=row.pk)

    return make


@pytest.fixture
def silent(caplog: Any, settings: Any) -> Iterator[None]:
    """What was logged has nothing of any token. Nothing goes out: nobody listens."""
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.GHL_BASE_URL = settings.INSTAGRAM_BASE_URL = "http://127.0.0.1:9"
    caplog.set_level(logging.DEBUG)
    yield
    assert not any(word in caplog.text for word in ("PLANTED", "rivals-token"))


def shown(text: str) -> bool:
    return "PLANTED" in text or "rivals-token" in text


@pytest.mark.usefixtures("silent")
def test_the_worker_sends_nothing_with_a_strangers_ciphertext(
    acme: Tenant, clock: Any, tampered: Any
) -> None:
    connection = tampered(Connection.Kind.INSTAGRAM)
    account = factories.make_account(acme, connection=connection, next_at=clock.now())
    campaign = factories.make_campaign(acme, state="running", accounts=[account])
    message = factories.make_message(campaign, due_at=clock.now() - timedelta(minutes=1))
    sending.Slice(clock, budget_s=5, stop=lambda: False).run()
    with scope.as_tenant(acme):
        account.refresh_from_db()
        row = Message.objects.get(pk=message.pk)
    assert (account.state, account.block_code) == ("blocked", "credential_unreadable")
    assert (row.state, row.sent_at) == ("queued", None)
    assert not shown(account.block_detail + account.block_sentence + row.error)


@pytest.mark.usefixtures("silent")
def test_the_crm_worker_marks_the_connection_broken(
    acme: Tenant, clock: Any, tampered: Any
) -> None:
    connection = tampered(Connection.Kind.GHL)
    factories.make_sync_item(connection, "lead:1", due_at=clock.now())
    syncing.Slice(clock, budget_s=5, stop=lambda: False).run()
    with scope.as_tenant(acme):
        connection.refresh_from_db()
        item = SyncItem.objects.get()
    assert (connection.state, connection.broken_code) == ("broken", "credential_unreadable")
    assert item.state != "done"
    assert not shown(item.error + connection.trouble_detail)


@pytest.mark.usefixtures("silent")
def test_the_page_refuses_and_marks_it_broken(
    acme: Tenant, alice: Any, browser: Any, tampered: Any
) -> None:
    connection = tampered(Connection.Kind.GHL)
    answer = browser(alice).post(
        reverse("integrations:test", args=["acme", connection.pk]), follow=True
    )
    with scope.as_tenant(acme):
        connection.refresh_from_db()
    assert (connection.state, connection.broken_code) == ("broken", "credential_unreadable")
    assert not shown(answer.content.decode())


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", [Connection.Kind.GHL, Connection.Kind.INSTAGRAM])
def test_the_doctor_says_that_it_does_not_open(acme: Tenant, tampered: Any, kind: str) -> None:
    connection = tampered(kind)
    findings = [str(vars_of(one)) for one in doctor.examine(acme)]
    (mine,) = [one for one in findings if connection.name in one]
    assert "no readable credential" in mine
    assert not any(map(shown, findings))


def vars_of(finding: Any) -> tuple[Any, ...]:
    return tuple(getattr(finding, name) for name in finding.__dataclass_fields__)


# --- Write-only -------------------------------------------------------------------------------


@pytest.fixture
def planted(acme: Tenant, alice: Any) -> Connection:
    """A secret in rows that every address of a test reaches: all have the id 1."""
    connection = factories.make_connection(acme, Connection.Kind.GHL, id=1, name="Clinic")
    with scope.as_tenant(acme):
        connection.set_secret(token=SECRET)
    lead = factories.make_lead(acme, id=1)
    account = factories.make_account(acme, id=1)
    with scope.as_tenant(acme):
        account.connection.set_secret(token=SECRET)
    campaign = factories.make_campaign(acme, id=1, accounts=[account])
    factories.make_message(campaign, lead, "sent", id=1)
    factories.make_sync_item(connection, "lead:1", id=1, state="failed")
    return connection


def test_a_secret_is_on_no_page_of_the_tenant(planted: Any, alice: Any, browser: Any) -> None:
    knocks = browser(alice)
    seen = 0
    for route, pattern in tenant_routes():
        answer = knocks.get(address(route, pattern, "acme"))
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert b"PLANTED" not in content, route
        seen += answer.status_code == 200
    assert seen > 40


def test_a_secret_is_in_no_answer_of_the_api(planted: Any, acme: Tenant) -> None:
    knocks = factories.api_client(factories.make_key(acme))
    seen = 0
    for verb, route, pattern, _right in operations():
        if verb == "get":
            answer = knocks.get(address(route, pattern, "acme"))
            assert b"PLANTED" not in answer.content, route
            seen += answer.status_code == 200
    assert seen > 15


def test_a_secret_is_on_no_page_of_the_admin(planted: Any, browser: Any) -> None:
    knocks = browser(factories.make_user(is_staff=True, is_superuser=True))
    seen = 0
    for route, pattern in routes():
        if is_admin(route):
            path = address(route, pattern, "acme").replace("xyz", "1")
            answer = knocks.get(path)
            assert b"PLANTED" not in answer.content, route
            seen += answer.status_code == 200
    assert seen > 10


def test_a_secret_is_in_no_row_of_text(planted: Any, alice: Any, browser: Any) -> None:
    """Also after the credential was entered through the page: the audit has nothing of it."""
    browser(alice).post(
        reverse("integrations:credential", args=["acme", planted.pk]), {"token": SECRET}
    )
    with scope.as_system("a test looks everywhere"):
        for model in apps.get_models(include_auto_created=True):
            for field in model._meta.concrete_fields:
                if isinstance(field, models.CharField | TextField | models.JSONField):
                    rows = model._base_manager.annotate(as_text=Cast(field.name, TextField()))
                    assert not rows.filter(as_text__icontains="PLANTED").exists(), field
