"""Acts on campaigns and their messages, through the front door."""

from __future__ import annotations

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_icp,
    make_lead,
    make_member,
    make_message,
)
from campaigns.models import Campaign, Message
from campaigns.tests.pages import filled, text, url
from tenants.models import AuditEntry, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    """What a test looks up itself is acme's; requests find their own way. Rings are collected."""
    in_tenant(acme)


@pytest.fixture
def person(acme, browser):
    """A browser for somebody with a role in acme."""
    return lambda role, htmx="": browser(make_member(acme, role).user, htmx=htmx)


def test_the_launch_card_says_who_what_from_whom_and_when(acme, alice, browser):
    make_lead(acme, "ana", score=90, name="Ana Lima")
    make_lead(acme, "bia", score=60)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    part = text(browser(alice, htmx="dialog-body").get(url("campaigns:start", acme, campaign.pk)))
    assert "1 person" in part
    assert "Oi Ana!" in part
    assert acme.name in part
    assert "<html" not in part


def test_a_start_without_htmx_redirects(acme, alice, browser, rung):
    make_lead(acme, score=90)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    response = browser(alice).post(url("campaigns:start", acme, campaign.pk))
    assert response["Location"] == campaign.get_absolute_url()
    campaign.refresh_from_db()
    assert campaign.state == "preparing"
    assert rung


def test_a_large_start_needs_the_number_typed(acme, alice, browser, monkeypatch):
    from campaigns.views import launch

    monkeypatch.setattr(launch, "CONFIRM_ABOVE", 1)
    for _ in range(2):
        make_lead(acme, score=90)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    address = url("campaigns:start", acme, campaign.pk)
    client = browser(alice, htmx="panel")
    assert 'data-confirm="2"' in text(browser(alice, htmx="dialog-body").get(address))
    refused = client.post(address, {"confirm": "3"})
    assert refused["HX-Retarget"] == "#dialog-body"
    assert "Type 2" in text(refused)
    campaign.refresh_from_db()
    assert campaign.state == "draft"
    client.post(address, {"confirm": "2"})
    campaign.refresh_from_db()
    assert campaign.state == "preparing"


def test_a_second_start_is_refused_in_a_sentence(acme, alice, browser):
    make_lead(acme, score=90)
    campaign = make_campaign(acme, state="running", audience={"kind": "filter"})
    response = browser(alice).post(url("campaigns:start", acme, campaign.pk), follow=True)
    assert "already been started" in text(response)


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "running", "cancelled"),
    ],
)
def test_the_state_changes_by_dialog_and_by_plain_form(acme, alice, browser, verb, before, after):
    asked = text(
        browser(alice, htmx="dialog-body").get(
            url(f"campaigns:{verb}", acme, filled(acme, state=before, queued=2).pk)
        )
    )
    assert "2 queued messages" in asked
    assert acme.name in asked
    for client in (browser(alice), browser(alice, htmx="panel")):
        campaign = filled(acme, state=before, queued=2)
        response = client.post(url(f"campaigns:{verb}", acme, campaign.pk))
        campaign.refresh_from_db()
        assert campaign.state == after
        if response.status_code == 302:
            assert response["Location"] == campaign.get_absolute_url()
        else:
            assert 'hx-swap-oob="beforeend"' in text(response)
            assert response["HX-Reswap"] == "none"
            assert "campaign-changed" in response["HX-Trigger"]


def test_asking_changes_nothing(acme, alice, browser):
    campaign = filled(acme, queued=1)
    for verb in ("pause", "stop", "retry"):
        assert browser(alice).get(url(f"campaigns:{verb}", acme, campaign.pk)).status_code == 200
    assert browser(alice).get(url("tenant-stop", acme)).status_code == 200
    campaign.refresh_from_db()
    acme.refresh_from_db()
    assert (campaign.state, acme.stopped_at) == ("running", None)


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "stop", "retry"])
def test_a_viewer_may_not(acme, vera, browser, verb):
    campaign = filled(acme, queued=1)
    response = browser(vera).post(url(f"campaigns:{verb}", acme, campaign.pk))
    assert response.status_code == 403
    assert "It takes:" in text(response)


