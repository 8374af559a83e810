"""The start of a tenant: every number equals the rows behind its link, for each role."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_connection,
    make_icp,
    make_lead,
    make_member,
    make_message,
    make_sync_item,
    make_tenant,
)
from campaigns.models import CampaignCounts, Message, Template
from campaigns.views.home import sent_today, today_of
from integrations.models import Connection
from leads.models import LeadImport

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(acme, browser):
    """A browser for somebody with a role in acme."""
    return lambda role, htmx="": browser(make_member(acme, role).user, htmx=htmx)


def home(acme):
    return reverse("tenant-home", args=[acme.slug])


def text(response):
    return unescape(response.content.decode())


def main_of(response):
    return text(response).split('<main id="main"')[1].split("</main>")[0]


def worked(campaign, at=None):
    """The campaign as one that worked today."""
    with scope.as_tenant(campaign.tenant_id):
        CampaignCounts.objects.filter(campaign=campaign).update(worked_at=at or timezone.now())


def make_import(tenant, state="failed", name="leads.csv", **fields):
    with scope.as_tenant(tenant):
        return LeadImport.objects.create(tenant=tenant, file_name=name, state=state, **fields)


def filled(acme):
    """One of everything that needs somebody, and one campaign that runs."""
    account = make_account(acme, "conta")
    campaign = make_campaign(acme, state="running", name="Outono", accounts=[account])
    for state, number in (("sent", 4), ("unknown", 2), ("queued", 3)):
        for _ in range(number):
            make_message(campaign, state=state, account=account)
    worked(campaign)
    make_campaign(acme, state="blocked", name="Parada", reason="session_invalid")
    make_campaign(acme, name="Rascunho")
    make_account(acme, "bloqueada", state="blocked", block_code="session_invalid")
    make_import(acme)
    make_sync_item(make_connection(acme, Connection.Kind.GHL), "lead:1", state="failed")
    return campaign, account


# --- What needs me ----------------------------------------------------------------------------


def test_what_needs_somebody_leads_to_where_it_is_done(acme, alice, browser):
    campaign, _ = filled(acme)
    page = main_of(browser(alice).get(home(acme)))
    rows = reverse("campaigns:audience", args=["acme", campaign.pk]) + "?state=unknown"
    assert f'href="{rows}">Outono</a>' in page
    assert "2 messages may or may not have arrived" in page
    for word in ("Parada", "@bloqueada", "leads.csv", "Dead letters", "Rascunho"):
        assert f">{word}</a>" in page, word


@pytest.mark.parametrize(
    ("role", "draft", "letters"),
    [
        ("owner", "Look it over and start it.", True),
        ("manager", "Look it over and start it.", True),
        ("operator", "ask a manager to start it.", False),
        ("reviewer", "", False),
        ("viewer", "", False),
    ],
)
def test_each_role_sees_what_it_can_do_something_about(acme, person, role, draft, letters):
    filled(acme)
    page = main_of(person(role).get(home(acme)))
    assert ("Dead letters" in page) is letters
    assert draft in page
    assert ("Rascunho" in page) is bool(draft)
    assert "2 messages may or may not have arrived" in page


def test_a_viewer_gets_controls_disabled_with_the_reason(acme, vera, browser):
    page = main_of(browser(vera).get(home(acme)))
    assert page.count("Your role does not allow this. It takes: Owner, Manager, Operator.") == 2
    assert reverse("campaigns:create", args=["acme"]) not in page


def test_an_import_that_came_in_since_needs_nobody(acme, alice, browser):
    make_import(acme, name="a.csv")
    make_import(acme, "done", name="a.csv")
    make_import(acme, name="b.csv")
    old = make_import(acme, name="old.csv")
    with scope.as_tenant(acme):
        LeadImport.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=30))
    page = main_of(browser(alice).get(home(acme)))
    assert "b.csv" in page
    assert "a.csv" not in page
    assert "old.csv" not in page


def test_many_of_a_kind_are_cut_and_shown_on_request(acme, alice, browser):
    for number in range(8):
        make_campaign(acme, name=f"Draft {number}", accounts=[])
    client = browser(alice)
    page = main_of(client.get(home(acme)))
    assert len(re.findall(r">Draft \d</a>", page)) == 5
    assert "?all=1" in page
    assert len(re.findall(r">Draft \d</a>", main_of(client.get(home(acme) + "?all=1")))) == 8


def test_nothing_needs_somebody_in_a_quiet_workspace(acme, alice, browser):
    assert "Nothing needs anybody" in main_of(browser(alice).get(home(acme)))


def test_another_tenants_needs_are_not_shown(acme, alice, browser):
    filled(make_tenant("other"))
    page = main_of(browser(alice).get(home(acme)))
    assert "Outono" not in page
    assert "@bloqueada" not in page


# --- What runs --------------------------------------------------------------------------------


def test_the_numbers_of_a_running_campaign_equal_the_rows_behind_them(acme, alice, browser):
    campaign, _ = filled(acme)
    client = browser(alice)
    page = main_of(client.get(home(acme)))
    address = reverse("campaigns:audience", args=["acme", campaign.pk])
    found = re.findall(rf'href="{address}\?state=(\w+)"><b>(\d+)</b>', page)
    assert sorted(found) == [("queued", "3"), ("sent", "4"), ("unknown", "2")]
    with scope.as_tenant(acme):
        for state, number in found:
            assert campaign.messages.filter(state=state).count() == int(number)


def test_the_live_part_asks_again_only_while_something_moves(acme, alice, browser):
    client = browser(alice, htmx="home")
    assert "every 3s" not in text(client.get(home(acme)))
    campaign = make_campaign(acme, state="running")
    part = text(client.get(home(acme)))
    assert part.lstrip().startswith('<div id="home"')
    assert 'hx-trigger="every 3s"' in part
    with scope.as_tenant(acme):
        campaign.move_to("paused")
    assert "every 3s" not in text(client.get(home(acme)))
    make_import(acme, "running")
    assert "every 3s" in text(client.get(home(acme)))


def test_a_stopped_workspace_says_why_nothing_leaves(acme, alice, browser):
    filled(acme)
    acme.stopped_at = timezone.now()
    acme.save()
    page = main_of(browser(alice).get(home(acme)))
    assert "stop" in page.split('id="running-title"')[1].lower()


# --- Today ------------------------------------------------------------------------------------


def test_todays_numbers_equal_the_rows_behind_them(acme, alice, browser):
    campaign, account = filled(acme)
    other = make_account(acme, "outra")
    make_message(campaign, state="sent", account=other)
    make_message(
        campaign, state="sent", account=other, sent_at=timezone.now() - timedelta(hours=26)
    )
    client = browser(alice)
    page = main_of(client.get(home(acme)))
    address = reverse("tenant-today", args=["acme"])
    numbers = dict(re.findall(rf'href="{address}\?account=(\d+)">(\d+)</a>', page))
    assert numbers == {str(account.pk): "4", str(other.pk): "1"}
    assert "<b>5</b>" in page
    for pk, number in numbers.items():
        rows = main_of(client.get(address, {"account": pk}))
        assert rows.count("<tr><td>") == int(number)
    assert main_of(client.get(address)).count("<tr><td>") == 5


def test_what_a_removed_account_sent_today_still_counts(acme, alice, browser):
    account = filled(acme)[1]
    with scope.as_tenant(acme):
        Message.objects.filter(account=account).update(account=None)
    page = main_of(browser(alice).get(home(acme)))
    assert "a removed account" in page
    rows = browser(alice).get(reverse("tenant-today", args=["acme"]), {"account": "none"})
    assert main_of(rows).count("<tr><td>") == 4


@pytest.mark.parametrize("account", ["x", "-1", "9" * 30])
def test_an_account_that_is_none_narrows_nothing(acme, alice, browser, account):
    filled(acme)
    response = browser(alice).get(reverse("tenant-today", args=["acme"]), {"account": account})
    assert main_of(response).count("<tr><td>") == 4


def test_today_is_the_tenants_day(in_tenant):
    manaus = make_tenant("manaus", time_zone="America/Manaus")  # four hours behind UTC
    now = datetime(2026, 3, 5, 3, 30, tzinfo=UTC)  # 23:30 of the 4th
    assert today_of(manaus, now) == (
        datetime(2026, 3, 4, 4, 0, tzinfo=UTC),
        datetime(2026, 3, 5, 4, 0, tzinfo=UTC),
    )
    campaign = make_campaign(manaus, state="running")
    worked(campaign, now)
    for hour in (3, 5):  # one before the day began, one in it
        at = datetime(2026, 3, 4, hour, 0, tzinfo=UTC)
        make_message(campaign, state="sent", sent_at=at)
    in_tenant(manaus)
    assert [row.count for row in sent_today(manaus, now)] == [1]


# --- The checklist ----------------------------------------------------------------------------


def test_the_checklist_is_proved_by_rows_and_hides_when_done(acme, alice, browser):
    client = browser(alice)
    page = main_of(client.get(home(acme)))
    assert "0 of 7 done" in page
    make_icp(acme)
    make_lead(acme)
    make_connection(acme, Connection.Kind.GHL)
    account = make_account(acme)
    with scope.as_tenant(acme):
        Template.objects.create(tenant=acme, name="Oi", body="Oi!")
    page = main_of(client.get(home(acme)))
    assert "5 of 7 done" in page
    campaign = make_campaign(acme, state="finished", started_at=timezone.now(), accounts=[account])
    assert "6 of 7 done" in main_of(client.get(home(acme)))
    make_message(campaign, state="sent")
    assert "Getting started" not in main_of(client.get(home(acme)))
    with scope.as_tenant(acme):
        account.connection.mark_broken("session_invalid")
    assert "6 of 7 done" in main_of(client.get(home(acme)))
    assert campaign.pk


def test_a_step_that_is_not_ones_own_says_whose_it_is(acme, vera, browser):
    page = main_of(browser(vera).get(home(acme)))
    assert "Takes: Owner." in page
    assert reverse("leads:imports", args=["acme"]) not in page


# --- Cost -------------------------------------------------------------------------------------


def test_home_asks_the_same_number_of_questions_for_many(acme, alice, browser):
    client = browser(alice)

    def questions(address):
        with CaptureQueriesContext(connection) as seen:
            assert client.get(address).status_code == 200
        return len(seen)

    today = reverse("tenant-today", args=["acme"])
    filled(acme)
    few = questions(home(acme)), questions(today)
    for number in range(12):
        campaign = make_campaign(acme, state="running")
        make_message(campaign, state="unknown")
        make_message(campaign, state="sent", account=make_account(acme))
        worked(campaign)
        make_campaign(acme)
        make_import(acme, name=f"{number}.csv")
    assert (questions(home(acme)), questions(today)) == few
