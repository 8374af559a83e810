"""The operations page: figures, the queue with its gates, claims, dead letters, invariants."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import checking, invariants, scope
from agenticos.models import WorkerBeat
from agenticos.tests import factories
from campaigns import checkups, ops
from campaigns.models import Campaign, CampaignCounts, Checkup, Message, SendingAccount
from integrations.models import Connection, SyncItem

pytestmark = pytest.mark.django_db
PAGE = "/t/acme/ops/"


def text(response):
    return response.content.decode()


def beat(owner="host-a:1", **fields):
    return WorkerBeat.objects.create(owner=owner, **fields)


def checkup_of(tenant):
    with scope.as_tenant(tenant):
        return Checkup.objects.filter(tenant=tenant).first()


# --- Who may look -------------------------------------------------------------------------------


def test_owners_and_managers_look_and_others_are_told_why_not(acme, alice, vera, browser):
    manager = factories.make_member(acme, "manager").user
    assert browser(alice).get(PAGE).status_code == 200
    assert browser(manager).get(PAGE).status_code == 200
    assert browser(vera).get(PAGE).status_code == 403
    assert browser(vera).post(f"{PAGE}check/").status_code == 403
    assert checkup_of(acme) is None


def test_the_menu_and_the_palette_lead_to_it(acme, alice, vera, browser):
    assert f'href="{PAGE}"' in text(browser(alice).get("/t/acme/"))
    assert f'href="{PAGE}"' in text(browser(alice).get("/t/acme/search/", {"q": "operations"}))
    assert PAGE not in text(browser(vera).get("/t/acme/"))


def test_nothing_of_another_tenant_is_on_it(acme, rival, alice, browser):
    theirs = factories.make_campaign(rival, state="running", name="Their secret plan")
    factories.make_message(theirs)
    factories.make_message(theirs, state="failed", reason="their_reason")
    factories.make_message(theirs, state="claimed", account=_account(theirs))
    crm = factories.make_connection(rival, Connection.Kind.GHL, name="Their CRM")
    factories.make_sync_item(crm, "lead:1", state="failed", reason="their_refusal")
    with scope.as_tenant(rival):
        checkups.ask(rival, timezone.now())
    for tab in ("queue", "claims", "letters", "invariants"):
        shown = text(browser(alice).get(PAGE, {"tab": tab}))
        for secret in ("Their", "their_", str(_account(theirs))):
            assert secret not in shown


def _account(campaign):
    with scope.as_tenant(campaign.tenant_id):
        return SendingAccount.objects.get(campaign_links__campaign=campaign)


def test_staff_read_it_in_the_administration_and_act_nowhere(acme, browser):
    staff = factories.make_user("staff@example.com", is_staff=True, is_superuser=True)
    campaign = factories.make_campaign(acme, state="running", name="Spring")
    factories.make_message(campaign)
    factories.make_message(campaign, state="failed", reason="recipient_gone")
    beat("host-a:77")
    address = reverse("admin:tenants_tenant_ops", args=[acme.pk])
    for tab in ("queue", "claims", "letters", "invariants"):
        shown = text(browser(staff).get(address, {"tab": tab}))
        assert "host-a:77" in shown
        assert "/t/acme/" not in shown
        assert "<form" not in shown.partition('id="ops"')[2].partition("</main>")[0]
    assert "Spring" in text(browser(staff).get(address))
    part = text(browser(staff, htmx="ops").get(address))
    assert "<html" not in part
    assert "Spring" in part
    nobody = factories.make_user("nobody@example.com")
    assert browser(nobody).get(address).status_code in (302, 403, 404)


# --- Figures ------------------------------------------------------------------------------------


def test_without_workers_it_says_that_it_is_stale(acme, alice, browser):
    assert "Stale: no worker is running." in text(browser(alice).get(PAGE))
    beat(seen_at=timezone.now() - timedelta(minutes=3))
    stale = text(browser(alice).get(PAGE))
    assert "Stale: no worker is running." in stale
    assert "3 min ago" in stale
    beat("host-b:2")
    fresh = text(browser(alice).get(PAGE))
    assert "Stale" not in fresh
    assert "host-b" not in fresh  # names of machines are for staff


def test_a_group_that_stopped_in_order_is_not_counted(acme, alice, browser):
    beat(stopped_at=timezone.now())
    assert browser(alice).get(PAGE).context["workers"].groups == 0


def test_the_figures_count_this_tenants_rows(acme, in_tenant, rung):
    in_tenant(acme)
    running = factories.make_campaign(acme, state="running")
    for _ in range(3):
        factories.make_message(running)
    now = timezone.now()
    factories.make_message(running, due_at=now + timedelta(hours=1))
    factories.make_message(factories.make_campaign(acme, state="paused"))
    crm = factories.make_connection(acme, Connection.Kind.GHL)
    factories.make_sync_item(crm, "lead:1")
    found = {one.label: one.count for one in ops.depth(acme, now)}
    assert found["Messages due"] == 3
    assert found["Wishes to the CRM"] == 1
    assert found["Imports"] == found["Jobs"] == found["Test messages"] == 0


def test_more_than_is_counted_is_said_so(acme, in_tenant, monkeypatch):
    in_tenant(acme)
    monkeypatch.setattr(ops, "COUNT_MOST", 2)
    running = factories.make_campaign(acme, state="running")
    for _ in range(4):
        factories.make_message(running)
    first = ops.depth(acme, timezone.now())[0]
    assert (first.count, first.more) == (2, True)


def test_what_was_sent_stands_in_its_minute(acme, in_tenant):
    in_tenant(acme)
    now = timezone.now()
    running = factories.make_campaign(acme, state="running")
    for seconds in (5, 30, 90, 9 * 60 + 59, 11 * 60):
        at = now - timedelta(seconds=seconds)
        factories.make_message(running, state="sent", sent_at=at, updated_at=at)
    assert ops.sent_by_minute(now) == [1, 0, 0, 0, 0, 0, 0, 0, 1, 2]


def test_troubles_of_the_last_hour_are_counted_by_reason(acme, in_tenant):
    in_tenant(acme)
    now = timezone.now()
    running = factories.make_campaign(acme, state="running")
    for minutes, state, reason in (
        (1, "failed", "recipient_gone"),
        (2, "failed", "recipient_gone"),
        (3, "unknown", "outcome_unknown"),
        (61, "failed", "recipient_gone"),
    ):
        at = now - timedelta(minutes=minutes)
        factories.make_message(running, state=state, reason=reason, updated_at=at)
    found = [(one.reason, one.count) for one in ops.provider_troubles(acme, now)]
    assert found == [("recipient_gone", 2), ("outcome_unknown", 1)]


def test_a_connection_is_in_trouble_until_it_works_again(acme, in_tenant):
    in_tenant(acme)
    now = timezone.now()
    factories.make_connection(
        acme,
        Connection.Kind.GHL,
        trouble_at=now - timedelta(minutes=5),
        trouble_code="http_429",
        trouble_sentence="The provider asks us to wait.",
    )
    assert [one.reason for one in ops.line_troubles(acme, now)] == ["http_429"]
    Connection.objects.update(ok_at=now)
    assert ops.line_troubles(acme, now) == []


# --- Queue, claims, letters -----------------------------------------------------------------------


def test_the_queue_names_the_gate_that_holds_each_campaign(acme, alice, browser, in_tenant):
    in_tenant(acme)
    now = timezone.now()
    spent = factories.make_account(acme, day_cap=0)
    held = factories.make_campaign(acme, state="running", name="Held", accounts=[spent])
    free = factories.make_campaign(acme, state="running", name="Free")
    later = factories.make_campaign(acme, state="running", name="Later")
    factories.make_message(held, due_at=now - timedelta(minutes=9))
    factories.make_message(free, due_at=now - timedelta(minutes=2))
    factories.make_message(later, due_at=now + timedelta(hours=2))
    rows = ops.queue(acme, now)
    assert [row.campaign.name for row in rows] == ["Held", "Free", "Later"]
    assert [row.late for row in rows] == [True, True, False]
    assert [row.why.code for row in rows] == ["account_daily_cap", "", "back_off"]
    shown = text(browser(alice).get(PAGE))
    assert "9 min ago" in shown
    assert rows[0].why.sentence in shown


def test_many_campaigns_are_diagnosed_as_each_alone(acme, in_tenant):
    """The page asks for all of them at once; the panel for one. Both must say the same."""
    from campaigns import diagnosis

    in_tenant(acme)
    now = timezone.now()
    blocked = factories.make_account(acme, state="blocked", block_code="session_invalid")
    spent = factories.make_account(acme, day_cap=0)
    made = [
        factories.make_campaign(acme, state="running", accounts=[blocked]),
        factories.make_campaign(acme, state="running", accounts=[spent]),
        factories.make_campaign(acme, state="running", accounts=[blocked, spent]),
        factories.make_campaign(acme, state="running", day_cap=0),
        factories.make_campaign(acme, state="running"),
    ]
    for campaign in made:
        factories.make_message(campaign)
    found = {row.campaign: row.why for row in ops.queue(acme, now)}
    assert len(found) == len(made)
    for campaign in Campaign.objects.select_related("tenant"):
        assert found[campaign] == diagnosis.diagnose(campaign, now)


def test_claims_show_who_holds_what_and_mark_the_stuck(acme, alice, browser, in_tenant):
    in_tenant(acme)
    now = timezone.now()
    campaign = factories.make_campaign(acme, state="running")
    account = _account(campaign)
    factories.make_message(
        campaign,
        state="claimed",
        account=account,
        lease_owner="host-a:7",
        lease_until=now + timedelta(seconds=30),
        dispatched_at=now,
    )
    crm = factories.make_connection(acme, Connection.Kind.GHL, name="The CRM")
    for minutes, key in ((1, "lead:1"), (5, "lead:2")):
        factories.make_sync_item(
            crm,
            key,
            state="claimed",
            claim_token="t" * 32,
            lease_owner=f"host-{minutes}:7",
            lease_until=now - timedelta(minutes=minutes),
        )
    found = [(one.what, one.worker, one.over, one.stuck) for one in ops.claims(acme, now)]
    assert found == [
        ("The CRM", "host-5:7", True, True),
        ("The CRM", "host-1:7", True, False),
        (str(account), "host-a:7", False, False),
    ]
    shown = text(browser(alice).get(PAGE, {"tab": "claims"}))
    assert "1 message, 1 at the provider" in shown
    assert "stuck" in shown


def test_dead_letters_lead_to_the_pages_that_replay_them(acme, alice, browser, in_tenant):
    in_tenant(acme)
    campaign = factories.make_campaign(acme, state="running")
    stopped = factories.make_campaign(acme, state="cancelled")
    factories.make_message(campaign, state="failed", reason="recipient_gone")
    factories.make_message(campaign, state="unknown")
    factories.make_message(stopped, state="failed")
    crm = factories.make_connection(acme, Connection.Kind.GHL)
    factories.make_sync_item(crm, "lead:1", state="failed", reason="http_422", attempts=5)
    response = browser(alice).get(PAGE, {"tab": "letters"})
    shown = text(response)
    letters = response.context["letters"]
    assert (letters.n_sends, letters.n_syncs) == (3, 1)
    assert reverse("campaigns:retry", args=["acme", campaign.pk]) in shown
    assert reverse("campaigns:retry", args=["acme", stopped.pk]) not in shown
    assert f"{reverse('integrations:replay-group', args=['acme'])}?reason=http_422" in shown
    assert f"{reverse('integrations:dead-letters', args=['acme'])}?reason=http_422" in shown
    # And those pages do it.
    browser(alice).post(reverse("campaigns:retry", args=["acme", campaign.pk]))
    browser(alice).post(f"{reverse('integrations:replay-group', args=['acme'])}?reason=http_422")
    assert Message.objects.filter(state="failed").count() == 1
    assert not SyncItem.objects.filter(state="failed").exists()


# --- Invariants -----------------------------------------------------------------------------------


def test_a_check_is_asked_for_and_a_worker_does_it(acme, alice, browser, rung):
    browser(alice).post(f"{PAGE}check/")
    assert rung == [(checkups.TASK, ())]
    waiting = text(browser(alice).get(PAGE, {"tab": "invariants"}))
    assert "A worker is checking" in waiting
    assert "every 5s" in waiting
    browser(alice).post(f"{PAGE}check/")  # twice is once
    assert len(rung) == 1
    checking.check_slice()
    row = checkup_of(acme)
    assert row.asked_at is None
    assert row.lease_until is None
    assert {one["name"]: one["violations"] for one in row.results} == dict.fromkeys(
        (one.name for one in invariants.INVARIANTS), 0
    )
    shown = text(browser(alice).get(PAGE, {"tab": "invariants"}))
    assert "All of them hold." in shown
    assert "Every claim has a token and a living lease." in shown
    assert "every 5s" not in shown


def test_the_button_answers_htmx_with_the_part(acme, alice, browser, rung):
    shown = text(browser(alice, htmx="ops").post(f"{PAGE}check/"))
    assert "<html" not in shown
    assert "A worker is checking" in shown


def test_what_does_not_hold_is_shown_of_this_tenant_alone(acme, rival, alice, browser, rung):
    for tenant in (acme, rival):
        factories.make_message(factories.make_campaign(tenant, state="running"))
        with scope.as_tenant(tenant):
            checkups.ask(tenant, timezone.now())
    with scope.as_tenant(rival):
        CampaignCounts.objects.update(queued=7)
    checking.check_slice()
    assert all(one["violations"] == 0 for one in checkup_of(acme).results)
    broken = {one["name"]: one["violations"] for one in checkup_of(rival).results}
    assert broken["counters"] == 1
    assert "All of them hold." in text(browser(alice).get(PAGE, {"tab": "invariants"}))
    with scope.as_tenant(acme):
        CampaignCounts.objects.update(queued=7)
        checkups.ask(acme, timezone.now())
    checking.check_slice()
    shown = text(browser(alice).get(PAGE, {"tab": "invariants"}))
    assert "1 of them does not hold." in shown
    assert "CampaignCounts beside Message" in shown


def test_one_that_cannot_be_counted_is_a_finding(acme, alice, browser, rung, monkeypatch):
    from django.db import OperationalError

    def too_long(full):
        raise OperationalError("canceling statement due to statement timeout")

    broken = invariants.Invariant("slow", "It ends.", "…", too_long)
    monkeypatch.setattr(invariants, "INVARIANTS", [broken])
    with scope.as_tenant(acme):
        checkups.ask(acme, timezone.now())
    checking.check_slice()
    assert checkup_of(acme).results[0]["violations"] is None
    assert "could not be counted" in text(browser(alice).get(PAGE, {"tab": "invariants"}))


def test_a_check_is_repeated_after_a_day_and_not_before(acme, rung):
    assert checking.next_check_at() is None
    with scope.as_tenant(acme):
        checkups.ask(acme, timezone.now())
    assert checking.next_check_at() <= timezone.now()
    checking.check_slice()
    done = checkup_of(acme).done_at
    assert checking.next_check_at() == done + checkups.AGAIN_AFTER
    checking.check_slice()
    assert checkup_of(acme).done_at == done
    with scope.as_tenant(acme):
        Checkup.objects.update(done_at=done - checkups.AGAIN_AFTER)
    checking.check_slice()
    assert checkup_of(acme).done_at >= done


def test_a_worker_that_lost_its_lease_writes_nothing(acme, rung, monkeypatch):
    def stolen(full):
        Checkup.objects.update(claim_token="other")
        return 0

    thief = invariants.Invariant("thief", "…", "…", stolen)
    monkeypatch.setattr(invariants, "INVARIANTS", [thief, thief])
    with scope.as_tenant(acme):
        checkups.ask(acme, timezone.now())
    checking.check_slice()
    row = checkup_of(acme)
    assert row.done_at is None
    assert row.claim_token == "other"
    assert checking.next_check_at() == row.lease_until


# --- The page as a page ---------------------------------------------------------------------------


@pytest.mark.parametrize("tab", ["queue", "claims", "letters", "invariants"])
def test_the_number_of_queries_does_not_grow(acme, alice, browser, in_tenant, rung, tab):
    def fill():
        blocked = factories.make_account(acme, state="blocked", block_code="session_invalid")
        for state in ("running", "paused"):
            campaign = factories.make_campaign(acme, state=state, day_cap=100)
            factories.make_message(campaign)
            factories.make_message(campaign, state="failed", reason="recipient_gone")
            factories.make_message(campaign, state="claimed", account=_account(campaign))
        factories.make_message(factories.make_campaign(acme, state="running", accounts=[blocked]))
        crm = factories.make_connection(acme, Connection.Kind.GHL)
        factories.make_sync_item(crm, "lead:1", state="failed", reason="http_422")
        factories.make_sync_item(crm, "lead:2", reason="http_429")

    def queries():
        with CaptureQueriesContext(connection) as found:
            assert knocks.get(PAGE, {"tab": tab}).status_code == 200
        return [one["sql"] for one in found if "FROM" in one["sql"]]

    knocks = browser(alice)
    in_tenant(acme)
    checkups.ask(acme, timezone.now())
    checking.check_slice()
    fill()
    knocks.get(PAGE)
    few = queries()
    fill()
    fill()
    many = queries()
    assert len(many) == len(few)
    assert len(few) <= 40


def test_an_empty_workspace_says_so_on_every_tab(acme, alice, browser):
    beat()
    words = {
        "queue": "The queue is empty",
        "claims": "Nothing is claimed",
        "letters": "No dead letters",
        "invariants": "Nothing has been counted yet",
    }
    for tab, sentence in words.items():
        shown = text(browser(alice).get(PAGE, {"tab": tab}))
        assert sentence in shown
        assert "every 5s" not in shown
    assert "The queue is empty" in text(browser(alice).get(PAGE, {"tab": "rubbish"}))


def test_it_polls_while_something_moves_and_as_a_part(acme, alice, browser):
    factories.make_message(factories.make_campaign(acme, state="running"))
    assert "every 5s" in text(browser(alice).get(PAGE))
    part = text(browser(alice, htmx="ops").get(PAGE, {"tab": "queue"}))
    assert "<html" not in part
    assert 'id="ops"' in part


def test_in_portuguese_the_invariants_are_too(acme, alice, browser, rung):
    alice.language = "pt-br"
    alice.save()
    with scope.as_tenant(acme):
        checkups.ask(acme, timezone.now())
    checking.check_slice()
    shown = text(browser(alice).get(PAGE, {"tab": "invariants"}))
    assert "Operações" in shown
    for one in invariants.INVARIANTS:
        assert one.sentence not in shown
