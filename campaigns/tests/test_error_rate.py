"""Too much goes wrong: campaign and account stop by themselves, and say why."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agenticos import scope
from agenticos.tests.factories import make_account
from campaigns import actions, editing, error_rate
from campaigns.codes import Code
from campaigns.diagnosis import diagnose
from campaigns.models import Campaign, Message, SendingAccount
from campaigns.tests.running import counts, rows, running
from campaigns.tests.test_sending import rejected, unsure
from campaigns.tests.wires import Wire, work
from integrations.errors import Fault

pytestmark = pytest.mark.django_db


@pytest.fixture
def wire():
    return Wire()


def fresh(row):
    with scope.as_tenant(row.tenant_id):
        return type(row).objects.get(pk=row.pk)


def gone(wire, campaign, places):
    """Have the people at these places be refused by the provider."""
    for place in places:
        wire.answers[f"lead{campaign.pk}x{place}"] = [rejected(Fault.LEAD)]


def test_a_campaign_of_people_who_are_gone_pauses_itself(acme, clock, wire):
    campaign = running(acme, clock, leads=20, accounts=[make_account(acme)])
    gone(wire, campaign, range(20))
    work(clock, wire)
    campaign = fresh(campaign)
    assert (campaign.state, campaign.reason) == ("paused", Code.ERROR_RATE)
    assert campaign.reason_detail == "5/5 · 60 min · lead_said_no 5"
    assert counts(campaign) == {"failed": 5, "queued": 15}


def test_a_share_below_the_threshold_stops_nothing(acme, clock, wire):
    campaign = running(acme, clock, leads=20, accounts=[make_account(acme)])
    gone(wire, campaign, range(2, 20, 3))  # every third: 33 %
    work(clock, wire)
    assert fresh(campaign).state == "finished"
    assert counts(campaign) == {"sent": 14, "failed": 6}


def test_errors_that_left_the_window_count_no_more(acme, clock, wire):
    campaign = running(acme, clock, leads=8, accounts=[make_account(acme)])
    gone(wire, campaign, range(8))
    with scope.as_tenant(acme):
        Message.objects.filter(position__gte=4).update(due_at=clock.now() + timedelta(hours=2))
    work(clock, wire)
    assert counts(campaign) == {"failed": 4, "queued": 4}
    clock.move(timedelta(hours=2).total_seconds())
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=clock.now())
    work(clock, wire)
    assert fresh(campaign).state == "finished"  # four then, four now: never five in an hour
    assert counts(campaign) == {"failed": 8}


def test_the_account_is_blocked_too_and_unblocking_begins_anew(acme, clock, wire, alice, rung):
    account = make_account(acme)
    campaign = running(acme, clock, leads=12, accounts=[account])
    with scope.as_tenant(acme):
        Campaign.objects.update(error_percent=0)
    wire.answers["*"] = [unsure() for _ in range(5)]
    work(clock, wire)
    account, campaign = fresh(account), fresh(campaign)
    assert (account.state, account.block_code) == ("blocked", Code.ERROR_RATE)
    assert account.block_detail == "5/5 · 60 min · no_answer 5"
    with scope.as_tenant(acme):  # its credential is not to blame
        assert account.connection.state == "active"
    assert (campaign.state, campaign.reason) == ("blocked", Code.ERROR_RATE)
    with scope.as_tenant(acme):
        clock.move(1)
        actions.unblock_account(account, by=alice, now=clock.now())
        actions.resume_campaign(campaign, by=alice, now=clock.now())
    wire.answers["*"] = [unsure()]
    work(clock, wire)
    assert fresh(campaign).state == "finished"
    assert counts(campaign) == {"unknown": 6, "sent": 6}


def test_another_account_goes_on(acme, clock, wire):
    bad, good = make_account(acme), make_account(acme)
    campaign = running(acme, clock, leads=30, accounts=[bad, good])
    with scope.as_tenant(acme):
        Campaign.objects.update(error_percent=0)
        Message.objects.filter(position__lt=10).update(account=bad)
    gone(wire, campaign, range(10))
    work(clock, wire)
    assert fresh(bad).state == "blocked"
    assert fresh(good).state == "active"
    assert fresh(campaign).state == "finished"


def test_resuming_a_paused_campaign_gives_it_five_errors_more(acme, clock, wire, alice, rung):
    campaign = running(acme, clock, leads=12, accounts=[make_account(acme)])
    with scope.as_tenant(acme):
        SendingAccount.objects.update(error_percent=0)
    gone(wire, campaign, range(12))
    for failed in (5, 10):
        work(clock, wire)
        assert counts(campaign)["failed"] == failed
        assert fresh(campaign).state == "paused"
        clock.move(1)
        with scope.as_tenant(acme):
            actions.resume_campaign(fresh(campaign), by=alice, now=clock.now())


def test_the_strip_names_the_cause_and_leads_to_the_failed(acme, clock, wire):
    campaign = running(acme, clock, leads=8, accounts=[make_account(acme)])
    gone(wire, campaign, range(8))
    work(clock, wire)
    with scope.as_tenant(acme):
        status = diagnose(fresh(campaign), clock.now())
    assert status.fix is not None
    assert status.fix.url.endswith(f"/campaigns/{campaign.pk}/audience/?state=failed")


def test_the_threshold_changes_with_the_pace(acme, clock, alice, rung):
    campaign = running(acme, clock, leads=1)
    with scope.as_tenant(acme):
        editing.change_pace(
            campaign,
            window={},
            min_score=0,
            accounts=list(campaign.accounts.all()),
            error_percent=15,
            error_window_min=30,
            by=alice,
            now=clock.now(),
        )
    stored = fresh(campaign)
    assert (stored.error_percent, stored.error_window_min) == (15, 30)


@pytest.mark.parametrize(
    ("errors", "outcomes", "percent", "stops"),
    [(4, 4, 1, False), (5, 5, 100, True), (5, 13, 40, False), (6, 15, 40, True)],
)
def test_what_exceeds(errors, outcomes, percent, stops):
    rate = error_rate.Rate(errors, outcomes, 60, (("gone", errors),))
    assert rate.exceeds(percent) is stops


def test_rows_have_no_say_when_the_threshold_is_off(acme, clock, wire):
    campaign = running(acme, clock, leads=8, accounts=[make_account(acme)])
    with scope.as_tenant(acme):
        Campaign.objects.update(error_percent=0)
        SendingAccount.objects.update(error_percent=0)
    gone(wire, campaign, range(8))
    work(clock, wire)
    assert [row.state for row in rows(campaign)] == ["failed"] * 8
