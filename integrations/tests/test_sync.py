"""The outbox against the sandbox: real HTTP, an injected clock, and a witness that counts."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from agenticos import scope
from agenticos.errors import Refused
from integrations import actions, delivery, tasks
from integrations.answers import NOT_STORED_ATTEMPTS
from integrations.ghl.client import FIELDS
from integrations.models import Connection, SyncItem
from integrations.registry import crm_for
from integrations.tests.outbox import (
    TAGS,
    at_ghl,
    calls,
    contacts,
    creates,
    fresh,
    item,
    set_token,
    stored,
    sync,
    wish,
)
from tenants.models import AuditEntry

State = SyncItem.State

# --- The plain way ----------------------------------------------------------------------------


def test_a_contact_is_created_with_both_tags_and_the_fields(sandbox, line, clock):
    wish(line, clock, text="Oi, Ana\nTudo bem?")
    assert sync(clock) == 1
    (seen,) = contacts(sandbox)
    assert seen["locationId"] == "LOC-acme"
    assert seen["tags"] == TAGS
    assert seen["customFields"] == {
        "instagram_username": "ana",
        "outreach_sent_at": "2026-03-04T15:00:00+00:00",
        "last_outreach_message": "Oi, Ana\nTudo bem?",
        "source_channel": "outbound_instagram_dm",
    }
    done = item(line)
    assert (done.state, done.done_rev, done.attempts) == (State.DONE, done.wanted_rev, 0)
    assert (done.done_at, done.claim_token, done.lease_until) == (clock.now(), "", None)
    assert stored(line).external_id == seen["id"]


def test_field_ids_are_looked_up_once_per_connection(sandbox, line, clock):
    for number in range(6):
        wish(line, clock, number, handle=f"ana{number}")
    sync(clock)
    assert len(contacts(sandbox)) == 6
    assert calls(sandbox) == 5 + 6 * 2  # list, four new fields; create and read back
    fresh(line)
    assert set(line.settings["field_ids"]) == set(FIELDS)
    wish(line, clock, 9, handle="zoe")
    sync(clock)
    assert calls(sandbox) == 5 + 6 * 2 + 2


def test_a_second_wish_updates_the_same_contact_and_keeps_foreign_tags(sandbox, line, clock):
    wish(line, clock)
    sync(clock)
    (seen,) = contacts(sandbox)
    at_ghl(sandbox, "POST", f"/contacts/{seen['id']}/tags", tags=["cliente"])
    clock.move(5)
    wish(line, clock, text="De novo")
    sync(clock)
    (seen,) = contacts(sandbox)
    assert seen["tags"] == [*TAGS, "cliente"]
    assert seen["customFields"]["last_outreach_message"] == "De novo"
    assert item(line).state == State.DONE


def test_a_duplicate_mail_adopts_the_contact_that_is_there(sandbox, line, clock):
    old = at_ghl(
        sandbox, "POST", "/contacts/", locationId="LOC-acme", email="ana@x.example", tags=["vip"]
    )["contact"]
    wish(line, clock, email="ana@x.example")
    sync(clock)
    (seen,) = contacts(sandbox)
    assert seen["id"] == stored(line).external_id == old["id"]
    assert seen["tags"] == ["vip", *TAGS]
    assert seen["customFields"]["source_channel"] == "outbound_instagram_dm"
    assert item(line).state == State.DONE


def test_an_id_from_a_file_is_used_and_one_that_leads_nowhere_is_not(sandbox, line, clock):
    old = at_ghl(sandbox, "POST", "/contacts/", locationId="LOC-acme", firstName="Ana")["contact"]
    wish(line, clock, 1, known_id=old["id"])
    wish(line, clock, 2, known_id="nobody", handle="bia")
    sync(clock)
    assert stored(line, 1).external_id == old["id"]
    assert stored(line, 2).external_id not in ("", "nobody")
    assert len(contacts(sandbox)) == 2
    clock.move(5)
    wish(line, clock, 2, known_id="nobody", handle="bia")
    sync(clock)
    assert len(contacts(sandbox)) == 2


def test_an_id_from_a_file_that_is_another_locations_does_not_break_the_connection(
    sandbox, line, clock
):
    set_token(line, "token@LOC-acme")
    old = at_ghl(sandbox, "POST", "/contacts/", locationId="LOC-other", firstName="X")["contact"]
    wish(line, clock, known_id=old["id"])
    sync(clock)
    fresh(line)
    assert line.state == Connection.State.ACTIVE
    assert [c["locationId"] for c in contacts(sandbox)] == ["LOC-other", "LOC-acme"]
    assert item(line).state == State.DONE


# --- Creates that nobody is sure of -----------------------------------------------------------


@pytest.mark.parametrize(
    "rule", [{"cut": "after"}, {"status": 500, "accept": True}, {"garbage": True}]
)
def test_a_create_that_was_accepted_unheard_is_found_and_not_repeated(sandbox, line, clock, rule):
    sandbox.faults(creates({"next": 1, **rule}))
    wish(line, clock)
    sync(clock)
    waiting = item(line)
    assert (waiting.state, stored(line).external_id) == (State.WAITING, "")
    clock.move(61)
    sync(clock)
    (seen,) = contacts(sandbox)
    assert seen["id"] == stored(line).external_id
    assert item(line).state == State.DONE


@pytest.mark.parametrize("rule", [{"cut": "before"}, {"status": 500}])
def test_a_create_that_was_not_accepted_is_made_once_after_a_minute(sandbox, line, clock, rule):
    sandbox.faults(creates({"next": 1, **rule}))
    wish(line, clock)
    sync(clock)
    clock.move(30)
    sync(clock)
    assert contacts(sandbox) == []
    waiting = item(line)
    assert (waiting.state, waiting.reason) == (State.WAITING, "create_unsure")
    assert waiting.due_at == stored(line).create_begun_at + timedelta(seconds=60)
    clock.move(31)
    sync(clock)
    assert len(contacts(sandbox)) == 1
    assert item(line).state == State.DONE


def test_a_worker_that_died_in_a_create_leaves_one_contact(sandbox, line, clock):
    wish(line, clock)
    with scope.as_tenant(line.tenant_id):
        crm = crm_for(line)
        crm.ensure_fields(FIELDS)
        (held,) = delivery.claim(line.pk, clock.now(), token="dead", owner="gone", limit=9)
        begun = delivery.settle_and_begin(
            [],
            [(held, 1, True)],
            {},
            {line.pk: line.secret_set_at},
            clock.now(),
            token="dead",
        )
        assert begun.calls == {held.id}
    made = crm.create(held.contact)
    clock.move(59)
    assert sync(clock) == 0  # the lease still holds
    assert tasks.next_sync_at() == item(line).lease_until
    clock.move(2)
    sync(clock)
    (seen,) = contacts(sandbox)
    assert seen["id"] == made.external_id == stored(line).external_id
    assert (item(line).state, item(line).lease_owner) == (State.DONE, "")
    # The dead one wakes: it changes nothing, and hears so.
    with scope.as_tenant(line.tenant_id):
        held.external_id, held.dirty = "other", True
        late = delivery.Result(State.FAILED, clock.now(), 1, "late")
        begun = delivery.settle_and_begin(
            [(held, late)], [(held, 1, True)], {}, {}, clock.now(), token="dead"
        )
    assert (begun.calls, begun.lost) == (set(), {held.id})
    assert stored(line).external_id == made.external_id
    assert item(line).state == State.DONE


def test_an_item_that_always_kills_its_worker_ends(sandbox, line, clock, settings):
    wish(line, clock)
    for _ in range(settings.SYNC_MAX_ATTEMPTS):
        with scope.as_tenant(line.tenant_id):
            assert delivery.claim(line.pk, clock.now(), token="dead", owner="gone", limit=9)
        clock.move(settings.LEASE_S)
        assert delivery.take_over(clock.now()) == 1
    assert (item(line).state, item(line).reason) == (State.FAILED, "worker_lost")


# --- Faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "pause"), [(7, 7), (None, 10)])
def test_a_429_pauses_the_connection_and_burns_nothing(sandbox, line, clock, after, pause):
    sandbox.faults(creates({"next": 4, "status": 429, "retry_after": after}))
    for number in range(8):
        wish(line, clock, number, handle=f"ana{number}")
    sync(clock)
    assert contacts(sandbox) == []
    fresh(line)
    # GHL documents no Retry-After: the adapter then waits for its interval, 10 s.
    assert (
        timedelta(seconds=pause) <= line.throttle_at - clock.now() <= timedelta(seconds=pause + 1)
    )
    assert tasks.next_sync_at() == line.throttle_at
    assert {item(line, n).attempts for n in range(8)} == {0}
    clock.move(pause)
    sync(clock, budget_s=3)
    assert len(contacts(sandbox)) == 8
    assert {item(line, n).state for n in range(8)} == {State.DONE}
    fresh(line)
    assert "later_in_row" not in line.settings


def test_a_provider_that_is_not_there_is_asked_less_and_less(sandbox, line, clock, settings):
    settings.GHL_BASE_URL = "http://127.0.0.1:9/ghl"
    wish(line, clock)
    pauses = []
    for _ in range(9):
        sync(clock)
        fresh(line)
        pauses.append(round((line.throttle_at - clock.now()).total_seconds()))
        clock.move(pauses[-1] + 1)
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    waiting = item(line)
    assert (waiting.state, waiting.reason, waiting.attempts) == (State.WAITING, "connect_failed", 0)
    settings.GHL_BASE_URL = sandbox.ghl_url
    sync(clock)
    assert len(contacts(sandbox)) == 1


def test_faults_on_an_update_are_retried_until_they_are_too_many(sandbox, line, clock, settings):
    wish(line, clock)
    sync(clock)
    sandbox.faults([{"provider": "ghl", "method": "PUT", "status": 500}])
    wish(line, clock, text="De novo")
    waits = []
    for _ in range(settings.SYNC_MAX_ATTEMPTS - 1):
        sync(clock)
        assert item(line).state == State.WAITING
        waits.append((item(line).due_at - clock.now()).total_seconds())
        clock.move(waits[-1])
    assert 1.6 <= waits[0] <= 2.4
    assert all(1.3 < later / before < 3.1 for before, later in pairwise(waits))
    sync(clock)
    failed = item(line)
    assert (failed.state, failed.reason) == (State.FAILED, "provider_fault")
    assert "Internal Server Error" in failed.error
    assert tasks.next_sync_at() is None
    sandbox.clear()
    with scope.as_tenant(line.tenant_id):
        actions.retry_sync(failed, by=None, now=clock.now())
        assert AuditEntry.objects.filter(action="sync.retried").count() == 1
        with pytest.raises(Refused):
            actions.retry_sync(failed, by=None, now=clock.now())
    sync(clock)
    assert item(line).state == State.DONE
    assert contacts(sandbox)[0]["customFields"]["last_outreach_message"] == "De novo"


def test_a_503_on_create_asks_for_its_wait_and_leaves_no_doubt(sandbox, line, clock):
    sandbox.faults(creates({"next": 1, "status": 503, "retry_after": 40}))
    wish(line, clock)
    sync(clock)
    waiting = item(line)
    assert waiting.due_at == clock.now() + timedelta(seconds=40)
    assert (waiting.reason, stored(line).create_begun_at) == ("provider_unavailable", None)
    clock.move(40)
    sync(clock)
    assert len(contacts(sandbox)) == 1


def test_a_dead_token_breaks_the_connection_and_burns_nothing(sandbox, line, clock):
    set_token(line, "expired-token-of-acme")
    for number in range(8):
        wish(line, clock, number, handle=f"ana{number}")
    sync(clock)
    fresh(line)
    assert (line.state, line.broken_code) == (Connection.State.BROKEN, "session_invalid")
    assert calls(sandbox) <= 4
    assert {(item(line, n).state, item(line, n).attempts) for n in range(8)} == {(State.WAITING, 0)}
    assert tasks.next_sync_at() is None
    with scope.as_tenant(line.tenant_id):
        assert AuditEntry.objects.filter(action="connection.broken").count() == 1
        # A broken connection still gathers wishes.
        wish(line, clock, 8, handle="zoe")
        set_token(line, "token-of-acme")
    sync(clock, budget_s=5)
    assert len(contacts(sandbox)) == 9
    assert {item(line, n).state for n in range(9)} == {State.DONE}


def test_a_new_token_is_not_called_broken_for_the_old_ones_sake(line):
    before = line.secret_set_at
    with scope.as_tenant(line.tenant_id):
        set_token(line, "token-of-acme-2")
        delivery.refuse_connection(line.pk, "session_invalid", before)
    fresh(line)
    assert line.state == Connection.State.ACTIVE


def test_a_credential_that_does_not_open_breaks_the_connection(sandbox, line, clock):
    with scope.as_tenant(line.tenant_id):
        Connection.objects.filter(pk=line.pk).update(secret=b"\x01broken")
    wish(line, clock)
    sync(clock)
    fresh(line)
    assert line.broken_code == "credential_unreadable"
    assert (item(line).state, item(line).attempts) == (State.WAITING, 0)


def test_a_refused_contact_fails_with_the_providers_words(sandbox, line, clock):
    wish(line, clock, 1, phone="12")
    wish(line, clock, 2, handle="bia")
    sync(clock)
    failed = item(line, 1)
    assert (failed.state, failed.reason) == (State.FAILED, "request_refused")
    assert "Invalid phone number" in failed.error
    assert item(line, 2).state == State.DONE
    # A better wish opens it again.
    clock.move(1)
    wish(line, clock, 1)
    sync(clock)
    assert (item(line, 1).state, len(contacts(sandbox))) == (State.DONE, 2)


def test_a_contact_deleted_in_the_crm_is_created_anew(sandbox, line, clock):
    wish(line, clock)
    sync(clock)
    gone = stored(line).external_id
    at_ghl(sandbox, "DELETE", f"/contacts/{gone}")
    wish(line, clock, text="De novo")
    sync(clock)
    (seen,) = contacts(sandbox)
    assert gone != seen["id"] == stored(line).external_id
    assert seen["tags"] == TAGS


def test_a_field_that_is_silently_dropped_is_noticed(sandbox, line, clock):
    blind = {
        "provider": "ghl",
        "path": "/contacts/.+$",
        "method": "GET",
        "status": 200,
        "body": {"contact": {"id": "c", "tags": TAGS, "customFields": []}},
    }
    sandbox.faults([blind])
    wish(line, clock)
    for _ in range(NOT_STORED_ATTEMPTS):
        assert item(line).state == State.WAITING
        sync(clock)
        clock.move(30)
    failed = item(line)
    assert (failed.state, failed.reason) == (State.FAILED, "not_stored")
    assert "source_channel" in failed.error
    assert len(contacts(sandbox)) == 1


def test_fields_that_were_made_again_get_their_new_ids(sandbox, line, clock):
    with scope.as_tenant(line.tenant_id):
        line.settings["field_ids"] = dict.fromkeys(FIELDS, "stale")
        line.save(update_fields=["settings"])
    refusal = {"statusCode": 422, "message": ["customFields.0.id is invalid"]}
    sandbox.faults(creates({"next": 1, "status": 422, "body": refusal}))
    wish(line, clock)
    sync(clock)
    (seen,) = contacts(sandbox)
    assert seen["customFields"]["source_channel"] == "outbound_instagram_dm"
    fresh(line)
    assert "stale" not in line.settings["field_ids"].values()


def test_whatever_the_provider_does_each_contact_is_there_once(sandbox, line, clock):
    sandbox.faults(
        [
            {"provider": "ghl", "path": "/contacts/", "probability": 0.06, **rule}
            for rule in (
                {"cut": "before"},
                {"cut": "after"},
                {"status": 500},
                {"status": 502, "accept": True},
                {"status": 503},
                {"status": 429},
                {"garbage": True},
            )
        ]
    )
    numbers = range(40)
    for number in numbers:
        wish(line, clock, number, handle=f"ana{number}")
    for _ in range(60):
        sync(clock, budget_s=3)
        if (due := tasks.next_sync_at()) is None:
            break
        clock.move(max((due - clock.now()).total_seconds(), 0))
    assert {item(line, n).state for n in numbers} == {State.DONE}
    assert sorted(seen["firstName"] for seen in contacts(sandbox)) == sorted(
        f"Ana{number}" for number in numbers
    )
    assert all(seen["tags"] == TAGS for seen in contacts(sandbox))
