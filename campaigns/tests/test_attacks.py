"""Scenarios that once broke a promise, found by attacking the engine. Each stays here."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.clock import Clock, database_now
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from agenticos.worker import tick
from campaigns import actions, audience, claiming, health, ledger, sending, settling, tasks
from campaigns.codes import Code
from campaigns.models import AccountUsage, Campaign, CampaignCounts, Message, SendingAccount
from campaigns.tests.wires import Wire, work
from integrations.errors import Fault, Rejected, TryLater
from leads.models import Lead, LeadScore

pytestmark = pytest.mark.django_db


def running(tenant, clock, leads=3, **fields):
    campaign = make_campaign(tenant, state="running", **fields)
    for number in range(leads):
        make_message(campaign, make_lead(tenant), due_at=clock.now(), position=number)
    with scope.as_tenant(tenant):
        ledger.wake([campaign.pk], clock.now())
    return campaign


def counts(campaign):
    with scope.as_tenant(campaign.tenant):
        row = CampaignCounts.objects.get(campaign=campaign)
        assert row.sums
        found = {name: getattr(row, name) for name in row.BUCKETS if getattr(row, name)}
        for name, number in found.items():
            assert Message.objects.filter(campaign=campaign, state=name).count() == number
    return found


def a_slice(clock, wire, **options):
    return sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False, **options)


def mark(turn, clock, tenant, count=8):
    with scope.as_tenant(tenant):
        rows = turn._next(count)
        marked = settling.settle_and_mark(
            [], rows, clock.now(), token=turn.token, owner="x", more=frozenset()
        )
    for held in marked:
        held.mark(clock.now())
    return marked


def test_the_tick_rings_for_work_that_waits_now(acme, rung):
    make_campaign(acme, state="preparing")
    make_campaign(acme, state="running")
    assert {"campaigns.tasks.prepare_slice", "campaigns.tasks.reap"} <= set(
        tick.ring_for_due(database_now())
    )


def test_a_sweep_is_due_again_only_after_a_while(acme, rung):
    make_campaign(acme, state="running")
    tasks.reap()
    assert tasks.next_reap_at() is None or tasks.next_reap_at() > database_now()


def test_a_campaign_whose_rows_are_all_skipped_is_finished_by_the_slice(acme, clock):
    campaign = running(acme, clock, leads=3)
    with scope.as_tenant(acme):
        Lead.objects.update(suppressed_at=clock.now())
    work(clock, Wire())
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
    assert campaign.state == "finished"


@pytest.mark.parametrize(
    "outcome",
    [
        ledger.Outcome(error=TryLater("rate_limited", "Later.")),
        ledger.Outcome(called=False),
        ledger.Outcome(error=Rejected("session_invalid", "No.", fault=Fault.ACCOUNT)),
    ],
)
def test_nothing_is_queued_again_in_a_stopped_campaign(acme, alice, clock, rung, outcome):
    campaign = running(acme, clock, leads=2)
    turn = a_slice(clock, Wire())
    turn._claim()
    marked = mark(turn, clock, acme, 1)
    with scope.as_tenant(acme):
        assert actions.stop_campaign(campaign, by=alice, now=clock.now()) == 1
        settling.settle_and_mark(
            [(marked[0], outcome)], [], clock.now(), token=turn.token, owner="x", more=frozenset()
        )
        assert not Lead.objects.filter(first_touch_at__isnull=False).exists()
    assert counts(campaign) == {"cancelled": 2}


def test_a_dead_workers_rows_are_cancelled_where_the_campaign_was_stopped(acme, alice, clock, rung):
    campaign = running(acme, clock, leads=1)
    a_slice(clock, Wire())._claim()
    with scope.as_tenant(acme):
        Campaign.objects.update(state="cancelled")
    clock.move(3600)
    settling.reap(clock.now())
    assert counts(campaign) == {"cancelled": 1}


@pytest.mark.django_db(transaction=True)
def test_a_stop_in_the_middle_of_claims_leaves_nothing_open(acme, alice, clock, rung):
    campaign = running(acme, clock, leads=200, accounts=[make_account(acme) for _ in range(12)])
    go, stopped = threading.Event(), threading.Event()
    wire = Wire()

    def slow_down(message):
        if len(wire.sent) >= 60:
            go.set()
            stopped.wait(20)

    wire.every = slow_down

    def send():
        try:
            work(clock, wire)
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    go.wait(20)
    with scope.as_tenant(acme):
        actions.stop_campaign(campaign, by=alice, now=clock.now())
    stopped.set()
    for thread in threads:
        thread.join()
    assert set(counts(campaign)) == {"sent", "cancelled"}


def test_many_skips_cost_few_queries_and_end_at_the_limit(
    acme, clock, django_assert_max_num_queries
):
    campaign = running(acme, clock, leads=120, accounts=[make_account(acme, gap_max_s=60)])
    with scope.as_tenant(acme):
        Lead.objects.update(suppressed_at=clock.now())
    leased = claiming.lease_accounts(clock.now(), token="t" * 32, owner="x")
    with scope.as_tenant(acme), django_assert_max_num_queries(25):
        claiming.claim(leased[acme.pk], clock.now(), token="t" * 32, owner="x", limit=100)
    assert counts(campaign) == {"skipped": 100, "queued": 20}
    # The account is looked at again at once, not when its queue says so.
    with scope.as_tenant(acme):
        assert SendingAccount.objects.get().next_at == clock.now()


def test_pause_and_resume_leak_no_allowance(acme, alice, clock, rung):
    campaign = running(acme, clock, leads=10)
    for _ in range(5):
        turn = a_slice(clock, Wire())
        turn._claim()
        with scope.as_tenant(acme):
            actions.pause_campaign(campaign, by=alice, now=clock.now())
            turn._finish(None)
            actions.resume_campaign(campaign, by=alice, now=clock.now())
    with scope.as_tenant(acme):
        assert {row.used for row in AccountUsage.objects.all()} == {0}
    assert counts(campaign) == {"queued": 10}


def test_staff_who_save_a_tenant_do_not_lift_a_stop(acme, alice, clock, rung):
    staff = type(alice).objects.create_superuser("staff@example.com", "a-long-enough-secret")
    client = Client()
    client.force_login(staff)
    address = reverse("admin:tenants_tenant_change", args=[acme.pk])
    page = client.get(address)
    form = page.context["adminform"].form
    data = {name: form[name].value() or "" for name in form.fields}
    data |= {"name": "Acme Ltda", "suspended_at_0": "", "suspended_at_1": ""}
    for formset in page.context["inline_admin_formsets"]:
        data |= {
            f"{formset.formset.prefix}-{name}": formset.formset.management_form[name].value()
            for name in formset.formset.management_form.fields
        }
        for row in formset.formset.forms:
            data |= {f"{row.prefix}-{name}": row[name].value() or "" for name in row.fields}
    from campaigns.admin_tenants import WholeTenantAdmin as TenantAdmin

    original = TenantAdmin.save_model

    def stop_meanwhile(self, request, obj, form, change):
        with scope.as_tenant(acme):
            actions.stop_tenant(acme, by=alice, now=clock.now())
        original(self, request, obj, form, change)

    TenantAdmin.save_model = stop_meanwhile
    try:
        answer = client.post(address, data)
    finally:
        TenantAdmin.save_model = original
    assert answer.status_code == 302, answer.context["errors"]
    acme.refresh_from_db()
    assert acme.name == "Acme Ltda"
    assert acme.stopped_at is not None


def test_one_tenants_damage_stops_no_other(acme, rival, clock):
    wire = Wire()
    broken = running(acme, clock, leads=2)
    fine = running(rival, clock, leads=2)
    with scope.as_tenant(acme):
        Campaign.objects.filter(pk=broken.pk).update(window={"days": ["never"]})
    work(clock, wire)
    assert counts(fine) == {"sent": 2}
    assert counts(broken) == {"queued": 2}


def test_a_providers_id_with_a_nul_is_stored_without_it(acme, clock):
    campaign = running(acme, clock, leads=1)
    wire = Wire()
    wire.prefix = "mid\x00\ud800"
    work(clock, wire)
    assert counts(campaign) == {"sent": 1}
    with scope.as_tenant(acme):
        assert Message.objects.get().provider_id == "mid?1"


def test_a_lead_that_comes_twice_while_the_audience_is_frozen_counts_once(
    acme, alice, clock, rung, monkeypatch
):
    monkeypatch.setattr(audience, "CHUNK", 2)
    leads = [make_lead(acme, score=score) for score in (90, 80, 70, 60)]
    campaign = make_campaign(acme, audience={"kind": "filter"})
    with scope.as_tenant(acme):
        actions.start_campaign(campaign, by=alice, now=clock.now())
        fresh = Campaign.objects.select_related("tenant", "icp_version").get(pk=campaign.pk)
        audience.prepare_chunk(fresh, now=clock.now())
        LeadScore.objects.filter(lead=leads[0]).update(total=65)
        while not audience.prepare_chunk(fresh, now=clock.now()):
            pass
    assert counts(campaign) == {"queued": 4}


def test_unknown_rows_of_a_stopped_campaign_can_be_settled_but_not_sent(acme, alice, clock, rung):
    from agenticos.errors import Refused

    campaign = make_campaign(acme, state="cancelled")
    rows = [make_message(campaign, make_lead(acme), "unknown") for _ in range(3)]
    with scope.as_tenant(acme):
        actions.resolve_message(rows[0], "sent", by=alice, now=clock.now())
        actions.resolve_message(rows[1], "skip", by=alice, now=clock.now())
        with pytest.raises(Refused):
            actions.resolve_message(rows[2], "send_again", by=alice, now=clock.now())
    assert counts(campaign) == {"sent": 1, "skipped": 1, "unknown": 1}


def test_a_refusal_of_the_old_credential_does_not_break_the_new_one(acme, clock):
    account = make_account(acme)
    error = Rejected("session_invalid", "No.", fault=Fault.ACCOUNT)
    with scope.as_tenant(acme):
        before = account.connection.secret_set_at
        account.connection.set_secret(token="a-new-token-000001")
        health.block_for(account.pk, error, clock.now(), secret_set_at=before)
        account.refresh_from_db()
        assert (account.state, account.connection.state) == ("active", "active")
        account.connection.refresh_from_db()
        today = account.connection.secret_set_at
        health.block_for(account.pk, error, clock.now(), secret_set_at=today)
        account.refresh_from_db()
        assert account.state == "blocked"


def test_an_account_is_held_as_long_as_the_row_it_sends(acme, clock):
    running(acme, clock, leads=2, accounts=[make_account(acme, gap_max_s=60)])
    turn = a_slice(clock, Wire())
    turn._claim()
    clock.move(50)
    assert mark(turn, clock, acme, 1)
    clock.move(11)
    assert claiming.lease_accounts(clock.now(), token="z" * 32, owner="y") == {}


def test_a_row_held_back_does_not_undo_the_pause_that_the_provider_asked_for(acme, clock, alice):
    campaign = running(acme, clock, leads=2, accounts=[make_account(acme)])
    turn = a_slice(clock, Wire())
    turn._claim()
    marked = mark(turn, clock, acme, 1)
    rest = turn._next(1)
    with scope.as_tenant(acme):
        Lead.objects.filter(pk=rest[0].lead_id).update(suppressed_at=clock.now())
        settling.settle_and_mark(
            [(marked[0], ledger.Outcome(error=TryLater("x", "X.", after=timedelta(minutes=10))))],
            rest,
            clock.now(),
            token=turn.token,
            owner="x",
            more=frozenset(),
        )
        account = SendingAccount.objects.get()
    assert account.free_at == clock.now() + timedelta(minutes=10)
    assert (account.claim_token, account.lease_until) == ("", None)
    assert counts(campaign) == {"queued": 2}


def test_blocking_an_account_lets_go_of_what_it_had_claimed(acme, alice, clock, rung):
    account = make_account(acme)
    campaign = running(acme, clock, leads=4, accounts=[account])
    turn = a_slice(clock, Wire())
    turn._claim()
    with scope.as_tenant(acme):
        actions.block_account(account, by=alice, now=clock.now())
    assert not mark(turn, clock, acme, 8)
    assert counts(campaign) == {"queued": 4}


def test_a_suspended_tenant_sends_nothing(acme, clock):
    wire = Wire()
    running(acme, clock, leads=2)
    type(acme).objects.filter(pk=acme.pk).update(suspended_at=timezone.now())
    work(clock, wire)
    assert not wire.sent


def test_a_skip_of_what_may_have_arrived_keeps_the_person_touched(acme, alice, clock, rung):
    campaign = make_campaign(acme, state="running")
    lead = make_lead(acme, first_touch_at=clock.now())
    row = make_message(campaign, lead, "unknown")
    with scope.as_tenant(acme):
        Lead.objects.filter(pk=lead.pk).update(first_touch_by=row.pk)
        actions.resolve_message(row, "skip", by=alice, now=clock.now())
        assert Lead.objects.get(pk=lead.pk).first_touch_at is not None
        assert Message.objects.get(pk=row.pk).reason == Code.SKIPPED_BY_PERSON


def test_a_cluster_is_not_called_dead_for_time_that_the_machine_slept(monkeypatch):
    from agenticos.worker import supervisor

    passed = [0.0]
    monkeypatch.setattr(supervisor, "counted", lambda: passed[0])
    life = supervisor.Life()
    for _ in range(7):
        passed[0] += 5
        asked = life.wants_echo(None)
    assert asked
    assert not life.is_over(rings_wait=True)
    passed[0] += 3600  # the lid was shut
    assert life.wants_echo(None)
    assert not life.is_over(rings_wait=True)
    for _ in range(25):
        passed[0] += 5
        life.wants_echo(None)
    assert life.is_over(rings_wait=True)
    assert not life.is_over(rings_wait=False)
    life.wants_echo(Clock().now())
    assert not life.is_over(rings_wait=True)
