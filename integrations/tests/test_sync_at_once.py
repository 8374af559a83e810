"""The outbox with many items, connections, tenants and workers at once."""

from __future__ import annotations

import threading

import pytest
from django.db import connection as database

from agenticos import scope
from integrations import delivery, syncing, tasks
from integrations.actions import Wish, want_contacts
from integrations.models import Connection, SyncItem
from integrations.tests.outbox import (
    calls,
    contact,
    contacts,
    fresh,
    item,
    make_line,
    set_token,
    sync,
    wish,
)
from tenants.models import Tenant

State = SyncItem.State


def test_a_wish_made_during_the_flight_is_delivered_after(sandbox, line, clock):
    class Changing(syncing.Slice):
        changed = False

        def _collect(self, finished):
            if not self.changed:
                self.changed = True
                wish(line, clock, text="Depois")
                assert item(line).state == State.CLAIMED
            super()._collect(finished)

    wish(line, clock, text="Antes")
    first = item(line).wanted_rev
    sync(clock, kind=Changing)
    assert item(line).wanted_rev == first + 1  # the same microsecond, and still later
    assert (item(line).state, item(line).done_rev) == (State.DONE, first + 1)
    (seen,) = contacts(sandbox)
    assert seen["customFields"]["last_outreach_message"] == "Depois"


def test_one_tenants_trouble_is_no_other_tenants(sandbox, line, clock):
    rival = make_line("globex")
    set_token(line, "expired-token-of-acme")
    for number in range(4):
        wish(line, clock, number)
        wish(rival, clock, number, handle=f"bia{number}")
    sync(clock)
    assert {seen["locationId"] for seen in contacts(sandbox)} == {"LOC-globex"}
    assert {item(rival, n).state for n in range(4)} == {State.DONE}
    assert {item(line, n).state for n in range(4)} == {State.WAITING}
    fresh(rival)
    assert rival.state == Connection.State.ACTIVE


def test_every_connection_of_the_tenant_hears_and_those_switched_off_do_not(sandbox, line, clock):
    second = make_line(tenant=line.tenant, location="LOC-2")
    off = make_line(tenant=line.tenant, location="LOC-3")
    with scope.as_tenant(line.tenant_id):
        Connection.objects.filter(pk=off.pk).update(state=Connection.State.OFF)
    wish(line, clock)
    sync(clock)
    assert {seen["locationId"] for seen in contacts(sandbox)} == {"LOC-acme", "LOC-2"}
    assert item(second).state == State.DONE
    with scope.as_system("test"):
        assert not SyncItem.objects.filter(connection=off).exists()


def test_a_connection_switched_off_in_between_is_called_no_more(sandbox, line, clock):
    class Off(syncing.Slice):
        def _claim(self):
            found = super()._claim()
            with scope.as_system("test"):
                Connection.objects.update(state=Connection.State.OFF)
            return found

    wish(line, clock)
    sync(clock, kind=Off)
    assert calls(sandbox) == 0
    assert (item(line).state, item(line).claim_token) == (State.WAITING, "")


@pytest.mark.parametrize("number", [1, 8, 60])
def test_wishes_cost_one_statement(line, clock, number, django_assert_num_queries):
    wishes = [Wish(f"lead:{n}", "", contact()) for n in range(number)]
    with scope.as_tenant(line.tenant_id):
        for _ in range(2):
            with django_assert_num_queries(1):
                want_contacts(wishes, clock.now())
        assert SyncItem.objects.filter(state=State.WAITING, due_at=clock.now()).count() == number


def test_without_a_crm_wishes_are_forgotten_in_one_statement(db, clock, django_assert_num_queries):
    with scope.as_tenant(Tenant.objects.create(slug="bare", name="Bare")):
        with django_assert_num_queries(1):
            want_contacts([Wish("lead:1", "", contact())], clock.now())
        assert not SyncItem.objects.exists()


