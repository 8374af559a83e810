"""The launch dialog: every figure is a list of exactly those people, and what the start makes."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_lead,
    make_member,
    make_message,
)
from campaigns import actions, audience, ledger
from campaigns.codes import Code
from campaigns.models import Campaign, Message
from campaigns.reach import BEYOND, ELSEWHERE, Reach
from campaigns.tests.wires import Wire, work
from leads import actions as lead_actions
from leads.models import LeadScore, LeadTag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    in_tenant(acme)


def url(name, tenant, *args):
    return reverse(f"campaigns:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def crowd(acme, now):
    """Leads of every fate, under one tag; nobody else has a first name or a city by chance."""
    made = {
        "hot": [make_lead(acme, score=90, city="Recife") for _ in range(3)],
        "warm": [make_lead(acme, score=60, city="Recife") for _ in range(2)],
        "no_city": [make_lead(acme, score=80) for _ in range(2)],
        "suppressed": [make_lead(acme, score=90, suppressed_at=now)],
        "touched": [
            make_lead(acme, score=90, city="Recife", first_touch_at=now - timedelta(days=days))
            for days in (1, 89)
        ],
        "long_ago": [
            make_lead(acme, score=71, city="Recife", first_touch_at=now - timedelta(days=91))
        ],
        "low": [make_lead(acme, score=45, city="Recife")],
        "nurturing": [make_lead(acme, score=10, city="Recife") for _ in range(4)],
        "gated": [make_lead(acme, score=95, city="Recife")],
    }
    LeadScore.objects.filter(lead=made["gated"][0]).update(eligible=False)
    return made


BODY = "Oi {first_name|você}, de {city}?"


def begin(acme, campaign, clock, *, sends=True):
    """Start, freeze and send with the real engine; the ledger's rows by state and reason."""
    actions.start_campaign(campaign, by=None, now=clock.now())
    while not audience.prepare_chunk(
        Campaign.objects.select_related("tenant", "icp_version").get(pk=campaign.pk),
        now=clock.now(),
    ):
        pass
    ledger.wake([campaign.pk], clock.now())
    if sends:
        work(clock, Wire())
    rows = Message.objects.filter(campaign=campaign)
    return Counter((row.state, row.reason) for row in rows), rows


def test_the_figures_of_a_filter_are_the_rows_that_the_start_makes(acme, clock):
    crowd(acme, clock.now())
    campaign = make_campaign(
        acme, body=BODY, min_score=50, audience={"kind": "filter"}, accounts=[make_account(acme)]
    )
    found = Reach.of(campaign, clock.now()).summary()
    assert found.by_band == {"HOT": 4, "WARM": 2}
    assert found.total == 6
    assert found.left_out == {"suppressed": 1, "contact_policy_gap": 2, "missing_variable": 2}
    assert found.no_match == {"not_eligible": 1, "below_min_score": 1, "nurturing_band": 4}
    assert found.lacking == {"city": 2}
    made, rows = begin(acme, campaign, clock)
    assert made == {("sent", ""): found.total, ("skipped", Code.MISSING_VARIABLE): 2}
    bands = dict(LeadScore.objects.values_list("lead_id", "band"))
    sent = Counter(bands[row.lead_id] for row in rows if row.state == "sent")
    assert sent == found.by_band


def test_the_figures_of_handles_are_the_rows_that_the_start_makes(acme, clock, alice):
    made = crowd(acme, clock.now())
    lead_actions.suppress(acme, handle="gone.one", reason="asked", by=alice, now=clock.now())
    known = [lead.handle for leads in made.values() for lead in leads]
    campaign = make_campaign(
        acme,
        body=BODY,
        min_score=50,
        audience={"kind": "handles", "handles": [*known, "new.one", "gone.one"]},
        accounts=[make_account(acme)],
    )
    found = Reach.of(campaign, clock.now()).summary()
    assert found.total == sum(found.by_band.values()) == 6
    rows, _ = begin(acme, campaign, clock)
    assert rows.pop(("sent", "")) == found.total
    assert {code: count for (_, code), count in rows.items()} == found.left_out
    assert sum(found.left_out.values()) + found.total == len(known) + 2


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6, 100])
def test_the_limit_cuts_from_below(acme, clock, limit):
    for score in (90, 80, 75, 60, 55):
        make_lead(acme, score=score)
    campaign = make_campaign(acme, limit=limit, audience={"kind": "filter"})
    reach = Reach.of(campaign, clock.now())
    found = reach.summary()
    assert (found.total, found.beyond) == (min(limit, 5), max(0, 5 - limit))
    assert found.by_band.get("HOT") == min(limit, 3)
    assert reach.scores(reason=BEYOND).count() == found.beyond
    made, _ = begin(acme, campaign, clock, sends=False)
    assert made.total() == found.total


@pytest.mark.parametrize("kind", ["filter", "handles"])
@pytest.mark.parametrize("body", [BODY, "Oi {first_name}, de {city}?"])
def test_every_number_of_the_dialog_leads_to_exactly_its_people(acme, alice, browser, kind, body):
    made = crowd(acme, timezone.now())
    make_lead(acme, "nameless", name="", score=85, city="Recife")
    other = make_campaign(acme, state="running")
    make_message(other, made["hot"][0])
    handles = [lead.handle for leads in made.values() for lead in leads]
    chosen = {"kind": kind, "handles": [*handles, "nameless", "new.one"]}
    campaign = make_campaign(acme, body=body, limit=7, audience=chosen, min_score=50)
    client = browser(alice)
    page = text(client.get(url("start", acme, campaign.pk)))
    links = re.findall(r'<a[^>]*href="([^"]*start/people/[^"]*)"[^>]*>(.*?)</a>', page)
    numbers = [(address, re.findall(r"\d+", inside)) for address, inside in links]
    assert sum(1 for _, shown in numbers if shown) >= 7
    for address, shown in numbers:
        found = client.get(address.replace("&amp;", "&")).context
        people = len(found["page"].rows) + len(found["unscored"])
        assert [str(people)] == shown if shown else people, address


