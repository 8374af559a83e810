"""Connections, the sync log and its dead letters, as people see and work them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import (
    make_account,
    make_connection,
    make_lead,
    make_member,
    make_sync_item,
)
from integrations import actions, telling
from integrations.models import Connection, ExternalId, SyncItem
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
GHL = Connection.Kind.GHL
State = SyncItem.State
WORDS = "GoHighLevel refused the e-mail address."


def url(name, tenant, *args):
    return reverse(f"integrations:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def fresh(row):
    """The row as it is stored now."""
    with scope.as_tenant(row.tenant_id):
        row.refresh_from_db()
    return row


def make_line(tenant, **fields):
    return make_connection(tenant, GHL, **{"name": "Clinic", **fields})


def make_failed(line, number=1, **fields):
    return make_sync_item(
        line,
        f"lead:{number}",
        **{
            "wanted": {"handle": f"ana{number}", "first_name": "Ana", "tags": ["prospectado"]},
            "state": State.FAILED,
            "reason": "email_refused",
            "sentence": WORDS,
            "error": "email must be an email",
            "attempts": 3,
            "due_at": timezone.now() - timedelta(hours=2),
            **fields,
        },
    )


# --- Connections ------------------------------------------------------------------------------


def test_without_a_crm_the_page_says_what_to_do_next(acme, alice, browser):
    page = text(browser(alice).get(url("list", acme)))
    assert "No CRM is connected" in page
    assert url("add", acme) in page


def test_a_connection_shows_its_state_its_rate_and_links_its_numbers(acme, alice, browser):
    line = make_line(acme, external_id="LOC-1")
    make_failed(line)
    make_sync_item(line, "lead:2")
    make_sync_item(line, "lead:3", state=State.DONE)
    page = text(browser(alice).get(url("list", acme)))
    assert "LOC-1" in page
    assert "20 of 20" in page
    for state, address in (
        ("waiting", url("outbox", acme) + "?state=waiting"),
        ("done", url("outbox", acme) + "?state=done"),
        ("failed", url("dead-letters", acme)),
    ):
        assert f'<a href="{address}"' in page, state


def test_the_last_error_is_shown_in_the_providers_words(acme, alice, browser):
    line = make_line(acme)
    with scope.as_tenant(acme):
        Connection.objects.filter(pk=line.pk).update(
            state="broken",
            trouble_at=timezone.now(),
            trouble_code="agency_token",
            trouble_sentence="This is an agency's GoHighLevel token. Enter one made inside the "
            "location.",
            trouble_detail="Token's user type mismatch!",
        )
    page = text(browser(alice).get(url("list", acme)))
    assert "made inside the location" in page
    assert "user type mismatch!" in page
    assert "no longer takes this credential" in page


def test_a_page_polls_only_while_something_is_on_its_way(acme, alice, browser):
    line = make_line(acme)
    item = make_failed(line)
    addresses = [url("list", acme), url("outbox", acme), url("item", acme, item.pk)]
    client = browser(alice)
    assert not any("every 5s" in text(client.get(address)) for address in addresses)
    with scope.as_tenant(acme):
        SyncItem.objects.update(state=State.WAITING)
    assert all("every 5s" in text(client.get(address)) for address in addresses)
    with scope.as_tenant(acme):
        Connection.objects.update(state="off")
    assert not any("every 5s" in text(client.get(address)) for address in addresses)


def test_an_instagram_connection_leads_to_its_account(acme, alice, browser):
    account = make_account(acme)
    page = text(browser(alice).get(url("list", acme)))
    address = reverse("accounts:of-connection", args=[acme.slug, account.connection_id])
    assert address in page
    assert browser(alice).post(url("test", acme, account.connection_id)).status_code == 404
    assert browser(alice).get(address)["Location"] == reverse(
        "accounts:detail", args=[acme.slug, account.pk]
    )


def test_a_connection_is_switched_off_and_on(acme, alice, browser):
    line = make_line(acme)
    client = browser(alice)
    asked = text(client.get(url("off", acme, line.pk)))
    assert "Switch “Clinic” off?" in asked
    assert "not noted for this location at all" in asked
    for verb, state in (("off", "off"), ("on", "active")):
        client.post(url(verb, acme, line.pk))
        fresh(line)
        assert line.state == state
    assert "The connection is on already" not in text(client.get(url("list", acme)))
    page = text(client.post(url("on", acme, line.pk), follow=True))
    assert "This connection is on already." in page
    with scope.as_tenant(acme):
        actions_ = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"connection.switched_off", "connection.switched_on"} <= actions_


def test_a_manager_sees_connections_and_may_not_change_credentials(acme, browser):
    line = make_line(acme)
    client = browser(make_member(acme, "manager").user)
    page = text(client.get(url("list", acme)))
    assert "It takes: Owner." in page
    assert client.post(url("credential", acme, line.pk)).status_code == 403
    assert client.get(url("add", acme)).status_code == 403


# --- The sync log -----------------------------------------------------------------------------


def test_the_log_filters_by_state_and_searches_by_lead(acme, alice, browser):
    line = make_line(acme)
    make_failed(line)
    make_sync_item(line, "lead:2", wanted={"handle": "bruno"})
    client = browser(alice)
    assert "@ana1" in (everything := text(client.get(url("outbox", acme))))
    assert "@bruno" in everything
    failed = text(client.get(url("outbox", acme) + "?state=failed"))
    assert "@ana1" in failed
    assert "@bruno" not in failed
    assert WORDS in failed
    assert "email must be an email" in failed
    found = text(client.get(url("outbox", acme) + "?q=@BRUNO"))
    assert "@bruno" in found
    assert "@ana1" not in found
    assert "Nothing matches" in text(client.get(url("outbox", acme) + "?q=nobody"))
    assert "Nothing matches" in text(client.get(url("outbox", acme) + "?q=a%00b"))


def test_the_tabs_count_what_they_show(acme, alice, browser):
    line = make_line(acme)
    for number in range(3):
        make_failed(line, number)
    make_sync_item(line, "lead:9", state=State.DONE)
    response = browser(alice).get(url("outbox", acme))
    for state, _label, count in response.context["tabs"]:
        shown = browser(alice).get(url("outbox", acme), {"state": state})
        assert len(shown.context["rows"]) == count


def test_an_empty_log_says_what_will_stand_there(acme, alice, browser):
    assert "Nothing to deliver yet" in text(browser(alice).get(url("outbox", acme)))


def test_a_waiting_entry_says_what_it_waits_for(acme, alice, browser):
    line = make_line(acme)
    make_sync_item(line, "lead:1", wanted={"handle": "ana"}, due_at=timezone.now())
    client = browser(alice)
    assert "due now" in text(client.get(url("outbox", acme)))
    with scope.as_tenant(acme):
        line.mark_broken("session_invalid")
    assert "until the connection has a working credential" in text(client.get(url("outbox", acme)))


def test_an_entry_shows_what_is_wanted_and_what_was_delivered(acme, alice, browser):
    line = make_line(acme)
    lead = make_lead(acme, "ana")
    item = make_failed(
        line,
        lead.pk,
        done={"handle": "ana1", "fields": {"source_channel": "instagram"}},
        done_at=timezone.now(),
        wanted={"handle": "ana1", "email": "new@example.com", "fields": {"source_channel": "dm"}},
    )
    with scope.as_tenant(acme):
        ExternalId.objects.create(
            tenant=acme, connection=line, key=item.key, external_id="contact-77"
        )
    page = text(browser(alice).get(url("item", acme, item.pk)))
    for words in ("new@example.com", "instagram", "dm", "contact-77", WORDS, "email must be"):
        assert words in page
    assert reverse("leads:detail", args=[acme.slug, lead.pk]) in page
    assert "Writes to the contact contact-77" in page
    changed = {row.label for row in telling.lines(item) if row.differs}
    assert changed == {"E-mail", "Channel"}


def test_a_failed_entry_is_retried_once(acme, alice, browser, rung):
    line = make_line(acme)
    item = make_failed(line)
    client = browser(alice, htmx="main")
    response = client.post(url("retry", acme, item.pk))
    assert "sync-changed" in response["HX-Trigger"]
    fresh(item)
    assert (item.state, item.attempts, item.reason) == ("waiting", 0, "")
    assert "Only an entry that has failed" in text(client.post(url("retry", acme, item.pk)))
    with scope.as_tenant(acme):
        assert AuditEntry.objects.filter(action="sync.retried").count() == 1


def test_all_failed_entries_of_a_filter_are_retried(acme, alice, browser):
    line = make_line(acme)
    items = [make_failed(line, number) for number in range(3)]
    other = make_failed(line, 7, reason="phone_refused")
    client = browser(alice)
    address = url("retry-all", acme) + "?reason=email_refused"
    assert "Try 3 failed entries again?" in text(client.get(address))
    assert "3 entries are tried again." in text(client.post(address, follow=True))
    with scope.as_tenant(acme):
        assert SyncItem.objects.filter(state=State.WAITING).count() == len(items)
        entry = AuditEntry.objects.get(action="sync.retried_many")
    assert entry.data == {"entries": 3}
    fresh(other)
    assert other.state == State.FAILED


def test_a_bulk_retry_has_a_bound(acme, alice, in_tenant):
    line = make_line(acme)
    for number in range(3):
        make_failed(line, number)
    in_tenant(acme)
    dead = actions.dead(acme)
    assert actions.retry_many(acme, dead, by=alice, now=timezone.now(), limit=2) == 2
    assert dead.count() == 1


# --- Dead letters -----------------------------------------------------------------------------


def test_dead_letters_are_grouped_by_error(acme, alice, browser):
    line = make_line(acme)
    for number in range(2):
        make_failed(line, number)
    make_failed(line, 7, reason="phone_refused", sentence="", error="")
    client = browser(alice)
    page = client.get(url("dead-letters", acme))
    groups = page.context["groups"]
    assert [(g.reason, g.count, g.attempts) for g in groups] == [
        ("email_refused", 2, 3),
        ("phone_refused", 1, 3),
    ]
    assert "2 h ago" in text(page)
    for group in groups:
        shown = client.get(url("dead-letters", acme), {"reason": group.reason})
        assert len(shown.context["rows"]) == group.count


def test_no_dead_letter_is_good_news(acme, alice, browser):
    assert "No dead letters" in text(browser(alice).get(url("dead-letters", acme)))


def test_a_dead_letter_is_replayed_after_saying_what_that_does(acme, alice, browser):
    line = make_line(acme)
    item = make_failed(line)
    with scope.as_tenant(acme):
        ExternalId.objects.create(
            tenant=acme, connection=line, key=item.key, create_begun_at=timezone.now()
        )
    client = browser(alice, htmx="dialog-body")
    asked = text(client.get(url("replay", acme, item.pk)))
    assert "Searches for the contact first" in asked
    assert "No message is sent to anybody." in asked
    client.post(url("replay", acme, item.pk))
    fresh(item)
    assert item.state == State.WAITING
    assert "no dead letter any more" in text(client.post(url("replay", acme, item.pk)))


def test_a_dead_letter_is_discarded_with_a_reason_and_can_come_back(acme, alice, browser):
    item = make_failed(make_line(acme))
    client = browser(alice)
    page = client.post(url("discard", acme, item.pk), {"reason": " "}, follow=True)
    assert "Say in a few words" in text(page)
    fresh(item)
    assert item.state == State.FAILED
    page = client.post(url("discard", acme, item.pk), {"reason": "Moved away"}, follow=True)
    assert "Moved away" in text(page)
    assert "Discarded by a person" in text(page)
    with scope.as_tenant(acme):
        assert not actions.dead(acme).exists()
        entry = AuditEntry.objects.get(action="dead_letter.discarded")
    assert "Moved away" not in str(entry.data)
    client.post(url("replay", acme, item.pk))
    fresh(item)
    assert (item.state, item.discard_reason) == (State.WAITING, "")


def test_a_newer_wish_takes_a_discarded_ones_place(acme, alice, in_tenant):
    line = make_line(acme)
    item = make_failed(line)
    in_tenant(acme)
    actions.discard_dead(item, "Moved away", by=alice, now=timezone.now())
    wish = actions.Wish(key=item.key, known_id="", contact={"handle": "ana1"})
    actions.want_contacts([wish], timezone.now())
    fresh(item)
    assert (item.state, item.discard_reason) == (State.WAITING, "")
    with pytest.raises(Refused, match="no dead letter"):
        actions.discard_dead(item, "Again", by=alice, now=timezone.now())


def test_an_error_group_is_replayed_as_a_whole(acme, alice, browser):
    line = make_line(acme)
    for number in range(2):
        make_failed(line, number)
    make_failed(line, 7, reason="phone_refused")
    client = browser(alice)
    address = url("replay-group", acme) + "?reason=email_refused"
    assert "Try 2 failed entries again?" in text(client.get(address))
    client.post(address)
    with scope.as_tenant(acme):
        assert [item.reason for item in actions.dead(acme)] == ["phone_refused"]


# --- Doors ------------------------------------------------------------------------------------


def test_the_rivals_owner_finds_none_of_it(acme, rival, charlie, browser):
    line = make_line(acme)
    item = make_failed(line)
    client = browser(charlie)
    for name in ("test", "credential", "off", "on"):
        assert client.post(url(name, rival, line.pk)).status_code == 404
    for name in ("retry", "replay", "discard"):
        assert client.post(url(name, rival, item.pk)).status_code == 404
    assert client.get(url("item", rival, item.pk)).status_code == 404
    assert "@ana1" not in text(client.get(url("outbox", rival)))
    client.post(url("replay-group", rival))
    fresh(item)
    assert item.state == State.FAILED


def test_a_viewer_does_not_come_in(acme, vera, browser):
    item = make_failed(make_line(acme))
    client = browser(vera)
    for name in ("list", "outbox", "dead-letters"):
        assert client.get(url(name, acme)).status_code == 403
    assert client.post(url("replay", acme, item.pk)).status_code == 403


# --- Queries ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["list", "outbox", "dead-letters"])
def test_a_page_costs_the_same_however_many_rows_it_has(
    acme, alice, browser, name, django_assert_num_queries
):
    client = browser(alice)

    def fill(first, last):
        for number in range(first, last):
            line = make_line(acme, name=f"Clinic {number}")
            make_failed(line, number, reason=f"reason {number % 5}")
            make_sync_item(line, f"lead:{number}00")

    fill(0, 3)
    client.get(url(name, acme))
    with CaptureQueriesContext(connection) as few:
        client.get(url(name, acme))
    fill(3, 30)
    with django_assert_num_queries(len(few)):
        client.get(url(name, acme))
    assert len(few) <= 14
