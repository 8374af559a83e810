"""Caps of a day above the accounts' own: the tenant's plan and the campaign's cap."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agenticos import invariants, scope
from agenticos.clock import Clock
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import (
    accounts,
    capacity,
    daycaps,
    diagnosis,
    editing,
    ledger,
    planning,
    sending,
    settling,
)
from campaigns.codes import Code
from campaigns.gates import Gate
from campaigns.models import AccountUsage, CampaignUsage, Message, TenantUsage
from campaigns.tests.wires import Wire, work
from integrations.errors import TryLater
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
WINDOW = {"days": list(range(7)), "from": "00:00", "to": "24:00"}


def running(tenant, now, leads=3, **fields):
    campaign = make_campaign(tenant, state="running", **fields)
    for number in range(leads):
        make_message(campaign, make_lead(tenant), due_at=now, position=number)
    with scope.as_tenant(tenant):
        ledger.wake([campaign.pk], now)
    return campaign


def limit(tenant, number):
    Tenant.objects.filter(pk=tenant.pk).update(max_messages_day=number)
    tenant.refresh_from_db()


def states(campaign):
    with scope.as_tenant(campaign.tenant_id):
        found = Message.objects.filter(campaign=campaign).values_list("state", flat=True)
        return {state: list(found).count(state) for state in sorted(set(found))}


def used(tenant):
    with scope.as_tenant(tenant):
        return [row.used for row in TenantUsage.objects.order_by("period")]


def a_slice(clock, wire):
    return sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)


def violations():
    with scope.as_system("test"):
        return {one.invariant.name: one.violations for one in invariants.check() if one.violations}


# --- Kept -------------------------------------------------------------------------------------


def test_the_plan_holds_over_all_campaigns_and_accounts_until_the_tenants_next_day(acme, clock):
    limit(acme, 5)
    campaigns = [running(acme, clock.now(), leads=4) for _ in range(3)]
    wire = Wire()
    work(clock, wire)
    assert len(wire.sent) == 5
    assert used(acme) == [5]
    # Noon in São Paulo: twelve hours to its midnight.
    assert sending.next_send_at() == clock.began + timedelta(hours=12)
    clock.move(12 * 3600)
    work(clock, wire)
    assert len(wire.sent) == 10
    assert used(acme) == [5, 5]
    assert sum(states(one).get("queued", 0) for one in campaigns) == 2
    assert violations() == {}


def test_a_campaigns_own_cap_leaves_the_others_alone(acme, clock):
    account = make_account(acme)
    capped = running(acme, clock.now(), leads=5, accounts=[account], day_cap=2)
    free = running(acme, clock.now(), leads=5, accounts=[account])
    work(clock, Wire())
    assert states(capped) == {"queued": 3, "sent": 2}
    assert states(free) == {"sent": 5}
    with scope.as_tenant(acme):
        assert [row.used for row in CampaignUsage.objects.all()] == [2]
    clock.move(12 * 3600)
    work(clock, Wire())
    assert states(capped) == {"queued": 1, "sent": 4}


def test_a_cap_of_none_left_takes_nothing_and_wakes_with_the_day(acme, clock):
    limit(acme, 0)
    running(acme, clock.now())
    wire = Wire()
    work(clock, wire)
    assert wire.sent == []
    assert sending.next_send_at() == clock.began + timedelta(hours=12)


def test_without_such_caps_nothing_is_counted(acme, clock):
    running(acme, clock.now())
    work(clock, Wire())
    with scope.as_tenant(acme):
        assert not TenantUsage.objects.exists()
        assert not CampaignUsage.objects.exists()


def test_days_are_the_tenants_even_where_the_account_counts_elsewhere(acme, clock):
    acme.time_zone = "Asia/Tokyo"  # it is midnight there at the clock's noon in São Paulo
    acme.save()
    limit(acme, 1)
    clock.move(-60)
    running(acme, clock.now(), leads=3, accounts=[make_account(acme, time_zone="America/Bahia")])
    wire = Wire()
    work(clock, wire, budget_s=20)
    assert len(wire.sent) == 1
    clock.move(60)
    work(clock, wire)
    assert len(wire.sent) == 2


# --- Given back ---------------------------------------------------------------------------------


def test_what_was_surely_not_sent_is_given_back(acme, clock):
    limit(acme, 2)
    campaign = running(acme, clock.now(), leads=2, day_cap=2)
    wire = Wire()
    wire.answers["*"] = [TryLater("rate_limited", "Later.")]
    work(clock, wire, budget_s=1)
    assert used(acme)[0] < 2 or states(campaign)["sent"] == 2
    for _ in range(6):
        clock.move(60)
        work(clock, wire)
    assert states(campaign) == {"sent": 2}
    assert used(acme) == [2]


def test_a_dead_workers_allowance_comes_back_with_its_rows(acme, clock):
    limit(acme, 3)
    running(acme, clock.now(), leads=3, day_cap=3)
    a_slice(clock, Wire())._claim()
    assert used(acme) == [3]
    clock.move(600)
    settling.reap(clock.now())
    assert used(acme) == [0]
    with scope.as_tenant(acme):
        assert [row.used for row in CampaignUsage.objects.all()] == [0]


# --- Set, lowered, lifted while it runs --------------------------------------------------------


def test_a_cap_that_is_set_at_noon_counts_what_left_before(acme, clock):
    campaign = running(acme, clock.now(), leads=3)
    make_message(campaign, due_at=clock.now() + timedelta(days=2))  # so that it goes on
    work(clock, Wire())
    for number in range(3):
        make_message(campaign, due_at=clock.now(), position=10 + number)
    limit(acme, 4)
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    work(clock, Wire())
    assert states(campaign) == {"queued": 3, "sent": 4}
    assert used(acme) == [4]


def test_a_cap_below_what_left_already_stops_and_breaks_no_rule(acme, clock):
    campaign = running(acme, clock.now(), leads=3)
    make_message(campaign, due_at=clock.now() + timedelta(seconds=30))
    work(clock, Wire(), budget_s=1)
    clock.move(30)
    limit(acme, 1)
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    work(clock, Wire())
    assert states(campaign) == {"queued": 1, "sent": 3}
    assert violations() == {}


@pytest.mark.parametrize("level", ["tenant", "campaign"])
def test_lowering_a_cap_holds_for_rows_that_are_claimed_and_not_dispatched(
    acme, alice, clock, rung, level
):
    limit(acme, 8)
    many = [make_account(acme) for _ in range(4)]
    campaign = running(acme, clock.now(), leads=8, accounts=many, day_cap=8, window=WINDOW)
    wire = Wire()
    turn = a_slice(clock, wire)
    turn._claim()
    assert len(turn.ready) == 8
    if level == "tenant":
        limit(acme, 1)
    else:
        with scope.as_tenant(acme):
            editing.change_pace(
                campaign, window=WINDOW, min_score=0, accounts=many, day_cap=1, by=alice,
                now=clock.now(),
            )  # fmt: skip
    turn.run()
    work(clock, wire)
    assert len(wire.sent) == 1
    assert states(campaign) == {"queued": 7, "sent": 1}
    assert violations() == {}


@pytest.mark.parametrize("cap", ["day_cap", "hour_cap"])
def test_lowering_an_accounts_cap_releases_what_is_claimed(acme, alice, clock, rung, cap):
    account = make_account(acme)
    campaign = running(acme, clock.now(), leads=6, accounts=[account])
    wire = Wire()
    turn = a_slice(clock, wire)
    turn._claim()
    assert len(turn.ready) == 6
    with scope.as_tenant(acme):
        accounts.edit_account(account, {cap: 2}, by=alice, now=clock.now())
        assert {row.used for row in AccountUsage.objects.all()} == {0}
    turn.run()
    work(clock, wire)
    assert len(wire.sent) == 2
    assert states(campaign) == {"queued": 4, "sent": 2}
    assert violations() == {}


def test_a_cap_lowered_after_its_use_is_no_breach(acme, alice, clock):
    account = make_account(acme)
    running(acme, clock.now(), leads=4, accounts=[account])
    work(clock, Wire())
    with scope.as_tenant(acme):
        accounts.edit_account(account, {"day_cap": 1}, by=alice, now=clock.now())
    assert violations() == {}


# --- Workers together --------------------------------------------------------------------------


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["tenant", "campaign"])
def test_of_two_hundred_due_exactly_fifty_leave_through_two_workers(acme, level):
    now = timezone.now()
    if level == "tenant":
        limit(acme, 50)
    many = [make_account(acme) for _ in range(12)]
    own = 50 if level == "campaign" else None
    campaign = running(acme, now, leads=200, accounts=many, day_cap=own)
    wire = Wire()
    begin = threading.Barrier(2)

    def send():
        try:
            begin.wait()
            turn = sending.Slice(Clock(), budget_s=6, channel=wire.of, stop=lambda: False)
            turn.run()
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wire.sent) == 50
    assert not wire.doubled()
    assert states(campaign) == {"queued": 150, "sent": 50}
    assert violations() == {}


def test_of_two_claims_at_once_the_second_takes_only_what_is_left(acme):
    """Both have read the same room; the row's lock decides."""
    now = timezone.now()
    limit(acme, 3)
    running(acme, now, leads=2)
    with scope.as_tenant(acme), transaction.atomic():
        caps = daycaps.in_force(acme, (), now)
        assert daycaps.take(acme, caps, [1, 1], now) == [True, True]
        assert daycaps.take(acme, caps, [1, 1], now) == [True, False]


