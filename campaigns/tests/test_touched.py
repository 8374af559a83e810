"""What a changed ICP means for those who wait for their message: as the worker's gate will say."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import make_campaign, make_message
from campaigns.facts import campaign_facts
from campaigns.gates import ALLOW, Facts, LeadFacts, gate
from campaigns.models import Campaign, Message
from campaigns.touched import campaigns_touched
from leads.models import Icp, LeadScore
from leads.tests.test_icp_pages import posted, text
from leads.tests.test_whatif import add, config, publish

pytestmark = pytest.mark.django_db

PEOPLE = [
    {
        "bio": f"{bio} · São Paulo",
        "followers": followers,
        "following": 900,
        "posts": 90,
        "is_private": followers == 300,
    }
    for bio in ("CEO e fundadora de clínica", "mãe, café, livros", "dentista", "")
    for followers in (300, 5_000, 40_000, 900_000)
]
CHANGES = (
    {"weights": {"bio": 60, "recency": 0}},
    {"thresholds": {"cold": 55, "warm": 60, "hot": 80}},
    {"gates": {"require_business": True}, "blocklist": {"words": ["livros"]}},
    {"decision_maker_keywords": ["dentista"], "followers": {"min": 100, "ideal_min": 200}},
)


def would_be_sent(tenant) -> set[int]:
    """The queued messages that the worker's gate lets pass, by the scores in force."""
    scores = LeadScore.objects.filter(version=Icp.objects.get().live_id)
    by_lead = {score.lead_id: score for score in scores}
    passed = set()
    for message in Message.objects.select_related("campaign"):
        score = by_lead[message.lead_id]
        facts = LeadFacts(
            suppressed=False,
            total=score.total,
            band=score.band,
            eligible=score.eligible,
            touched_at=None,
            missing=(),
        )
        rules = campaign_facts(message.campaign, tenant)
        if gate(Facts(rules=rules, lead=facts), timezone.now()) is ALLOW:
            passed.add(message.pk)
    return passed


def queued(tenant, **floors):
    """A running campaign per minimum score, each with a message for everybody."""
    leads = add(tenant, *PEOPLE)
    campaigns = {}
    for name, floor in floors.items():
        campaigns[name] = make_campaign(tenant, name=name, state="running", min_score=floor)
        for lead in leads:
            make_message(campaigns[name], lead)
    return campaigns


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_it_tells_what_the_gate_will_say(acme, in_tenant, rung, change, kept):
    in_tenant(acme)
    campaigns = queued(acme, low=0, high=50)
    if not kept:
        LeadScore.objects.all().update(packed=None)
    before = would_be_sent(acme)
    told = {row.name: row for row in campaigns_touched(acme, config(**change))}
    publish(acme, config(**change))
    after = would_be_sent(acme)
    assert before != after
    for name, campaign in campaigns.items():
        mine = set(campaign.messages.values_list("pk", flat=True))
        lost, won = len((before - after) & mine), len((after - before) & mine)
        row = told.get(name)
        if row:
            assert (row.waiting, row.lost, row.won) == (len(PEOPLE), lost, won)
        else:
            assert (lost, won) == (0, 0)


def test_only_campaigns_under_way_and_of_this_tenant(acme, rival, in_tenant, rung):
    with scope.as_tenant(rival):
        queued(rival, theirs=0)
    in_tenant(acme)
    campaigns = queued(acme, running=0, over=0)
    Campaign.objects.filter(pk=campaigns["over"].pk).update(state="finished")
    told = campaigns_touched(acme, config(thresholds={"cold": 90, "warm": 95, "hot": 99}))
    assert [row.name for row in told] == ["running"]
    assert campaigns_touched(acme, config()) == []


def test_the_editor_names_them(acme, alice, browser, in_tenant, rung):
    in_tenant(acme)
    campaign = queued(acme, spring=0)["spring"]
    given = posted(config(thresholds={"cold": 90, "warm": 95, "hot": 99}))
    page = text(browser(alice, htmx="movers").post(reverse("icp:preview", args=["acme"]), given))
    assert f"/t/acme/campaigns/{campaign.pk}/audience/?state=queued" in page
    assert "queued would newly be skipped" in page