def test_who_lacks_a_value_is_listed_by_what_is_lacking(acme, clock):
    make_lead(acme, "nobody", name="", score=90, city="Recife")
    make_lead(acme, "nowhere", score=90)
    campaign = make_campaign(
        acme, body="{first_name}, {city}, {{a|b {website}}}", audience={"kind": "filter"}
    )
    reach = Reach.of(campaign, clock.now())
    assert reach.needed == ("first_name", "city")
    assert reach.summary().lacking == {"first_name": 1, "city": 1}
    listed = reach.scores(reason=Code.MISSING_VARIABLE, lacks="city")
    assert [score.lead.handle for score in listed] == ["nowhere"]
    assert reach.scores(reason=Code.MISSING_VARIABLE).count() == 2


def test_the_dialog_offers_three_ways_out_of_a_missing_value(acme, alice, browser):
    make_lead(acme, score=90)
    campaign = make_campaign(acme, body=BODY, audience={"kind": "filter"})
    page = text(browser(alice).get(url("start", acme, campaign.pk)))
    assert "1 lead lacks city." in page
    assert "they are skipped" in page
    assert "Give the text a fallback" in page
    assert "?reason=missing_variable&amp;lacks=city" in page


def test_the_dialog_says_when_from_whom_and_what_holds_it_up(acme, alice, browser):
    account = make_account(acme, "conta", day_cap=1)
    blocked = make_account(acme, "parada", state="blocked")
    for _ in range(3):
        make_lead(acme, score=90)
    campaign = make_campaign(acme, accounts=[account, blocked], audience={"kind": "filter"})
    page = text(browser(alice, htmx="dialog-body").get(url("start", acme, campaign.pk)))
    assert "First message" in page
    assert "last one likely" in page
    assert "1 free today" in page
    assert "daily cap of @conta" in page
    assert acme.time_zone in page
    assert page.count("Oi Ana!") == 3


def test_who_waits_in_another_campaign_too_is_said(acme, clock):
    lead = make_lead(acme, score=90)
    make_lead(acme, score=90)
    make_message(make_campaign(acme, state="running"), lead)
    reach = Reach.of(make_campaign(acme, audience={"kind": "filter"}), clock.now())
    assert reach.elsewhere() == 1
    assert [score.lead_id for score in reach.scores(reason=ELSEWHERE)] == [lead.pk]


def test_the_list_pages_by_key_and_ignores_nonsense(acme, alice, browser):
    for _ in range(53):
        make_lead(acme, score=90)
    campaign = make_campaign(acme, audience={"kind": "filter"})
    client, address = browser(alice, htmx="people"), url("launch-audience", acme, campaign.pk)
    first = client.get(address, {"reason": "nonsense", "band": "nonsense", "lacks": "x"})
    assert text(first).lstrip().startswith('<section id="people"')
    second = client.get(address, {"after": first.context["page"].next})
    seen = [row.lead_id for page in (first, second) for row in page.context["page"].rows]
    assert len(seen) == len(set(seen)) == 53


def test_a_tag_narrows_figures_and_lists_alike(acme, clock):
    inside, _outside = make_lead(acme, score=90), make_lead(acme, score=90)
    low = make_lead(acme, score=5)
    for lead in (inside, low):
        LeadTag.objects.create(tenant=acme, lead=lead, name="spring")
    campaign = make_campaign(acme, audience={"kind": "filter", "tag": "spring"})
    reach = Reach.of(campaign, clock.now())
    assert reach.summary().total == 1
    assert reach.summary().no_match == {"nurturing_band": 1}
    assert [score.lead_id for score in reach.scores()] == [inside.pk]


def test_a_started_campaign_has_its_ledger_instead(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    response = browser(alice).get(url("launch-audience", acme, campaign.pk))
    assert response["Location"] == campaign.get_absolute_url()


@pytest.mark.parametrize("name", ["start", "launch-audience"])
def test_the_launch_is_for_those_who_may_launch(acme, rival, browser, name):
    campaign = make_campaign(acme)
    operator = browser(make_member(acme, "operator").user)
    assert operator.get(url(name, acme, campaign.pk)).status_code == 403
    owner = browser(make_member(acme, "owner").user)
    assert owner.get(url(name, acme, make_campaign(rival).pk)).status_code == 404


@pytest.mark.parametrize("kind", ["filter", "handles"])
def test_the_dialog_costs_the_same_with_more_people_and_accounts(acme, alice, browser, kind):
    client = browser(alice)

    def cost(count):
        now = timezone.now()
        handles = []
        for _ in range(count):
            made = crowd(acme, now)
            handles += [lead.handle for leads in made.values() for lead in leads]
        chosen = {"kind": kind, "handles": [*handles, f"new{count}"]}
        accounts = [make_account(acme) for _ in range(count)]
        other = make_campaign(acme, accounts=accounts, state="running")
        for _ in range(count):
            make_message(other)
        campaign = make_campaign(acme, accounts=accounts, body=BODY, audience=chosen)
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url("start", acme, campaign.pk)).status_code == 200
            assert client.get(url("launch-audience", acme, campaign.pk)).status_code == 200
        return len(seen)

    cost(1)
    with scope.as_tenant(acme):
        assert cost(1) == cost(3) <= 50
