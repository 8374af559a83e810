"""Each fault of the provider over real HTTP: where the row ends, and what the page says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from agenticos import scope
from agenticos.clock import Clock
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_connection,
    make_lead,
    make_message,
)
from campaigns import actions, ledger
from campaigns.models import Campaign, CampaignCounts, Message, SendingAccount
from campaigns.sending import Slice
from integrations.models import Connection
from integrations.tests.live import LiveSandbox

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def provider():
    with LiveSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(provider, settings):
    """The loopback provider, empty."""
    provider.reset()
    settings.INSTAGRAM_GRAPH_BASE_URL = provider.instagram_url
    settings.GHL_BASE_URL = provider.ghl_url
    return provider


@pytest.fixture
def campaign(acme):
    """Three leads, one account, due now."""
    campaign = make_campaign(acme, state="running", accounts=[make_account(acme)])
    now = Clock().now()
    with scope.as_tenant(acme):
        for number in range(3):
            make_message(campaign, make_lead(acme, f"lead{number}"), due_at=now, position=number)
        ledger.wake([campaign.pk], now)
    return campaign


class UntilIdle(Clock):
    """Says when the slice would first wait for something, however long it took to get there."""

    idle = False

    def sleep(self, seconds):
        self.idle = True


def try_once():
    """Send what is due now, and nothing that is put off."""
    clock = UntilIdle()
    Slice(clock, budget_s=60, stop=lambda: clock.idle).run()


def work():
    """Send until nothing is due soon; it ends then, not with the budget."""
    Slice(Clock(), budget_s=60, stop=lambda: False).run()


def fault(sandbox, **rule):
    sandbox.faults([{"provider": "instagram", "path": "messages$", "next": 1, **rule}])


def rows(campaign):
    with scope.as_tenant(campaign.tenant):
        return list(Message.objects.filter(campaign=campaign).order_by("position"))


def delivered(sandbox, row):
    return [d for d in sandbox.state()["deliveries"] if d["key"] == row.key]


def page(campaign, alice):
    """The rows of the campaign's page as its owner sees them."""
    client = Client()
    client.force_login(alice)
    answer = client.get(reverse("campaigns:audience", args=["acme", campaign.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.parametrize(
    ("rule", "code", "at_least"),
    [
        ({"status": 429, "retry_after": 120}, "rate_limited", 115),
        ({"status": 429}, "rate_limited", 0),
        ({"status": 503}, None, 0),
    ],
)
def test_later_is_tried_again_when_the_provider_allows(
    sandbox, campaign, alice, rule, code, at_least
):
    fault(sandbox, **rule)
    try_once()
    row = rows(campaign)[0]
    assert row.state == "queued"
    assert row.attempts == 1
    assert row.due_at >= row.updated_at + timedelta(seconds=at_least)
    assert not delivered(sandbox, row)
    assert code is None or row.reason == code
    assert escape(row.why) in page(campaign, alice)
    assert row.why != row.reason
    # Its time comes: it goes out, once.
    with scope.as_tenant(campaign.tenant):
        SendingAccount.objects.update(free_at=None, next_at=row.updated_at)
        Message.objects.update(due_at=row.updated_at)
    work()
    assert [found.state for found in rows(campaign)] == ["sent"] * 3
    assert sandbox.state()["duplicates"] == []


def test_a_provider_that_cannot_be_reached_delays_and_loses_nobody(
    sandbox, campaign, alice, settings
):
    settings.INSTAGRAM_GRAPH_BASE_URL = "http://127.0.0.1:9/instagram/v25.0"
    try_once()
    row = rows(campaign)[0]
    assert (row.state, row.reason, row.dispatched_at) == ("queued", "connect_failed", None)
    assert escape(row.why) in page(campaign, alice)


@pytest.mark.parametrize(
    ("rule", "code", "arrived"),
    [
        ({"status": 500}, "provider_fault", 0),
        ({"cut": "before"}, "connection_cut", 0),
        ({"cut": "after"}, "connection_cut", 1),
        ({"delay_ms": 2500}, "no_answer", None),
        ({"garbage": True}, "garbage_answer", 1),
    ],
)
def test_perhaps_done_is_unknown_until_a_person_says(
    sandbox, campaign, alice, settings, rule, code, arrived
):
    fault(sandbox, **rule)
    patience = settings.HTTP_TIMEOUT_S
    if "delay_ms" in rule:
        settings.HTTP_TIMEOUT_S = 1
    try_once()
    settings.HTTP_TIMEOUT_S = patience
    row = rows(campaign)[0]
    assert (row.state, row.reason) == ("unknown", code)
    if arrived is not None:
        assert len(delivered(sandbox, row)) == arrived
    shown = page(campaign, alice)
    assert escape(row.why) in shown
    work()
    assert [found.state for found in rows(campaign)] == ["unknown", "sent", "sent"]
    assert sandbox.state()["duplicates"] == []
    with scope.as_tenant(campaign.tenant):
        actions.resolve_message(row, "sent", by=alice, now=Clock().now())
        assert CampaignCounts.objects.get(campaign=campaign).sent == 3


@pytest.mark.parametrize(
    ("rule", "code"), [({"expired_token": True}, "session_invalid"), ({"challenge": True}, None)]
)
def test_a_dead_account_burns_no_lead_and_goes_on_once_renewed(
    sandbox, campaign, alice, rule, code
):
    fault(sandbox, **rule)
    try_once()
    with scope.as_tenant(campaign.tenant):
        campaign.refresh_from_db()
        account = SendingAccount.objects.select_related("connection").get()
        assert (account.state, account.connection.state) == ("blocked", "broken")
        assert code is None or account.block_code == code
    assert (campaign.state, campaign.reason) == (Campaign.State.BLOCKED, "session_invalid")
    assert [(row.state, row.attempts) for row in rows(campaign)] == [("queued", 0)] * 3
    assert escape(account.why) in page(campaign, alice)
    with scope.as_tenant(campaign.tenant):
        account.connection.set_secret(token="a-fresh-token-0001")
        actions.unblock_account(account, by=alice, now=Clock().now())
        actions.resume_campaign(campaign, by=alice, now=Clock().now())
    work()
    assert [row.state for row in rows(campaign)] == ["sent"] * 3
    assert sandbox.state()["duplicates"] == []


def test_a_person_who_cannot_be_reached_fails_alone(sandbox, campaign, alice):
    body = {
        "error": {"message": "no", "type": "OAuthException", "code": 10, "error_subcode": 2534022}
    }
    fault(sandbox, status=400, body=body)
    work()
    row = rows(campaign)[0]
    assert (row.state, row.reason) == ("failed", "window_closed")
    assert [found.state for found in rows(campaign)] == ["failed", "sent", "sent"]
    assert escape(row.why) in page(campaign, alice)


def test_the_crm_has_each_contact_with_tags_and_fields(sandbox, campaign, acme):
    from integrations import syncing

    connection = make_connection(acme, Connection.Kind.GHL)
    with scope.as_tenant(acme):
        connection.settings = {"calls_per_s": 1000}
        connection.save(update_fields=["settings"])
    work()
    syncing.Slice(Clock(), budget_s=60, stop=lambda: False).run()
    contacts = sandbox.state()["contacts"]
    assert len(contacts) == 3
    for contact in contacts:
        assert {"prospectado", "outbound-instagram"} <= set(contact["tags"])
        fields = contact["customFields"]
        assert fields["source_channel"] == "outbound_instagram_dm"
        assert fields["last_outreach_message"] == "Oi Ana!"
        assert fields["outreach_sent_at"]