VERBS = [
    "start", "pause", "resume", "stop", "retry", "update", "detail", "audience", "sequence",
    "accounts", "activity", "settings", "content", "samples", "skip",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_rivals_campaign_is_404(acme, rival, alice, browser, verb):
    theirs = make_campaign(rival, state="running")
    assert browser(alice).get(url(f"campaigns:{verb}", acme, theirs.pk)).status_code == 404


def test_failed_messages_are_retried_one_and_all(acme, alice, browser):
    campaign = filled(acme, failed=3)
    with scope.as_tenant(acme):
        one = Message.objects.filter(campaign=campaign).first()
    client = browser(alice, htmx="panel")
    client.post(url("campaigns:message-retry", acme, campaign.pk, one.pk))
    one.refresh_from_db()
    assert one.state == "queued"
    client.post(url("campaigns:retry", acme, campaign.pk))
    with scope.as_tenant(acme):
        assert set(Message.objects.values_list("state", flat=True)) == {"queued"}


def test_only_the_chosen_failed_messages_are_retried(acme, alice, browser):
    campaign = filled(acme, failed=3, sent=1)
    first, second, third = campaign.messages.filter(state="failed").order_by("pk")
    sent = campaign.messages.get(state="sent")
    client = browser(alice)
    address = (
        f"{url('campaigns:retry', acme, campaign.pk)}?ids={first.pk}&ids={second.pk},{sent.pk}"
    )
    asked = text(client.get(address))
    assert "2 failed messages" in asked
    assert f"ids={first.pk}&amp;ids={second.pk},{sent.pk}" in asked
    response = client.post(address)
    assert response["Location"].endswith("/audience/?state=failed")
    states = dict(campaign.messages.values_list("pk", "state"))
    assert states == {
        first.pk: "queued", second.pk: "queued", third.pk: "failed", sent.pk: "sent",
    }  # fmt: skip


def test_chosen_people_are_left_out_and_the_rest_goes_on(acme, alice, browser):
    campaign = filled(acme, queued=2, sent=1)
    one, other = campaign.messages.filter(state="queued").order_by("pk")
    touched = timezone.now()
    lead = one.lead
    lead.first_touch_at, lead.first_touch_by = touched, one.pk
    lead.save()
    sent = campaign.messages.get(state="sent")
    address = f"{url('campaigns:skip', acme, campaign.pk)}?ids={one.pk},{sent.pk},x"
    assert "1 queued message is never sent." in text(browser(alice).get(address))
    browser(alice).post(address)
    states = dict(campaign.messages.values_list("pk", "state"))
    assert states == {one.pk: "skipped", other.pk: "queued", sent.pk: "sent"}
    one.refresh_from_db()
    lead.refresh_from_db()
    assert (one.reason, lead.first_touch_at) == ("skipped_by_person", None)
    counts = Campaign.objects.select_related("counts").get(pk=campaign.pk).counts
    assert (counts.queued, counts.skipped, counts.sums) == (1, 1, True)


def test_a_rivals_messages_are_not_chosen(acme, rival, alice, browser):
    theirs = make_message(make_campaign(rival, state="running"), state="queued")
    campaign = filled(acme, queued=1)
    browser(alice).post(f"{url('campaigns:skip', acme, campaign.pk)}?ids={theirs.pk}")
    with scope.as_tenant(rival):
        assert Message.objects.get(pk=theirs.pk).state == "queued"


def test_a_clone_is_a_draft_of_its_own(acme, alice, browser):
    off = make_account(acme, state="off")
    account = make_account(acme)
    campaign = make_campaign(
        acme, state="running", name="Outono", accounts=[account, off], tags="frio",
        audience={"kind": "filter", "bands": ["HOT"]}, window={}, min_score=55, limit=9,
    )  # fmt: skip
    response = browser(alice).post(url("campaigns:clone", acme, campaign.pk))
    copy = Campaign.objects.exclude(pk=campaign.pk).get()
    assert response["Location"] == url("campaigns:update", acme, copy.pk)
    assert (copy.name, copy.state, copy.started_at) == ("Outono (copy)", "draft", None)
    for field in ("audience", "window", "min_score", "limit", "tags"):
        assert getattr(copy, field) == getattr(campaign, field), field
    assert copy.steps.get().body == campaign.steps.get().body
    assert list(copy.accounts.all()) == [account]
    assert copy.messages.count() == 0


@pytest.mark.parametrize(
    ("outcome", "state"), [("sent", "sent"), ("send_again", "queued"), ("skip", "skipped")]
)
def test_an_unknown_outcome_is_decided_by_a_person(acme, alice, browser, outcome, state):
    campaign = filled(acme, unknown=1)
    with scope.as_tenant(acme):
        message = Message.objects.get()
    address = url("campaigns:message-resolve", acme, campaign.pk, message.pk)
    assert "What became of this message?" in text(browser(alice, htmx="dialog-body").get(address))
    assert browser(alice).post(address, {"outcome": outcome}).status_code == 302
    message.refresh_from_db()
    assert message.state == state


def test_no_outcome_asks_again(acme, alice, browser):
    campaign = filled(acme, unknown=1)
    with scope.as_tenant(acme):
        message = Message.objects.get()
    address = url("campaigns:message-resolve", acme, campaign.pk, message.pk)
    response = browser(alice, htmx="panel").post(address, {"outcome": "maybe"})
    assert response["HX-Retarget"] == "#dialog-body"
    assert "Choose one of the three." in text(response)


def test_an_account_is_blocked_and_unblocked(acme, alice, browser):
    account = make_account(acme)
    client = browser(alice, htmx="dialog-body")
    for verb, state in (("block", "blocked"), ("unblock", "active")):
        address = url(f"accounts:{verb}", acme, account.pk)
        assert f"@{account.handle}" in text(client.get(address))
        response = client.post(address)
        assert "campaign-changed" in response["HX-Trigger"]
        account.refresh_from_db()
        assert account.state == state


def test_the_tenant_stop_is_asked_set_shown_and_lifted(acme, alice, browser):
    filled(acme, queued=2)
    client = browser(alice)
    asked = text(client.get(url("tenant-stop", acme)))
    assert "Stop all sending of Acme?" in asked
    assert "1 running campaign of Acme" in asked
    page = client.post(url("tenant-stop", acme), follow=True)
    assert "has been stopped since" in text(page)
    with scope.as_tenant(acme):
        assert AuditEntry.objects.filter(action="tenant.stopped").exists()
    client.post(url("tenant-lift", acme))
    assert Tenant.objects.get(pk=acme.pk).stopped_at is None


def test_an_operator_may_stop_but_not_lift(acme, person):
    client = person("operator")
    assert client.post(url("tenant-stop", acme)).status_code == 302
    assert client.post(url("tenant-lift", acme)).status_code == 403


def test_a_tenant_without_an_icp_has_its_pages_too(acme, alice, browser):
    campaign = make_campaign(acme)
    assert "Nobody matches" in text(browser(alice).get(url("campaigns:start", acme, campaign.pk)))
    make_icp(acme)
    assert browser(alice).get(campaign.get_absolute_url()).status_code == 200