# --- Named -------------------------------------------------------------------------------------


def test_the_cap_that_holds_is_named_in_the_gates_and_on_the_account(acme, clock):
    limit(acme, 2)
    account = make_account(acme)
    campaign = running(acme, clock.now(), leads=4, accounts=[account])
    work(clock, Wire())
    now = clock.now()
    with scope.as_tenant(acme):
        campaign.tenant = acme
        found = diagnosis.diagnose(campaign, now)
        assert (found.code, found.kind) == (Code.TENANT_CAP, "wait")
        assert found.until == clock.began + timedelta(hours=12)
        assert found.fix.url == "/t/acme/settings/"
        lines = {line.gate: line for line in diagnosis.all_gates(campaign, now)}
        assert (lines[Gate.TENANT_CAP].kind, lines[Gate.TENANT_CAP].first) == ("wait", True)
        assert Gate.CAMPAIGN_CAP not in lines
        account.refresh_from_db()
        row = capacity.capacities(acme, [account], now)[0]
        assert (row.binding, row.room, row.kind) == (Code.TENANT_CAP, 0, "wait")
        waiting = Message.objects.filter(state="queued").first()
        assert diagnosis.diagnose_message(waiting, now).code == Code.TENANT_CAP
        account.tenant = acme
        assert diagnosis.diagnose_account(account, now).code == Code.TENANT_CAP


