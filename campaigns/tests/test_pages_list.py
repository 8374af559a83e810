"""The list of campaigns, through the front door."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_account, make_campaign, make_member
from campaigns import planning
from campaigns.models import AccountUsage, Campaign
from campaigns.pacing import day_period
from campaigns.tests.pages import filled, queries, row_count, text, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    """What a test looks up itself is acme's; requests find their own way. Rings are collected."""
    in_tenant(acme)


def test_the_list_shows_state_numbers_and_accounts(acme, alice, browser):
    campaign = filled(acme, sent=3, queued=2)
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert campaign.name in page
    assert "Running" in page
    assert "<b>3</b> sent" in page
    assert f'{url("campaigns:audience", acme, campaign.pk)}">5</a>' in page
    assert f'{url("campaigns:audience", acme, campaign.pk)}?state=sent"' in page


def test_an_empty_list_says_how_to_begin(acme, alice, browser):
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert "No campaigns yet" in page
    for address in ("campaigns:create", "leads:imports", "accounts:list"):
        assert url(address, acme) in page
    example = text(browser(alice).get(url("campaigns:create", acme), {"example": "1"}))
    assert 'value="My first campaign"' in example


def test_the_list_is_narrowed_by_name_and_state(acme, alice, browser):
    make_campaign(acme, name="Dentistas")
    make_campaign(acme, name="Clínicas", state="running")
    get = browser(alice).get
    address = url("campaigns:list", acme)
    assert "Clínicas" not in text(get(address, {"q": "dent"}))
    assert "Dentistas" not in text(get(address, {"state": "running"}))
    assert "No campaign matches" in text(get(address, {"q": "nothing like it"}))


def test_only_moving_rows_poll_and_all_in_one_request(acme, alice, browser):
    moving = [make_campaign(acme, state="running").pk for _ in range(3)]
    make_campaign(acme, state="paused")
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert page.count("every 3s") == 1
    assert f"?ids={'%2C'.join(str(pk) for pk in reversed(moving))}" in page


def test_the_poll_brings_the_rows_out_of_band_and_ends_when_nothing_moves(acme, alice, browser):
    campaign = make_campaign(acme, state="finished")
    part = text(
        browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": str(campaign.pk)})
    )
    assert f'<tr id="campaign-{campaign.pk}" data-row hx-swap-oob="true"' in part
    assert 'id="campaign-tabs"' in part
    assert "<html" not in part
    assert "every 3s" not in part


def test_a_poll_for_a_rivals_campaign_brings_nothing(acme, rival, alice, browser):
    theirs = make_campaign(rival, name="Secret plan", state="running")
    part = browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": str(theirs.pk)})
    assert "Secret plan" not in text(part)


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "9" * 40, "-1"])
def test_a_poll_with_nonsense_is_harmless(acme, alice, browser, ids):
    response = browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": ids})
    assert response.status_code == 200


def test_the_list_costs_the_same_with_more_campaigns(acme, alice, browser):
    client = browser(alice)
    filled(acme, sent=1)
    few = queries(client, url("campaigns:list", acme))
    for _ in range(5):
        filled(acme, sent=1, queued=1)
    assert queries(client, url("campaigns:list", acme)) == few <= 16


def test_the_list_pages_by_key(acme, alice, browser):
    names = [make_campaign(acme, name=f"No {n:03}", accounts=[]).name for n in range(53)]
    client = browser(alice)
    first = client.get(url("campaigns:list", acme))
    assert names[-1] in text(first)
    assert names[0] not in text(first)
    second = client.get(url("campaigns:list", acme), {"after": first.context["page"].next})
    assert [row.campaign.name for row in second.context["rows"]] == names[2::-1]
    back = client.get(url("campaigns:list", acme), {"before": second.context["page"].previous})
    assert [r.campaign.pk for r in back.context["rows"]] == [
        r.campaign.pk for r in first.context["rows"]
    ]


def test_the_state_tabs_count_the_rows_behind_them(acme, alice, browser):
    for state in ("draft", "draft", "running", "paused"):
        make_campaign(acme, state=state, accounts=[])
    client = browser(alice)
    page = client.get(url("campaigns:list", acme))
    tabs = {value: count for value, _label, count in page.context["tabs"]}
    assert tabs == {"": 4, "draft": 2, "running": 1, "paused": 1}
    for value, count in tabs.items():
        shown = text(client.get(url("campaigns:list", acme), {"state": value}))
        assert row_count(shown) == count


def test_campaigns_are_found_by_their_tags(acme, alice, browser):
    make_campaign(acme, name="Dentistas", tags="primavera, saúde")
    make_campaign(acme, name="Clínicas")
    page = text(browser(alice).get(url("campaigns:list", acme), {"q": "saúde"}))
    assert "Dentistas" in page
    assert "Clínicas" not in page


@pytest.mark.parametrize(
    ("state", "legal"),
    [
        ("draft", {"start", "stop", "update"}),
        ("running", {"pause", "stop"}),
        ("paused", {"resume", "stop"}),
        ("finished", set()),
        ("cancelled", set()),
    ],
)
def test_a_row_offers_only_what_is_legal_now(acme, alice, browser, state, legal):
    campaign = make_campaign(acme, state=state, started_at=timezone.now())
    page = text(browser(alice).get(url("campaigns:list", acme)))
    verbs = {"start", "pause", "resume", "stop", "update"}
    offered = {verb for verb in verbs if url(f"campaigns:{verb}", acme, campaign.pk) in page}
    assert offered == legal
    for always in ("clone", "samples"):
        assert url(f"campaigns:{always}", acme, campaign.pk) in page


def test_an_act_that_the_role_may_not_is_disabled_with_the_reason(acme, browser):
    campaign = make_campaign(acme)
    operator = make_member(acme, "operator").user
    page = text(browser(operator).get(url("campaigns:list", acme)))
    assert url("campaigns:start", acme, campaign.pk) not in page
    assert "It takes: Owner, Manager." in page


def test_an_accounts_ring_tells_its_health(acme, alice, browser):
    near = make_account(acme, "near", day_cap=10)
    blocked = make_account(acme, "blocked", state="blocked", block_code="blocked_by_person")
    off, free = make_account(acme, "off", state="off"), make_account(acme, "free")
    with scope.as_tenant(acme):
        period = day_period(timezone.now(), near.zone(acme))
        AccountUsage.objects.create(tenant=acme, account=near, period=period, used=8)
    make_campaign(acme, accounts=[near, blocked, off, free])
    response = browser(alice).get(url("campaigns:list", acme))
    rings = {face.account.handle: face.ring for face in response.context["rows"][0].faces}
    assert rings == {"near": "near", "blocked": "blocked", "off": "off", "free": "free"}


def test_the_pace_is_what_left_in_the_last_hour_and_the_plan_of_the_panel(acme, alice, browser):
    campaign = filled(acme, sent=2, queued=30)
    account = campaign.accounts.get()
    account.gap_min_s = account.gap_max_s = 60
    account.save()
    campaign.messages.filter(state="sent").order_by("pk").update(sent_at=timezone.now())
    old = campaign.messages.filter(state="sent").first()
    campaign.messages.filter(pk=old.pk).update(sent_at=timezone.now() - timedelta(hours=2))
    row = browser(alice).get(url("campaigns:list", acme)).context["rows"][0]
    assert row.rate == 1
    whole = Campaign.objects.select_related("tenant").get(pk=campaign.pk)
    planned = planning.forecast_for(whole, now=timezone.now()).plan.p50
    assert abs(row.finish - planned) < timedelta(minutes=1)
