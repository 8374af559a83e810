"""The ledger's protocol, slice by slice, with a channel that answers as told."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import timedelta

import pytest
from django.conf import settings as django_settings

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_connection,
    make_lead,
    make_message,
)
from campaigns import claiming, ledger, sending, settling
from campaigns.codes import Code
from campaigns.models import Campaign, SendingAccount
from campaigns.tests.running import counts, rows, running, states, usage_of
from campaigns.tests.wires import Wire, work
from integrations.errors import Fault, Rejected, TryLater, Unsure
from integrations.models import Connection, SyncItem
from leads import actions as lead_actions
from leads.models import Lead, LeadScore

pytestmark = pytest.mark.django_db


@pytest.fixture
def wire():
    return Wire()


def later(after=None):
    return TryLater("rate_limited", "Later.", after=after)


def unsure():
    return Unsure("no_answer", "Nobody knows.", fault=Fault.PROVIDER, detail="ReadTimeout")


def rejected(fault):
    return Rejected(f"{fault}_said_no", "No.", fault=fault, detail="the provider's words")


# --- The straight way -------------------------------------------------------------------------


def test_what_is_due_is_sent_once_best_first_and_the_campaign_is_finished(acme, clock, wire):
    campaign = running(acme, clock, leads=5, accounts=[make_account(acme)])
    work(clock, wire)
    work(clock, wire)
    assert wire.handles == [f"lead{campaign.pk}x{n}" for n in range(5)]
    assert counts(campaign) == {"sent": 5}
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
    assert campaign.state == Campaign.State.FINISHED
    row = rows(campaign)[0]
    assert (row.text, row.provider_id, row.claim_token) == ("Oi Ana!", "mid.1", "")
    assert clock.began <= row.dispatched_at <= row.sent_at <= clock.now()


def test_many_rows_over_many_accounts_each_account_one_at_a_time(acme, clock, wire):
    accounts = [make_account(acme) for _ in range(5)]
    campaign = running(acme, clock, leads=60, accounts=accounts)
    flying: set[str] = set()

    def one_at_a_time(message):
        assert message.key not in flying
        flying.add(message.key)

    wire.every = one_at_a_time
    work(clock, wire)
    assert counts(campaign) == {"sent": 60}
    assert not wire.doubled()
    assert len({account for account, _ in wire.by_account}) == 5


def test_many_accounts_without_work_are_parked_in_a_few_looks(acme, clock, wire, monkeypatch):
    monkeypatch.setattr(claiming, "ACCOUNTS_AT_ONCE", 1)
    monkeypatch.setattr(claiming, "ACCOUNTS_AT_MOST", 4)
    running(acme, clock, leads=0, accounts=[make_account(acme) for _ in range(12)])
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=clock.now())
    lease = claiming.lease_accounts
    looks = []

    def counted(*args, **kwargs):
        leased = lease(*args, **kwargs)
        looks.append(sum(map(len, leased.values())))
        return leased

    monkeypatch.setattr(claiming, "lease_accounts", counted)
    work(clock, wire)
    assert looks == [1, 2, 4, 4, 1]
    with scope.as_tenant(acme):
        assert not SendingAccount.objects.exclude(next_at=None).exists()
        assert not SendingAccount.objects.exclude(claim_token="").exists()


def test_while_a_call_is_out_no_long_look_keeps_its_answer_waiting(acme, clock, monkeypatch):
    monkeypatch.setattr(claiming, "ACCOUNTS_AT_ONCE", 1)
    running(acme, clock, leads=0, accounts=[make_account(acme) for _ in range(4)])
    with scope.as_tenant(acme):
        SendingAccount.objects.update(next_at=clock.now())
    turn = sending.Slice(clock, budget_s=60)
    turn.flying = {Future(): None}
    turn._claim()
    assert turn.looks_at == 1
    turn.flying = {}
    turn._claim()
    assert turn.looks_at == 2


def test_every_sent_message_leaves_one_wish_for_the_crm(acme, clock, wire):
    make_connection(acme, Connection.Kind.GHL)
    campaign = running(acme, clock, leads=2)
    work(clock, wire)
    with scope.as_tenant(acme):
        items = list(SyncItem.objects.order_by("key"))
    assert [item.key for item in items] == sorted(f"lead:{r.lead_id}" for r in rows(campaign))
    assert items[0].wanted["tags"] == ["prospectado", "outbound-instagram"]
    assert items[0].wanted["fields"]["last_outreach_message"] == "Oi Ana!"
    assert items[0].wanted["fields"]["source_channel"] == "outbound_instagram_dm"


def test_a_pause_between_two_sends_is_kept_to_the_second(acme, clock, wire):
    account = make_account(acme, gap_min_s=60, gap_max_s=60)
    campaign = running(acme, clock, leads=3, accounts=[account])
    began = clock.now()
    work(clock, wire, budget_s=90)
    assert len(wire.sent) == 2
    times = sorted(row.sent_at for row in rows(campaign) if row.sent_at)
    assert times[0] == began
    assert timedelta(seconds=60) <= times[1] - times[0] <= timedelta(seconds=61)


def test_new_work_does_not_shorten_the_pause(acme, clock, wire):
    account = make_account(acme, gap_min_s=60, gap_max_s=60)
    campaign = running(acme, clock, leads=3, accounts=[account])
    work(clock, wire, budget_s=1)
    with scope.as_tenant(acme):
        ledger.wake([campaign.pk], clock.now())
    work(clock, wire, budget_s=1)
    assert len(wire.sent) == 1
    assert sending.next_send_at() >= clock.now() + timedelta(seconds=50)


@pytest.mark.parametrize("cap", ["day_cap", "hour_cap"])
def test_a_cap_is_kept_and_says_when_it_opens(acme, clock, wire, cap):
    account = make_account(acme, **{cap: 2})
    campaign = running(acme, clock, leads=5, accounts=[account])
    work(clock, wire)
    assert len(wire.sent) == 2
    ahead = timedelta(hours=12) if cap == "day_cap" else timedelta(hours=1)
    assert sending.next_send_at() == clock.began + ahead
    clock.move(ahead.total_seconds())
    work(clock, wire)
    assert len(wire.sent) == 4
    assert counts(campaign) == {"sent": 4, "queued": 1}


def test_outside_the_window_nothing_leaves_and_the_account_sleeps_till_it_opens(acme, clock, wire):
    window = {"days": [0, 1, 2, 3, 4, 5, 6], "from": "20:00", "to": "21:00"}
    running(acme, clock, window=window)
    work(clock, wire)
    assert not wire.sent
    assert sending.next_send_at() == clock.began + timedelta(hours=8)


def test_two_campaigns_that_share_an_account_take_turns(acme, clock, wire):
    account = make_account(acme, hour_cap=4)
    first = running(acme, clock, leads=10, accounts=[account])
    second = running(acme, clock, leads=10, accounts=[account])
    work(clock, wire)
    assert counts(first)["sent"] + counts(second)["sent"] == 4
    assert counts(first)["sent"]
    assert counts(second)["sent"]


def test_a_small_tenant_is_served_beside_a_large_one(acme, rival, clock, wire):
    for _ in range(3):
        running(acme, clock, leads=40, accounts=[make_account(acme) for _ in range(20)])
    small = running(rival, clock, leads=1)
    clock.move(1)
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)
    turn._claim()
    assert small.pk in {held.campaign_id for held in turn.ready}


# --- Gates ------------------------------------------------------------------------------------


def test_whoever_falls_out_after_the_start_is_skipped_with_the_reason(acme, clock, wire):
    campaign = running(acme, clock, leads=6, min_score=60)
    with scope.as_tenant(acme):
        ids = [row.lead_id for row in rows(campaign)]
        Lead.objects.filter(pk=ids[0]).update(suppressed_at=clock.now())
        LeadScore.objects.filter(lead=ids[1]).update(total=59, band="WARM")
        LeadScore.objects.filter(lead=ids[2]).update(total=10, band="NURTURING")
        LeadScore.objects.filter(lead=ids[3]).update(eligible=False)
        LeadScore.objects.filter(lead=ids[4]).delete()
    work(clock, wire)
    assert [row.reason for row in rows(campaign)] == [
        Code.SUPPRESSED,
        Code.BELOW_MIN_SCORE,
        Code.NURTURING_BAND,
        Code.NOT_ELIGIBLE,
        Code.NOT_SCORED,
        "",
    ]
    assert counts(campaign) == {"skipped": 5, "sent": 1}
    assert sum(row.used for row in usage_of(acme)) == 2  # one day, one hour


def test_an_empty_placeholder_without_fallback_holds_the_lead(acme, clock, wire):
    campaign = running(acme, clock, leads=1, body="Oi {first_name}, de {city}?")
    work(clock, wire)
    (row,) = rows(campaign)
    assert (row.state, row.reason, row.error) == ("skipped", Code.MISSING_VARIABLE, "city")


def test_campaigns_take_turns_on_an_account_that_pauses(acme, clock, wire):
    account = make_account(acme, gap_min_s=60, gap_max_s=60, jitter_percent=0)
    first = running(acme, clock, leads=4, accounts=[account])
    second = running(acme, clock, leads=4, accounts=[account])
    for _ in range(4):
        work(clock, wire, budget_s=1)
        clock.move(60)
    assert states(first).count("sent") == states(second).count("sent") == 2


def test_of_two_campaigns_one_writes_first(acme, clock, wire):
    lead = make_lead(acme, "ana")
    one, two = (make_campaign(acme, state="running") for _ in range(2))
    for campaign in (one, two):
        make_message(campaign, lead, due_at=clock.now())
    with scope.as_tenant(acme):
        ledger.wake([one.pk, two.pk], clock.now())
    work(clock, wire)
    assert wire.handles == ["ana"]
    assert sorted([*states(one), *states(two)]) == ["sent", "skipped"]


def test_a_first_touch_after_the_claim_is_seen_at_the_mark(acme, clock, wire):
    campaign = running(acme, clock, leads=1)
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)
    turn._claim()
    with scope.as_tenant(acme):
        Lead.objects.update(first_touch_at=clock.now(), first_touch_by=10**9)
    turn.run()
    assert not wire.sent
    assert [row.reason for row in rows(campaign)] == [Code.CONTACT_POLICY_GAP]
    assert all(row.used == 0 for row in usage_of(acme))


def test_a_suppression_after_the_claim_is_seen_at_the_mark(acme, clock, wire, alice):
    campaign = running(acme, clock, leads=1)
    turn = sending.Slice(clock, budget_s=20, channel=wire.of, stop=lambda: False)
    turn._claim()
    with scope.as_tenant(acme):
        handle = rows(campaign)[0].lead.handle
        lead_actions.suppress(acme, handle=handle, reason="asked", by=alice, now=clock.now())
    turn.run()
    assert not wire.sent
    assert [row.reason for row in rows(campaign)] == [Code.SUPPRESSED]


# --- Failures ---------------------------------------------------------------------------------


def test_later_goes_back_to_the_queue_and_gives_its_allowance_back(acme, clock, wire):
    campaign = running(acme, clock, leads=1)
    wire.answers["*"] = [later(timedelta(seconds=40))]
    work(clock, wire, budget_s=5)
    (row,) = rows(campaign)
    assert (row.state, row.attempts, row.reason, row.dispatched_at) == (
        "queued",
        1,
        "rate_limited",
        None,
    )
    assert row.due_at >= clock.now() + timedelta(seconds=39)
    assert all(usage.used == 0 for usage in usage_of(acme))
    clock.move(60)
    work(clock, wire)
    assert counts(campaign) == {"sent": 1}


def test_the_retry_says_the_very_same_words(acme, clock, wire):
    campaign = running(acme, clock, leads=1, body="{{Oi|Olá|E aí}} {first_name}")
    wire.answers["*"] = [later()]
    work(clock, wire, budget_s=0.5)
    text = rows(campaign)[0].text
    with scope.as_tenant(acme):
        Lead.objects.update(name="Somebody Else")
    clock.move(60)
    work(clock, wire)
    assert [message.text for message in wire.sent] == [text]


def test_attempts_have_an_end(acme, clock, wire):
    campaign = running(acme, clock, leads=1)
    wire.answers["*"] = [later() for _ in range(50)]
    for _ in range(20):
        clock.move(7200)
        work(clock, wire, budget_s=1)
    (row,) = rows(campaign)
    assert (row.state, row.attempts) == ("failed", django_settings.SEND_MAX_ATTEMPTS)
    with scope.as_tenant(acme):
        assert Lead.objects.get().first_touch_at is None


def test_a_long_outage_slows_the_account_down_instead_of_burning_the_rows(acme, clock, wire):
    campaign = running(acme, clock, leads=30)
    wire.answers["*"] = [later() for _ in range(10_000)]
    for _ in range(60):  # an hour
        work(clock, wire, budget_s=60)
        clock.move(0.1)
    assert counts(campaign) == {"queued": 30}
    assert 10_000 - len(wire.answers["*"]) < 40


def test_perhaps_done_is_unknown_and_never_sent_again_by_itself(acme, clock, wire):
    campaign = running(acme, clock, leads=1)
    wire.answers["*"] = [unsure()]
    for _ in range(3):
        work(clock, wire)
        clock.move(3600)
        settling.reap(clock.now())
    (row,) = rows(campaign)
    assert (row.state, row.reason, row.error) == ("unknown", "no_answer", "ReadTimeout")
    assert not wire.sent
    assert [usage.used for usage in usage_of(acme)] == [1, 1]


def test_a_bug_in_an_adapter_is_unknown_too(acme, clock, wire):
    campaign = running(acme, clock, leads=1)

    def bug(message):
        raise ZeroDivisionError

    wire.every = bug
    work(clock, wire)
    assert [(row.state, row.reason) for row in rows(campaign)] == [("unknown", "adapter_failed")]


def test_a_refusal_of_the_lead_fails_that_lead_alone(acme, clock, wire):
    campaign = running(acme, clock, leads=5)
    for row in rows(campaign)[:4]:
        wire.answers[f"lead{campaign.pk}x{row.position}"] = [rejected(Fault.LEAD)]
    work(clock, wire)
    assert counts(campaign) == {"failed": 4, "sent": 1}
    assert rows(campaign)[0].sentence == "No."


def test_three_refusals_of_the_request_in_a_row_pause_the_campaign(acme, clock, wire):
    campaign = running(acme, clock, leads=10, accounts=[make_account(acme)])
    wire.answers["*"] = [rejected(Fault.REQUEST) for _ in range(10)]
    work(clock, wire)
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
    assert (campaign.state, campaign.reason) == ("paused", Code.TEMPLATE_REJECTED)
    assert campaign.reason_detail == "the provider's words"
    assert counts(campaign) == {"failed": 3, "queued": 7}


def test_a_dead_token_burns_no_lead(acme, clock, wire):
    campaign = running(acme, clock, leads=4, accounts=[make_account(acme)])
    wire.answers["*"] = [rejected(Fault.ACCOUNT)]
    work(clock, wire)
    with scope.as_tenant(acme):
        campaign.refresh_from_db()
        account = SendingAccount.objects.select_related("connection").get()
    assert (campaign.state, campaign.reason) == ("blocked", Code.SESSION_INVALID)
    assert (account.state, account.connection.state) == ("blocked", "broken")
    assert counts(campaign) == {"queued": 4}
    assert {row.attempts for row in rows(campaign)} == {0}
    assert all(usage.used == 0 for usage in usage_of(acme))


def test_a_blocked_account_leaves_its_work_to_the_others(acme, clock, wire):
    dead, alive = make_account(acme), make_account(acme)
    campaign = running(acme, clock, leads=6, accounts=[dead, alive])

    def check(message):
        pass

    original = wire.of

    def of(account):
        end = original(account)
        if account.pk == dead.pk:
            end.send = lambda message: (_ for _ in ()).throw(rejected(Fault.ACCOUNT))
        return end

    wire.of = of
    work(clock, wire)
    assert counts(campaign) == {"sent": 6}
    assert {account for account, _ in wire.by_account} == {alive.handle}


def test_a_credential_that_does_not_open_blocks_the_account_with_a_sentence(acme, clock):
    account = make_account(acme)
    campaign = running(acme, clock, leads=1, accounts=[account])
    with scope.as_tenant(acme):
        Connection.objects.filter(pk=account.connection_id).update(secret=b"\x01" + b"0" * 40)
    sending.Slice(clock, budget_s=5, stop=lambda: False).run()
    with scope.as_tenant(acme):
        account.refresh_from_db()
    assert (account.state, account.block_code) == ("blocked", "credential_unreadable")
    assert counts(campaign) == {"queued": 1}
