"""One gate for all: panel, gate list, lead and account say what the worker would do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_lead,
    make_member,
    make_message,
)
from campaigns import diagnosis, ledger
from campaigns.codes import Code
from campaigns.gates import Gate
from campaigns.models import AccountUsage, CampaignAccount, Message
from campaigns.tests.wires import Wire, work

pytestmark = pytest.mark.django_db
NIGHT = {"days": [0, 1, 2, 3, 4, 5, 6], "from": "22:00", "to": "23:00"}


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    in_tenant(acme)


def running(acme, clock, *, account=None, lead=None, due=0, **fields):
    """A running campaign with one queued row."""
    accounts = [account or make_account(acme)]
    campaign = make_campaign(acme, accounts=accounts, **{"state": "running", **fields})
    at = clock.now() + timedelta(seconds=due)
    return campaign, make_message(campaign, lead or make_lead(acme), due_at=at)


def used(account, clock, count, *, hour=False):
    zone = account.zone(account.tenant)
    period = ledger.periods_of(zone, clock.now())[1 if hour else 0]
    AccountUsage.objects.create(tenant=account.tenant, account=account, period=period, used=count)


# What is in the way: how it is brought about, its code, its kind, how long it lasts.


def stopped(acme, clock):
    acme.stopped_at = clock.now()
    acme.save()
    return running(acme, clock)


def paused(acme, clock):
    return running(acme, clock, state="paused")


def night(acme, clock):
    return running(acme, clock, window=NIGHT)


def no_account(acme, clock):
    return running(acme, clock, account=make_account(acme, state="blocked"))


def day_full(acme, clock):
    account = make_account(acme, day_cap=3)
    used(account, clock, 3)
    return running(acme, clock, account=account)


def hour_full(acme, clock):
    account = make_account(acme, hour_cap=3)
    used(account, clock, 3, hour=True)
    return running(acme, clock, account=account)


def resting(acme, clock):
    free_at = clock.now() + timedelta(seconds=70)
    return running(acme, clock, account=make_account(acme, free_at=free_at))


def backing_off(acme, clock):
    return running(acme, clock, due=300)


BLOCKS = [
    (stopped, Gate.TENANT, Code.TENANT_STOP, "blocked", None),
    (paused, Gate.CAMPAIGN, Code.CAMPAIGN_PAUSED, "blocked", None),
    (night, Gate.WINDOW, Code.OUTSIDE_WINDOW, "wait", timedelta(hours=10)),
    (no_account, Gate.ACCOUNT, Code.NO_ELIGIBLE_ACCOUNT, "blocked", None),
    (day_full, Gate.DAY_CAP, Code.ACCOUNT_DAILY_CAP, "wait", timedelta(hours=12)),
    (hour_full, Gate.HOUR_CAP, Code.ACCOUNT_HOURLY_CAP, "wait", timedelta(hours=1)),
    (resting, Gate.GAP, Code.MINIMUM_GAP, "wait", timedelta(seconds=70)),
    (backing_off, Gate.DUE, Code.BACK_OFF, "wait", timedelta(seconds=300)),
]


@pytest.mark.parametrize(("bring", "gate", "code", "kind", "wait"), BLOCKS)
def test_campaign_list_and_lead_name_the_same_gate_and_the_worker_obeys(
    acme, clock, bring, gate, code, kind, wait
):
    campaign, message = bring(acme, clock)
    until = clock.now() + wait if wait else None
    panel = diagnosis.diagnose(campaign, clock.now())
    assert (panel.code, panel.kind, panel.until) == (code, kind, until)
    first = next(line for line in diagnosis.all_gates(campaign, clock.now()) if line.first)
    assert (first.gate, first.code, first.kind, first.until) == (gate, code, kind, until)
    lead = diagnosis.diagnose_message(message, clock.now())
    assert (lead.code, lead.kind, lead.until) == (code, kind, until)
    wire = Wire()
    ledger.wake([campaign.pk], clock.now())
    work(clock, wire, budget_s=1)
    assert not wire.sent
    if wait and code is not Code.OUTSIDE_WINDOW:
        clock.move(wait.total_seconds())
        ledger.wake([campaign.pk], clock.now())
        work(clock, wire, budget_s=1)
        assert wire.sent


def test_every_gate_that_can_be_opened_by_a_person_says_where(acme, clock):
    for bring, _gate, code, kind, _wait in BLOCKS[::-1]:
        campaign, _message = bring(acme, clock)
        found = diagnosis.diagnose(campaign, clock.now())
        assert (found.fix is not None) or kind == "wait", code


def test_the_gates_of_an_open_campaign_all_have_a_tick(acme, clock):
    campaign, message = running(acme, clock)
    lines = diagnosis.all_gates(campaign, clock.now())
    assert {line.kind for line in lines} == {"ok"}
    assert not any(line.first for line in lines)
    found = diagnosis.diagnose_message(message, clock.now())
    assert (found.code, found.kind) == (Code.FAIR_SHARE_TURN, "wait")


def test_the_account_that_may_send_first_speaks_for_all(acme, clock):
    full, soon = make_account(acme, day_cap=1), make_account(acme, "soon", hour_cap=1)
    used(full, clock, 1)
    used(soon, clock, 1, hour=True)
    campaign, message = running(acme, clock, account=full)
    CampaignAccount.objects.create(tenant=acme, campaign=campaign, account=soon)
    hour = next(
        line for line in diagnosis.all_gates(campaign, clock.now()) if line.gate == Gate.HOUR_CAP
    )
    assert (hour.first, hour.who) == (True, "@soon")
    assert diagnosis.diagnose_message(message, clock.now()).code == Code.ACCOUNT_HOURLY_CAP


@pytest.mark.parametrize(
    ("lead", "code"),
    [
        ({"suppressed_at": timezone.now()}, Code.SUPPRESSED),
        ({"score": None}, Code.NOT_SCORED),
        ({"score": 10}, Code.NURTURING_BAND),
        ({"score": 55}, Code.BELOW_MIN_SCORE),
        ({"first_touch_at": timezone.now(), "first_touch_by": 10**9}, Code.CONTACT_POLICY_GAP),
        ({"city": ""}, Code.MISSING_VARIABLE),
    ],
)
def test_a_lead_that_will_be_skipped_says_so_before_and_the_worker_agrees(acme, clock, lead, code):
    clock.move((timezone.now() - clock.now()).total_seconds())
    campaign, message = running(
        acme,
        clock,
        lead=make_lead(acme, **{"city": "Recife", **lead}),
        min_score=60,
        body="Oi, de {city}?",
    )
    found = diagnosis.diagnose_message(message, clock.now())
    assert (found.code, found.kind) == (code, "skip")
    ledger.wake([campaign.pk], clock.now())
    work(clock, Wire(), budget_s=1)
    message.refresh_from_db()
    assert (message.state, message.reason) == ("skipped", code)
    after = diagnosis.diagnose_message(Message.objects.get(), clock.now())
    assert (after.code, after.kind) == (code, "done")


def test_a_message_waits_for_those_before_it(acme, clock):
    account = make_account(acme, gap_min_s=60, gap_max_s=60)
    campaign, _first = running(acme, clock, account=account)
    later = [make_message(campaign, due_at=clock.now(), position=n) for n in (1, 2)]
    found = diagnosis.diagnose_message(later[-1], clock.now())
    assert (found.code, found.until) == (Code.FAIR_SHARE_TURN, clock.now() + timedelta(minutes=2))


def test_an_account_says_why_until_when_and_what_to_do(acme, clock):
    assert diagnosis.diagnose_account(make_account(acme), clock.now()).kind == "ok"
    full = make_account(acme, hour_cap=1)
    used(full, clock, 1, hour=True)
    waits = diagnosis.diagnose_account(full, clock.now())
    assert (waits.code, waits.kind) == (Code.ACCOUNT_HOURLY_CAP, "wait")
    assert waits.until == clock.now() + timedelta(hours=1)
    blocked = make_account(
        acme, state="blocked", block_code="blocked_by_person", block_detail="on leave"
    )
    found = diagnosis.diagnose_account(blocked, clock.now())
    assert (found.code, found.kind, found.detail) == ("blocked_by_person", "blocked", "on leave")
    assert found.fix.url == reverse("accounts:unblock", args=["acme", blocked.pk])
    acme.stopped_at = clock.now()
    blocked.tenant = acme
    assert diagnosis.diagnose_account(blocked, clock.now()).code == Code.TENANT_STOP


# --- The page ---------------------------------------------------------------------------------


def gates_url(acme, campaign):
    return reverse("campaigns:gates", args=[acme.slug, campaign.pk])


def test_the_list_is_a_page_and_a_dialog(acme, clock, alice, browser):
    campaign, _message = running(acme, clock, state="paused")
    page = browser(alice).get(gates_url(acme, campaign)).content.decode()
    assert page.count("<h1") == 1
    assert page.count('aria-current="true"') >= 1
    assert "needs a person" in page
    part = browser(alice, htmx="dialog-body").get(gates_url(acme, campaign)).content.decode()
    assert "<html" not in part
    assert 'id="dialog-title"' in part


def test_a_fix_is_offered_to_those_who_may(acme, clock, browser):
    campaign, _message = running(acme, clock, state="paused")
    resume = reverse("campaigns:resume", args=[acme.slug, campaign.pk])
    for role, may in (("owner", True), ("viewer", False)):
        page = browser(make_member(acme, role).user).get(gates_url(acme, campaign))
        assert (resume in page.content.decode()) is may


def test_another_tenants_gates_are_404(acme, rival, alice, browser):
    theirs = make_campaign(rival, state="running")
    for name in ("gates", "forecast"):
        address = reverse(f"campaigns:{name}", args=[acme.slug, theirs.pk])
        assert browser(alice).get(address).status_code == 404


def test_the_list_costs_the_same_with_more_rows(acme, clock, alice, browser):
    client = browser(alice)
    campaign, message = running(acme, clock)

    def cost():
        with CaptureQueriesContext(connection) as page:
            client.get(gates_url(acme, campaign))
        with CaptureQueriesContext(connection) as lead:
            diagnosis.diagnose_message(message, clock.now())
        with CaptureQueriesContext(connection) as account:
            diagnosis.diagnose_account(message.campaign.accounts.first(), clock.now())
        return len(page), len(lead), len(account)

    cost()
    few = cost()
    for number in range(5):
        make_message(campaign, position=number + 1)
        account = make_account(acme)
        CampaignAccount.objects.create(tenant=acme, campaign=campaign, account=account)
    assert cost() == few
    assert max(few) <= 20
