"""Claims whose worker died, froze or was asked to stop, and wake-ups that got lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from agenticos import clock as clocks, scope
from agenticos.tests.factories import (
    make_account,
    make_tenant,
)
from campaigns import actions, health, ledger, sending, settling
from campaigns.codes import Code
from campaigns.models import SendingAccount
from campaigns.tests.running import counts, rows, running, states, usage_of
from campaigns.tests.wires import Wire, work

pytestmark = pytest.mark.django_db


@pytest.fixture
def wire():
    return Wire()


def claimed(acme, clock, wire, **options):
    """A campaign of one row that another worker has claimed, and that worker."""
    campaign = running(acme, clock, leads=1, **options)
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)
    turn._claim()
    assert states(campaign) == ["claimed"]
    return campaign, turn


def dispatched(acme, clock, wire):
    """A campaign whose claimed rows are marked as about to be called."""
    campaign, turn = claimed(acme, clock, wire)
    with scope.as_tenant(acme):
        settling.settle_and_mark(
            [], list(turn.ready), clock.now(), token=turn.token, owner="x", more=frozenset()
        )
    return campaign


def test_a_claim_whose_worker_died_before_the_call_is_queued_again(acme, clock, wire):
    campaign, _ = claimed(acme, clock, wire)
    assert settling.reap(clock.now()) == 0
    clock.move(django_settings.LEASE_S)
    assert settling.reap(clock.now()) == 1
    assert counts(campaign) == {"queued": 1}
    assert all(usage.used == 0 for usage in usage_of(acme))
    work(clock, wire)
    assert counts(campaign) == {"sent": 1}


def test_a_claim_whose_worker_died_in_the_call_is_unknown_with_a_reason(acme, clock, wire):
    campaign = dispatched(acme, clock, wire)
    clock.move(django_settings.LEASE_S)
    settling.reap(clock.now())
    assert [(row.state, row.reason) for row in rows(campaign)] == [("unknown", Code.WORKER_LOST)]
    assert counts(campaign) == {"unknown": 1}


def test_a_worker_that_was_frozen_past_its_lease_sends_nothing(acme, clock, wire, monkeypatch):
    campaign, turn = claimed(acme, clock, wire)
    # It wakes an hour later, by the clock that counts suspended time.
    real = clocks.counted
    monkeypatch.setattr(sending.clocks, "counted", lambda: real() + 3600)
    held = turn.ready[0]
    assert sending.send(held, wire.of(make_account(acme)), lambda: False).called is False
    assert not wire.sent
    assert states(campaign) == ["claimed"]


def test_a_late_worker_records_nothing_over_the_new_owner(acme, clock, wire):
    campaign, turn = claimed(acme, clock, wire)
    late = list(turn.ready)
    clock.move(django_settings.LEASE_S)
    settling.reap(clock.now())
    with scope.as_tenant(acme):
        marked = settling.settle_and_mark(
            [], late, clock.now(), token=turn.token, owner="late", more=frozenset()
        )
        settling.settle_and_mark(
            [(late[0], ledger.Outcome("mid.9"))],
            [],
            clock.now(),
            token=turn.token,
            owner="late",
            more=frozenset(),
        )
    assert not marked
    assert counts(campaign) == {"queued": 1}
    assert all(usage.used == 0 for usage in usage_of(acme))


def test_a_slice_that_is_asked_to_stop_leaves_nothing_claimed(acme, clock, wire):
    campaign = running(acme, clock, leads=30, accounts=[make_account(acme) for _ in range(9)])
    asked = []

    def ask(message):
        asked.append(message.key)

    wire.every = ask
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: len(asked) >= 5)
    turn.run()
    left = counts(campaign)
    assert set(left) == {"sent", "queued"}
    assert 5 <= left["sent"] <= 5 + django_settings.SEND_THREADS
    with scope.as_tenant(acme):
        assert not SendingAccount.objects.exclude(claim_token="").exists()


def test_a_slice_makes_room_when_another_task_waits(acme, clock, wire):
    account = make_account(acme, gap_min_s=10, gap_max_s=10)
    running(acme, clock, leads=3, accounts=[account])
    began = clock.now()
    work(clock, wire, others_wait=lambda: True)
    assert len(wire.sent) == 1
    assert clock.now() - began < timedelta(seconds=1)


# --- Wake-ups ---------------------------------------------------------------------------------


def test_a_lost_wake_up_is_found_by_the_sweep(acme, clock, wire):
    campaign = running(acme, clock, leads=1)
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=None)
    assert sending.next_send_at() is None
    health.sweep(clock.now())
    work(clock, wire)
    assert counts(campaign) == {"sent": 1}


def test_a_campaign_whose_last_row_was_settled_by_the_reaper_is_finished(acme, clock, wire):
    campaign = dispatched(acme, clock, wire)
    clock.move(django_settings.LEASE_S)
    settling.reap(clock.now())
    health.sweep(clock.now())
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
    assert campaign.state == "finished"


def test_another_tenants_rows_are_never_claimed(acme, clock, wire):
    other = make_tenant("other")
    account = make_account(other)
    campaign = running(acme, clock, leads=2)
    with scope.as_tenant(other):
        SendingAccount.objects.update(next_at=clock.now())
    work(clock, wire)
    assert account.handle not in {who for who, _ in wire.by_account}
    assert counts(campaign) == {"sent": 2}


def test_a_paused_campaign_lets_go_of_what_is_claimed(acme, clock, wire, alice, rung):
    campaign, turn = claimed(acme, clock, wire)
    with scope.as_tenant(acme):
        assert actions.pause_campaign(campaign, by=alice, now=clock.now()) == 0
    turn.run()
    assert not wire.sent
    assert counts(campaign) == {"queued": 1}
