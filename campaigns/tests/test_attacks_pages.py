"""Scenarios that once broke a promise of the campaign and account pages, found by attack."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agenticos import invariants, scope
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import accounts, editing, pacing
from campaigns.models import AccountUsage, Message
from campaigns.tests.test_attacks import a_slice, counts, mark, running
from campaigns.tests.wires import Wire
from integrations.models import Connection
from leads.models import Lead

pytestmark = pytest.mark.django_db


def test_after_a_change_of_pace_no_claimed_message_leaves_as_before(acme, alice, clock, rung):
    old, new = make_account(acme), make_account(acme)
    campaign = running(acme, clock, leads=3, accounts=[old])
    turn = a_slice(clock, Wire())
    turn._claim()
    with scope.as_tenant(acme):
        editing.change_pace(
            campaign,
            window=pacing.DEFAULT_WINDOW,
            min_score=0,
            accounts=[new],
            by=alice,
            now=clock.now(),
        )
    assert mark(turn, clock, acme) == []
    assert counts(campaign) == {"queued": 3}
    with scope.as_tenant(acme):
        # Who was about to leave keeps the first touch for the row that waits again.
        mine = Message.objects.filter(campaign=campaign).values("pk")
        touched = Lead.objects.filter(first_touch_at__isnull=False)
        assert not touched.exclude(first_touch_by__in=mine).exists()
        assert not AccountUsage.objects.exclude(used=0).exists()


def test_what_was_marked_before_a_change_of_pace_is_in_flight(acme, alice, clock, rung):
    campaign = running(acme, clock, leads=3)
    turn = a_slice(clock, Wire())
    turn._claim()
    assert len(mark(turn, clock, acme, 1)) == 1
    with scope.as_tenant(acme):
        editing.change_pace(
            campaign,
            window={},
            min_score=50,
            accounts=list(campaign.accounts.all()),
            by=alice,
            now=clock.now(),
        )
    assert counts(campaign) == {"queued": 2, "claimed": 1}


def test_a_new_token_of_a_connection_that_is_off_is_kept(acme, alice, clock):
    account = make_account(acme, state="blocked", block_code="session_invalid")
    with scope.as_tenant(acme):
        Connection.objects.filter(pk=account.connection_id).update(state="off")
        account.refresh_from_db()
        done = accounts.renew_credential(account, "fresh", "Ana", by=alice, now=clock.now())
        account.refresh_from_db()
        assert (done, account.state) == (False, "blocked")
        assert account.connection.reveal()["token"] == "fresh"


def test_an_invariant_sees_a_first_touch_whose_message_is_gone(acme, clock, in_system):
    message = make_message(make_campaign(acme), make_lead(acme), "sent")
    with scope.as_tenant(acme):
        Lead.objects.update(first_touch_at=clock.now() - timedelta(1), first_touch_by=message.pk)
    assert invariants.touched_without_message(False) == 0
    Message.objects.filter(pk=message.pk).delete()
    assert invariants.touched_without_message(False) == 1