def test_calls_keep_to_the_published_rate(sandbox, line, clock):
    with scope.as_tenant(line.tenant_id):
        Connection.objects.filter(pk=line.pk).update(settings={})
    for number in range(60):
        wish(line, clock, number, handle=f"ana{number}")
    began = clock.now()
    assert sync(clock, budget_s=20) == 60
    made = calls(sandbox)
    assert made == 5 + 60 * 2
    took = (clock.now() - began).total_seconds()
    least = (made - delivery.BURST) / delivery.CALLS_PER_S
    assert least <= took <= least + 2
    assert delivery.BURST + 10 * delivery.CALLS_PER_S <= 100


def test_a_slice_gives_way_and_gives_back(sandbox, line, clock):
    with scope.as_tenant(line.tenant_id):
        Connection.objects.filter(pk=line.pk).update(settings={"calls_per_s": 1})
    for number in range(12):
        wish(line, clock, number, handle=f"ana{number}")
    before = clock.now()
    sync(clock, budget_s=20, others_wait=lambda: True)
    assert clock.now() == before  # it slept not once
    states = [item(line, n).state for n in range(12)]
    assert set(states) <= {State.DONE, State.WAITING}
    assert 0 < len(contacts(sandbox)) < 12
    assert sync(clock, budget_s=60) > 0
    assert {item(line, n).state for n in range(12)} == {State.DONE}


def test_an_item_that_outlived_its_lease_in_the_slice_is_not_delivered_twice(
    sandbox, line, clock, settings
):
    with scope.as_tenant(line.tenant_id):
        Connection.objects.filter(pk=line.pk).update(settings={"calls_per_s": 0.2})
    for number in range(8):
        wish(line, clock, number, handle=f"ana{number}")
    sync(clock, budget_s=4 * settings.LEASE_S)
    assert len(contacts(sandbox)) == 8
    assert {(item(line, n).state) for n in range(8)} == {State.DONE}


def test_two_workers_that_make_the_same_field_do_not_hinder_each_other(sandbox, line, clock):
    sandbox.faults(
        [
            {
                "provider": "ghl",
                "path": "/customFields$",
                "method": "POST",
                "next": 1,
                "status": 400,
                "body": {"statusCode": 400, "message": "contact.x already exists."},
            }
        ]
    )
    wish(line, clock)
    assert sync(clock) == 1
    assert len(contacts(sandbox)) == 1


def test_a_stop_leaves_nothing_in_flight(sandbox, line, clock):
    for number in range(8):
        wish(line, clock, number, handle=f"ana{number}")
    asked = iter(range(100))
    syncing.Slice(clock, budget_s=9, stop=lambda: next(asked) > 12).run()
    assert {item(line, n).state for n in range(8)} <= {State.DONE, State.WAITING}
    assert any(item(line, n).state == State.WAITING for n in range(8))
    clock.move(61)
    sync(clock)
    assert len(contacts(sandbox)) == 8


def test_the_task_rings_again_only_when_work_remains(
    sandbox, line, clock, rung, settings, monkeypatch
):
    monkeypatch.setattr(tasks, "Clock", lambda: clock)
    wish(line, clock)
    settings.SLICE_BUDGET_S = 0
    tasks.sync_slice()
    assert rung == [("integrations.tasks.sync_slice", ())]
    settings.SLICE_BUDGET_S = 5
    rung.clear()
    tasks.sync_slice()
    assert rung == []
    assert item(line).state == State.DONE


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_slices_at_once_deliver_each_item_once(sandbox, clock):
    line = make_line()
    with scope.as_tenant(line.tenant_id):
        want_contacts(
            [Wish(f"lead:{n}", "", contact(handle=f"ana{n}")) for n in range(120)], clock.now()
        )
    settled = []

    def work():
        try:
            settled.append(sync(clock, budget_s=60))
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(settled) == 120
    assert len(contacts(sandbox)) == 120
    with scope.as_system("test"):
        assert not SyncItem.objects.exclude(state=State.DONE).exists()
