"""The forecast of a stored campaign: its card, its what-if, and the command."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import planning
from campaigns.codes import Code
from campaigns.models import CampaignAccount, CampaignCounts
from campaigns.planning import forecast_for
from campaigns.tests.test_forecast import NOW
from campaigns.views.forecast import BARS_MAX, HEIGHT, WIDTH, bars

pytest_db = pytest.mark.django_db


def url(name, tenant, *args):
    return reverse(f"campaigns:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


@pytest_db
def test_a_draft_is_planned_as_if_started_now_and_a_paused_one_as_if_resumed(
    acme, clock, in_tenant
):
    in_tenant(acme)
    account = make_account(acme, hour_cap=2)
    draft = make_campaign(acme, accounts=[account], audience={"kind": "filter", "bands": ["HOT"]})
    for _ in range(3):
        make_lead(acme, score=90)
    make_lead(acme, score=90, suppressed_at=clock.now())
    found = forecast_for(draft, now=clock.now())
    assert (found.plan.messages, found.assumes) == (3, "start")
    assert found.plan.p50 == clock.now() + timedelta(hours=1)
    paused = make_campaign(acme, accounts=[account], state="paused")
    make_message(paused)
    assert forecast_for(paused, now=clock.now()).assumes == "resume"
    # Somebody has said yes: nothing is assumed, although the audience is not put down yet.
    preparing = make_campaign(
        acme, accounts=[account], state="preparing", audience={"kind": "filter", "bands": ["HOT"]}
    )
    found = forecast_for(preparing, now=clock.now())
    # The paused one's lead matches as well.
    assert (found.plan.messages, found.assumes) == (4, "")


@pytest_db
def test_what_has_left_and_what_is_to_leave_stand_side_by_side(acme, clock, in_tenant):
    in_tenant(acme)
    campaign = make_campaign(acme, accounts=[make_account(acme, day_cap=2)], state="running")
    for _ in range(3):
        make_message(campaign, state="sent", sent_at=clock.now() - timedelta(days=1))
    for _ in range(3):
        make_message(campaign)
    days = forecast_for(campaign, now=clock.now()).days
    assert [(day.done, day.planned) for day in days] == [(3, 0), (0, 2), (0, 1)]


@pytest_db
def test_a_window_that_makes_no_sense_is_said_and_no_error(acme, alice, browser):
    campaign = make_campaign(acme, state="running", window={"days": [], "from": "1", "to": "2"})
    make_message(campaign)
    with scope.as_tenant(acme):
        found = forecast_for(campaign, now=timezone.now())
    assert found.plan.never == Code.OUTSIDE_WINDOW
    assert "never open" in text(browser(alice).get(url("forecast", acme, campaign.pk)))


@pytest_db
def test_the_card_says_finish_and_limit_and_is_drawn(acme, vera, browser):
    campaign = make_campaign(acme, accounts=[make_account(acme, day_cap=2)], state="running")
    for _ in range(5):
        make_message(campaign, text="Oi, segredo!")
    page = text(browser(vera).get(url("forecast", acme, campaign.pk)))
    assert "Likely done" in page
    assert "daily cap of @" in page
    assert 'fill="url(#hatch)"' in page
    assert "segredo" not in page
    assert "style=" not in page[page.index('id="main"') :]


@pytest_db
@pytest.mark.parametrize(("target", "begins"), [("card", "<section"), ("forecast-result", "")])
def test_htmx_gets_the_card_or_the_result_alone(acme, alice, browser, target, begins):
    campaign = make_campaign(acme, state="running")
    make_message(campaign)
    part = text(browser(alice, htmx=target).get(url("forecast", acme, campaign.pk)))
    assert "<html" not in part
    assert ("<form" in part) is bool(begins)
    assert "Likely done" in part


@pytest_db
def test_what_if_is_in_the_address_and_works_without_scripts(acme, alice, browser):
    campaign = make_campaign(acme, accounts=[make_account(acme, day_cap=1)], state="running")
    for _ in range(4):
        make_message(campaign)
    get, address = browser(alice).get, url("forecast", acme, campaign.pk)
    plain = get(address).context["forecast"].plan
    quick = get(address, {"day_cap": "4", "accounts": "1", "hours": "24"})
    assert quick.context["forecast"].plan.p50 < plain.p50
    assert "instead of" in text(quick)
    more = get(address, {"accounts": "4"}).context["forecast"].plan
    assert [name for name, _ in more.by_sender][:3] == ["+1", "+2", "+3"]
    with scope.as_tenant(acme):
        CampaignAccount.objects.create(
            tenant=acme, campaign=campaign, account=make_account(acme, day_cap=2)
        )
    mixed = get(address)
    assert 'placeholder="1–2"' in text(mixed)
    both = get(address, {"day_cap": "4"}).context["forecast"].plan
    assert both.p50 < mixed.context["forecast"].plan.p50
    plain = mixed.context["forecast"].plan
    for nonsense in ("x", "-1", "0", "9" * 30):
        found = get(address, {"day_cap": nonsense, "hours": nonsense, "accounts": nonsense})
        assert found.context["forecast"].plan.days == plain.days


@pytest_db
def test_the_card_costs_the_same_with_more_messages_accounts_and_rivals(acme, alice, browser):
    client = browser(alice)

    def cost(rows):
        accounts = [make_account(acme) for _ in range(rows)]
        campaign = make_campaign(acme, accounts=accounts, state="running")
        rivals = [make_campaign(acme, accounts=accounts, state="running") for _ in range(rows)]
        for each in (campaign, *rivals):
            for state in ("queued", "sent"):
                make_message(each, state=state)
        with CaptureQueriesContext(connection) as seen:
            client.get(url("forecast", acme, campaign.pk))
        return len(seen)

    cost(1)
    assert cost(1) == cost(6) <= 16


@pytest_db
def test_the_command_prints_the_forecast_as_json(acme, rung):
    campaign = make_campaign(
        acme, accounts=[make_account(acme, "conta", day_cap=1)], state="running"
    )
    for _ in range(3):
        make_message(campaign)
    out = StringIO()
    call_command("campaign", "acme", "forecast", str(campaign.pk), stdout=out)
    found = json.loads(out.getvalue())
    assert (found["messages"], found["never"], found["per_account"]) == (3, None, {"@conta": 3})
    assert found["bottleneck"]["code"] == "account_daily_cap"
    assert [day["planned"] for day in found["per_day"]] == [1, 1, 1]
    assert found["finish_p50"] < found["finish_p90"]


@pytest_db
def test_a_message_is_expected_after_those_before_it(acme, clock, in_tenant):
    in_tenant(acme)
    account = make_account(acme, gap_min_s=60, gap_max_s=60)
    campaign = make_campaign(acme, accounts=[account], state="running")
    rows = [make_message(campaign, due_at=clock.now(), position=n) for n in range(4)]
    when = [planning.expected_at(row, campaign, clock.now()) for row in rows]
    assert when == [clock.now() + timedelta(minutes=n) for n in range(4)]


def test_bars_stand_on_the_ground_and_a_long_plan_is_drawn_by_weeks():
    first = NOW.date()
    days = [planning.Day(first + timedelta(days=n), n % 3, 5) for n in range(100)]
    drawn = bars(days)
    assert len(drawn) == 15 < BARS_MAX
    assert sum(bar.done for bar in drawn) == sum(day.done for day in days)
    for bar in bars(days[:10]):
        assert bar.x + bar.width <= WIDTH
        assert bar.planned_y >= 0
        assert bar.done_y + bar.done_height == pytest.approx(HEIGHT, abs=0.02)
        assert bar.planned_y + bar.planned_height == pytest.approx(bar.done_y, abs=0.02)
    assert bars([]) == []


@pytest_db
def test_a_finished_campaign_has_nothing_to_plan(acme, alice, browser):
    campaign = make_campaign(acme, state="finished")
    make_message(campaign, state="sent")
    page = text(browser(alice).get(url("forecast", acme, campaign.pk)))
    assert "Nothing is left to plan." in page
    with scope.as_tenant(acme):
        assert CampaignCounts.objects.get(campaign=campaign).sent == 1
