"""Credentials through the pages, against the sandbox: what each fault says, and what is stored."""

from __future__ import annotations

import logging
import socket

import pytest
from django.urls import reverse

from agenticos import scope
from agenticos.tests.factories import make_connection, make_tenant
from integrations import syncing, telling
from integrations.actions import Wish, want_contacts
from integrations.models import Connection, SyncItem
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
GHL = Connection.Kind.GHL
TOKEN = "pit-0123456789-secret-token-of-acme"
NEW_TOKEN = "pit-9876543210-another-secret-token"
# What goes wrong, as a fault rule of the sandbox, and a piece of the sentence on the page.
FAULTS = [
    ({"status": 429}, "asks for a slower pace. Wait a minute"),
    ({"status": 500}, "a fault of its own, so the test says nothing"),
    ({"status": 503}, "not available right now"),
    ({"garbage": True}, "answer could not be read"),
    ({"cut": "before"}, "connection broke before an answer came"),
    ({"expired_token": True}, "does not accept this token"),
]


def url(name, tenant, *args):
    return reverse(f"integrations:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def entered(**changes):
    return {"name": "Clinic", "external_id": "LOC-acme", "token": TOKEN, **changes}


def lines(tenant):
    with scope.as_tenant(tenant):
        return list(Connection.objects.order_by("pk"))


def fault(sandbox, **rule):
    sandbox.faults([{"provider": "ghl", **rule}])


def closed_port():
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def test_a_location_is_tried_out_then_stored_sealed(acme, alice, browser, sandbox):
    page = browser(alice).post(url("add", acme), entered(), follow=True)
    assert "GoHighLevel calls it" in text(page)
    [line] = lines(acme)
    assert (line.state, line.external_id, line.secret_last_four) == ("active", "LOC-acme", "acme")
    assert TOKEN.encode() not in bytes(line.secret)
    with scope.as_tenant(acme):
        assert line.reveal() == {"token": TOKEN}
    assert line.ok_at
    assert sandbox.state()["counts"]["requests"] == {"ghl": 1}


@pytest.mark.parametrize(("rule", "words"), FAULTS, ids=lambda value: str(value)[:24])
def test_a_token_that_cannot_be_tried_out_is_not_stored(acme, alice, browser, sandbox, rule, words):
    fault(sandbox, **rule)
    response = browser(alice).post(url("add", acme), entered())
    assert response.status_code == 200
    assert "Nothing was stored." in text(response)
    assert words in text(response)
    assert TOKEN not in text(response)
    assert lines(acme) == []


def test_the_providers_own_words_are_shown_without_the_token(acme, alice, browser, sandbox):
    fault(sandbox, status=400, body={"message": f"no such location for {TOKEN}"})
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "no such location for" in page
    assert TOKEN not in page


def test_silence_ends_after_a_moment_and_says_so(acme, alice, browser, sandbox, settings):
    settings.HTTP_TIMEOUT_S = 0.3
    fault(sandbox, delay_ms=1500)
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "did not answer in time" in page
    assert lines(acme) == []


def test_a_provider_that_cannot_be_reached_is_named(acme, alice, browser, sandbox, settings):
    settings.GHL_BASE_URL = f"http://127.0.0.1:{closed_port()}/ghl"
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "could not be reached" in page
    assert lines(acme) == []


def test_a_token_of_an_agency_is_refused_with_what_to_do(acme, alice, browser, sandbox):
    page = text(browser(alice).post(url("add", acme), entered(token="agency-0123456789-token")))
    assert "made inside the location" in page
    assert lines(acme) == []


def test_what_was_typed_wrong_is_said_before_anybody_is_called(acme, alice, browser, sandbox):
    client = browser(alice)
    page = text(client.post(url("add", acme), entered(token="two words", external_id="a b")))
    assert "A token has no spaces" in page
    assert "without spaces" in page
    assert "two words" not in page
    assert sandbox.state()["counts"]["requests"] == {}


def test_a_location_answers_to_one_tenant_and_nobody_is_named(acme, alice, browser, sandbox):
    make_connection(make_tenant("other"), GHL, external_id="LOC-acme")
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "This account is connected already." in page
    assert "other" not in page.split("<main")[1].split("</main>")[0].lower().replace("another", "")
    assert lines(acme) == []


def test_a_new_token_replaces_the_old_and_heals_the_connection(acme, alice, browser, sandbox):
    line = make_connection(acme, GHL, external_id="LOC-acme")
    with scope.as_tenant(acme):
        line.mark_broken("session_invalid")
    client = browser(alice)
    fault(sandbox, expired_token=True)
    page = text(client.post(url("credential", acme, line.pk), {"token": NEW_TOKEN}))
    assert "Nothing was stored." in page
    [line] = lines(acme)
    assert (line.state, line.secret_last_four) == ("broken", line.secret_last_four)
    with scope.as_tenant(acme):
        assert line.reveal()["token"] != NEW_TOKEN
    sandbox.clear()
    page = text(client.post(url("credential", acme, line.pk), {"token": NEW_TOKEN}, follow=True))
    assert "The new token works" in page
    [line] = lines(acme)
    with scope.as_tenant(acme):
        assert (line.state, line.reveal()["token"]) == ("active", NEW_TOKEN)


def test_a_switched_off_connection_gets_its_token_and_stays_off(acme, alice, browser, sandbox):
    line = make_connection(acme, GHL, external_id="LOC-acme", state="off")
    with scope.as_tenant(acme):
        Connection.objects.update(state="off")
    browser(alice).post(url("credential", acme, line.pk), {"token": NEW_TOKEN})
    assert [line.state for line in lines(acme)] == ["off"]


def test_a_test_notes_success_and_trouble(acme, alice, browser, sandbox):
    line = make_connection(acme, GHL, external_id="LOC-acme")
    client = browser(alice)
    page = text(client.post(url("test", acme, line.pk), follow=True))
    assert "It works: GoHighLevel answers as" in page
    assert lines(acme)[0].ok_at
    fault(sandbox, status=500)
    page = text(client.post(url("test", acme, line.pk), follow=True))
    assert "a fault of its own" in page
    [line] = lines(acme)
    # Their fault says nothing about our credential.
    assert (line.state, line.trouble_code) == ("active", "provider_fault")
    fault(sandbox, expired_token=True)
    client.post(url("test", acme, line.pk))
    assert lines(acme)[0].state == "broken"
    sandbox.clear()
    client.post(url("test", acme, line.pk))
    assert lines(acme)[0].state == "active"
    with scope.as_tenant(acme):
        done = list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))
    assert done == ["connection.broken", "connection.mended"]