def test_a_campaigns_cap_is_named_with_the_way_to_change_it(acme, clock):
    campaign = running(acme, clock.now(), leads=3, day_cap=1)
    work(clock, Wire())
    with scope.as_tenant(acme):
        campaign.tenant = acme
        found = diagnosis.diagnose(campaign, clock.now())
        assert found.code == Code.CAMPAIGN_CAP
        assert found.fix.url.endswith(f"/campaigns/{campaign.pk}/settings/")


def test_the_forecast_reckons_with_the_caps_and_names_the_one_that_binds(acme, clock):
    limit(acme, 10)
    campaign = running(acme, clock.now(), leads=25)
    with scope.as_tenant(acme):
        campaign.tenant = acme
        found = planning.forecast_for(campaign, now=clock.now())
        assert [day.planned for day in found.days] == [10, 10, 5]
        assert found.plan.bottleneck is Code.TENANT_CAP
        campaign.day_cap = 5
        found = planning.forecast_for(campaign, now=clock.now())
        assert [day.planned for day in found.days] == [5] * 5
        assert found.plan.bottleneck is Code.CAMPAIGN_CAP
        campaign.day_cap = 0
        assert planning.forecast_for(campaign, now=clock.now()).plan.never is Code.CAMPAIGN_CAP


def test_the_forecast_shares_the_plan_with_campaigns_on_other_accounts(acme, clock):
    limit(acme, 10)
    campaign = running(acme, clock.now(), leads=10)
    running(acme, clock.now(), leads=10)
    with scope.as_tenant(acme):
        campaign.tenant = acme
        found = planning.forecast_for(campaign, now=clock.now())
    assert [day.planned for day in found.days] == [5, 5]


# --- Pages and programs ------------------------------------------------------------------------


def test_the_pages_show_the_caps(acme, alice, clock, browser):
    limit(acme, 40)
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account], state="running", day_cap=7)
    make_message(campaign)
    knocks = browser(alice)
    page = knocks.get(f"/t/acme/campaigns/{campaign.pk}/accounts/").content.decode()
    assert "0 / 7" in page
    assert "0 / 40" in page
    assert "0 / 40" in knocks.get(f"/t/acme/accounts/{account.pk}/").content.decode()
    assert knocks.get("/t/acme/").status_code == 200
    assert knocks.get("/t/acme/campaigns/").status_code == 200


def test_the_cap_of_a_campaign_is_set_on_its_settings(acme, alice, browser, rung):
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account], state="running")
    given = {"accounts": [account.pk], "always": "on", "min_score": 0, "day_cap": "12"}
    given |= {"error_percent": 25, "error_window_min": 30}
    browser(alice).post(f"/t/acme/campaigns/{campaign.pk}/settings/pace/", given)
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
    assert campaign.day_cap == 12
    assert (campaign.error_percent, campaign.error_window_min) == (25, 30)


def test_a_program_sets_and_reads_the_caps(acme, api):
    limit(acme, 40)
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account])
    path = f"/api/v1/campaigns/{campaign.pk}"
    patch = {"day_cap": 9}
    assert api.patch(path, patch, "application/json").json()["day_cap"] == 9
    assert api.patch(path, {"limit": 5}, "application/json").json()["day_cap"] == 9
    found = api.get(f"/api/v1/accounts/{account.pk}/capacity").json()
    assert (found["plan_day_cap"], found["used_plan_day"], found["room"]) == (40, 0, 40)