def test_a_credential_that_does_not_open_is_told_and_nobody_is_called(
    acme, alice, browser, sandbox
):
    line = make_connection(acme, GHL, external_id="LOC-acme")
    with scope.as_tenant(acme):
        Connection.objects.update(secret=b"\x01garbage")
    page = text(browser(alice).post(url("test", acme, line.pk), follow=True))
    assert "cannot be opened" in page
    assert sandbox.state()["counts"]["requests"] == {}


# --- What deliveries leave on the connection ---------------------------------------------------


def deliver(tenant, clock):
    with scope.as_tenant(tenant):
        wish = Wish("lead:1", "", {"handle": "ana", "tags": ["vip"], "fields": {"city": "Rio"}})
        want_contacts([wish], clock.now())
    syncing.Slice(clock, budget_s=1).run()
    with scope.as_tenant(tenant):
        return SyncItem.objects.select_related("connection").get()


def test_a_delivery_keeps_what_was_done_and_when(acme, sandbox, clock):
    make_connection(acme, GHL, external_id="LOC-acme")
    item = deliver(acme, clock)
    assert (item.state, item.connection.trouble_code) == ("done", "")
    assert item.connection.ok_at == item.done_at
    assert item.done["fields"] == {"city": "Rio"}
    assert not any(line.differs for line in telling.lines(item))


def test_a_delivery_that_fails_keeps_the_providers_words(acme, sandbox, clock):
    make_connection(acme, GHL, external_id="LOC-acme")
    fault(sandbox, status=429, body={"message": "Too Many Requests today"})
    item = deliver(acme, clock)
    assert (item.state, item.done) == ("waiting", None)
    line = item.connection
    assert (line.trouble_code, line.ok_at) == ("rate_limited", None)
    assert "Too Many Requests today" in line.trouble_detail
    assert line.last_went_wrong


def test_a_delivery_that_is_refused_breaks_the_connection_with_words(acme, sandbox, clock):
    make_connection(acme, GHL, external_id="LOC-acme")
    fault(sandbox, expired_token=True)
    line = deliver(acme, clock).connection
    assert (line.state, line.trouble_code) == ("broken", line.broken_code)
    assert "no longer accepts the token" in line.trouble


def test_no_page_log_or_audit_entry_holds_a_token(acme, alice, browser, sandbox, caplog):
    caplog.set_level(logging.DEBUG)
    client = browser(alice)
    pages = [client.post(url("add", acme), entered(), follow=True)]
    [line] = lines(acme)
    fault(sandbox, status=400, body={"message": f"bad {TOKEN} or {NEW_TOKEN}"})
    pages.append(client.post(url("credential", acme, line.pk), {"token": NEW_TOKEN}))
    pages.append(client.post(url("test", acme, line.pk), follow=True))
    pages += [client.get(url(name, acme)) for name in ("list", "add", "outbox", "dead-letters")]
    pages.append(client.get(url("credential", acme, line.pk)))
    with scope.as_tenant(acme):
        entries = str(list(AuditEntry.objects.values()))
        row = str(Connection.objects.values("trouble_detail", "known_as", "settings").get())
    for secret in (TOKEN, NEW_TOKEN):
        assert not any(secret in text(page) for page in pages)
        for kept in (entries, row, caplog.text):
            assert secret not in kept
