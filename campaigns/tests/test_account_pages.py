"""Sending accounts as people see and keep them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

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
    make_tenant,
)
from campaigns import capacity, pacing
from campaigns.codes import Code
from campaigns.models import AccountUsage, Campaign, Message, SendingAccount
from integrations.models import Connection
from integrations.tests.live import LiveSandbox
from tenants.models import AuditEntry, Tenant

pytestmark = pytest.mark.django_db
ACCOUNT_ID = "17841400000000001"
TOKEN = "EAAB0123456789secrettokenofacme"
NEW_TOKEN = "EAAB9876543210anothersecrettoken"
PACE = {
    "error_percent": 40,
    "error_window_min": 60,
    "day_cap": "40", "hour_cap": "8", "gap_min_s": "60", "gap_max_s": "90",
    "jitter_percent": "15", "time_zone": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[LiveSandbox]:
    with LiveSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(server, settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.INSTAGRAM_GRAPH_BASE_URL = server.instagram_url
    server.reset()
    return server


def url(name, tenant, *args):
    return reverse(f"accounts:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def fresh(row):
    """The row as it is stored now."""
    with scope.as_tenant(row.tenant_id):
        return type(row).objects.get(pk=row.pk)


def use(account, now, *, day=0, hour=0):
    """Let the account have used so much of today and of this hour."""
    with scope.as_tenant(account.tenant_id):
        zone = account.zone(Tenant.objects.get(pk=account.tenant_id))
        for period, used in (
            (pacing.day_period(now, zone), day),
            (pacing.hour_period(now, zone), hour),
        ):
            AccountUsage.objects.create(
                tenant_id=account.tenant_id, account=account, period=period, used=used
            )


def judged(account, now):
    with scope.as_tenant(account.tenant_id):
        tenant = Tenant.objects.get(pk=account.tenant_id)
        return capacity.capacities(tenant, [account], now)[0]


def wake(account, at):
    with scope.as_tenant(account.tenant_id):
        SendingAccount.objects.filter(pk=account.pk).update(next_at=at)
    return fresh(account)


# --- Capacity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "hour", "binding", "room", "health"),
    [
        (10, 2, Code.ACCOUNT_HOURLY_CAP, 8, "free"),
        (48, 2, Code.ACCOUNT_DAILY_CAP, 2, "near"),
        (20, 10, Code.ACCOUNT_HOURLY_CAP, 0, "full"),
        (45, 5, Code.ACCOUNT_DAILY_CAP, 5, "near"),
    ],
)
def test_the_cap_that_leaves_least_room_binds(acme, clock, day, hour, binding, room, health):
    account = make_account(acme, day_cap=50, hour_cap=10)
    use(account, clock.now(), day=day, hour=hour)
    row = judged(account, clock.now())
    assert (row.binding, row.room, row.health) == (binding, room, health)


def test_caps_are_free_again_on_the_accounts_own_clock(acme, clock):
    account = make_account(acme, time_zone="Asia/Kolkata")  # half an hour off
    row = judged(account, clock.now())
    assert row.resets_hour == datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
    assert row.resets_day.astimezone(ZoneInfo("Asia/Kolkata")).hour == 0


def test_what_holds_an_account_is_the_last_of_its_gates_to_open(acme, clock):
    now = clock.now()
    account = make_account(acme, free_at=now + timedelta(minutes=1))
    evening = {"days": [0, 1, 2, 3, 4, 5, 6], "from": "18:00", "to": "20:00"}
    assert judged(account, now).kind == "idle"  # no campaign
    campaign = make_campaign(acme, accounts=[account], state="running", window=evening)
    account = wake(account, now)
    row = judged(account, now)
    assert (row.kind, row.until) == ("wait", datetime(2026, 3, 4, 21, 0, tzinfo=UTC))
    assert "sending hours" in row.sentence
    with scope.as_tenant(acme):
        Campaign.objects.filter(pk=campaign.pk).update(window={})
    row = judged(account, now)
    assert (row.kind, row.until) == ("wait", now + timedelta(minutes=1))
    row = judged(account, now + timedelta(minutes=2))
    assert (row.kind, row.until) == ("ok", None)
    assert judged(wake(account, None), now).kind == "idle"  # nothing to send
    Tenant.objects.filter(pk=acme.pk).update(stopped_at=now)
    assert judged(wake(account, now), now).kind == "blocked"


def test_a_day_with_25_hours_has_25_bars(acme):
    account = make_account(acme, time_zone="America/New_York", hour_cap=5)
    now = datetime(2026, 11, 1, 18, tzinfo=UTC)  # the clocks go back at two in the morning
    zone = ZoneInfo("America/New_York")
    with scope.as_tenant(acme):
        for at, used in ((5, 3), (6, 4)):
            period = pacing.hour_period(datetime(2026, 11, 1, at, tzinfo=UTC), zone)
            AccountUsage.objects.create(tenant=acme, account=account, period=period, used=used)
        days, hours = capacity.usage(account, acme, now)
    assert (len(days), len(hours)) == (14, 25)
    assert [bar.used for bar in hours[:3]] == [0, 3, 4]
    assert [bar.at.hour for bar in hours[:3]] == [0, 1, 1]


# --- Pages ------------------------------------------------------------------------------------


def test_the_list_says_what_each_account_may_still_send(acme, alice, browser):
    account = make_account(acme, "acme_sp", day_cap=50, hour_cap=10)
    campaign = make_campaign(acme, accounts=[account], state="running", name="Spring")
    use(account, timezone.now(), day=12, hour=4)
    page = text(browser(alice).get(url("list", acme)))
    assert "@acme_sp" in page
    assert "12 / 50" in page
    assert "4 / 10" in page
    assert "The hourly cap binds: 6 more until" in page
    assert "Their caps leave room for 6 messages right now." in page
    assert reverse("campaigns:detail", args=[acme.slug, campaign.pk]) in page


def test_without_accounts_the_page_says_what_to_do_next(acme, alice, vera, browser):
    assert url("add", acme) in text(browser(alice).get(url("list", acme)))
    seen = text(browser(vera).get(url("list", acme)))
    assert "No sending account yet" in seen
    assert url("add", acme) not in seen
    assert "It takes: Owner." in seen


def test_a_viewer_sees_accounts_without_controls(acme, vera, browser):
    account = make_account(acme)
    for address in (url("list", acme), url("detail", acme, account.pk)):
        page = text(browser(vera).get(address))
        assert f"@{account.handle}" in page
        assert "It takes: Owner, Manager." in page
        for name in ("edit", "block", "token", "test"):
            assert url(name, acme, account.pk) not in page


def test_a_page_polls_only_while_a_campaign_sends(acme, alice, browser):
    account = make_account(acme, next_at=timezone.now())
    campaign = make_campaign(acme, accounts=[account], state="paused")
    client = browser(alice)
    addresses = [url("list", acme), url("detail", acme, account.pk)]
    assert not any("every 5s" in text(client.get(address)) for address in addresses)
    with scope.as_tenant(acme):
        Campaign.objects.filter(pk=campaign.pk).update(state="running")
    assert all("every 5s" in text(client.get(address)) for address in addresses)


def test_a_part_is_answered_alone(acme, alice, browser):
    account = make_account(acme)
    for name, part in (("list", "accounts"), ("detail", "account")):
        args = [account.pk] if name == "detail" else []
        response = browser(alice, htmx=part).get(url(name, acme, *args))
        assert text(response).lstrip().startswith(("<section", "<div"))
        assert "<html" not in text(response)


def test_the_page_of_an_account_shows_usage_history_and_errors(acme, alice, browser):
    account = make_account(acme, "acme_sp", day_cap=50, hour_cap=10)
    campaign = make_campaign(acme, accounts=[account], state="running")
    failed = make_message(
        campaign,
        make_lead(acme, "bia"),
        "failed",
        account=account,
        reason="window_closed",
        error="outside of allowed window (10, 2534022)",
    )
    make_message(campaign, make_lead(acme, "cris"), "sent", account=account)
    use(account, timezone.now(), day=7, hour=3)
    client = browser(alice)
    client.post(url("block", acme, account.pk), {"reason": "on holiday"})
    page = text(client.get(url("detail", acme, account.pk)))
    for words in ("outside of allowed window", "@bia", "on holiday", "Blocked", "7 messages"):
        assert words in page
    assert "@cris" not in page
    assert page.count('class="bars-col"') in range(14 + 23, 14 + 26)
    assert failed.campaign.name in page
    client.post(url("unblock", acme, account.pk))
    page = text(client.get(url("detail", acme, account.pk)))
    assert "Unblocked" in page
    assert "on holiday" not in page


def test_texts_of_messages_do_not_leave_through_this_page(acme, vera, browser):
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account])
    make_message(campaign, None, "failed", account=account, text="a private text")
    assert "a private text" not in text(browser(vera).get(url("detail", acme, account.pk)))


# --- Pace -------------------------------------------------------------------------------------


def test_the_pace_is_changed_and_audited(acme, browser):
    account = make_account(acme, day_cap=50, hour_cap=10)
    manager = make_member(acme, "manager").user
    values = {**PACE, "time_zone": "America/Recife"}
    page = browser(manager).post(url("edit", acme, account.pk), values, follow=True)
    assert "it holds from the next message on" in text(page)
    assert "Messages a day: 50 → 40" in text(page)
    account = fresh(account)
    assert (account.day_cap, account.hour_cap, account.gap_max_s) == (40, 8, 90)
    assert account.time_zone == "America/Recife"
    assert account.next_at is not None
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="account.updated")
    assert (entry.user, entry.data["after"]["day_cap"]) == (manager, 40)


def test_a_save_without_a_change_leaves_no_trace(acme, alice, browser):
    account = make_account(
        acme, day_cap=40, hour_cap=8, gap_min_s=60, gap_max_s=90, jitter_percent=15
    )
    browser(alice).post(url("edit", acme, account.pk), PACE)
    with scope.as_tenant(acme):
        assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gap_min_s": "120"}, "must not be below the shortest (120 s)"),
        ({"day_cap": "-1"}, "greater than or equal to 0"),
        ({"day_cap": "100001"}, "less than or equal to 100000"),
        ({"jitter_percent": "101"}, "less than or equal to 100"),
        ({"time_zone": "Mars/Olympus"}, "Select a valid choice"),
        ({"hour_cap": ""}, "required"),
    ],
)
def test_a_pace_that_makes_no_sense_is_said_beside_its_field(acme, alice, browser, changes, words):
    account = make_account(acme, day_cap=50)
    response = browser(alice).post(url("edit", acme, account.pk), {**PACE, **changes})
    assert response.status_code == 200
    assert words in text(response)
    assert fresh(account).day_cap == 50


# --- Credentials ------------------------------------------------------------------------------


def entered(**changes):
    return {"handle": "@Acme_SP", "external_id": ACCOUNT_ID, "token": TOKEN, **changes}


def accounts_of(tenant):
    with scope.as_tenant(tenant):
        return list(SendingAccount.objects.select_related("connection"))


def test_an_account_is_tried_out_then_stored_sealed(acme, alice, browser, sandbox):
    page = text(browser(alice).post(url("add", acme), entered(), follow=True))
    assert f"Instagram calls it “sandbox.{ACCOUNT_ID}”" in page
    [account] = accounts_of(acme)
    assert (account.handle, account.state, account.day_cap) == ("acme_sp", "active", 50)
    assert account.connection.external_id == ACCOUNT_ID
    assert TOKEN.encode() not in bytes(account.connection.secret)
    with scope.as_tenant(acme):
        assert account.connection.reveal() == {"token": TOKEN}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"status": 429}, "asks for a slower pace. Wait a minute"),
        ({"status": 500}, "a fault of its own, so the test says nothing"),
        ({"garbage": True}, "answer could not be read"),
        ({"expired_token": True}, "does not accept this token"),
        ({"challenge": True}, "confirm that the account is theirs"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_token_that_cannot_be_tried_out_is_not_stored(acme, alice, browser, sandbox, rule, words):
    sandbox.faults([{"provider": "instagram", **rule}])
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "Nothing was stored." in page
    assert words in page
    assert TOKEN not in page
    assert accounts_of(acme) == []
    with scope.as_tenant(acme):
        assert not Connection.objects.exists()


def test_a_token_of_another_account_is_told_apart(acme, alice, browser, sandbox):
    page = text(browser(alice).post(url("add", acme), entered(token="EAAB0123456789@178999999")))
    assert "does not reach the Instagram account" in page
    assert accounts_of(acme) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"external_id": "@acme"}, "The handle is not the id."),
        ({"handle": "no handle!"}, "This is no Instagram handle"),
        ({"token": "tôken with spaces"}, "A token has no spaces"),
    ],
)
def test_what_was_typed_wrong_is_said_before_anybody_is_called(
    acme, alice, browser, sandbox, changes, words
):
    assert words in text(browser(alice).post(url("add", acme), entered(**changes)))
    assert sandbox.state()["counts"]["requests"] == {}


def test_a_handle_or_an_account_is_connected_once(acme, alice, browser, sandbox):
    make_account(acme, "acme_sp")
    page = text(browser(alice).post(url("add", acme), entered()))
    assert "an account with this handle already" in page
    other = make_tenant("other")
    with scope.as_tenant(other):
        Connection.objects.create(
            tenant=other, kind="instagram_graph", name="x", external_id=ACCOUNT_ID
        )
    page = text(browser(alice).post(url("add", acme), entered(handle="acme_rj")))
    assert "This account is connected already." in page
    assert len(accounts_of(acme)) == 1


@pytest.mark.parametrize(
    ("code", "state"), [("session_invalid", "active"), ("action_blocked", "blocked")]
)
def test_a_new_token_frees_an_account_whose_session_was_dead(
    acme, alice, browser, sandbox, code, state
):
    account = make_account(acme, state="blocked", block_code=code, blocked_at=timezone.now())
    with scope.as_tenant(acme):
        account.connection.mark_broken(code)
    page = text(
        browser(alice).post(url("token", acme, account.pk), {"token": NEW_TOKEN}, follow=True)
    )
    assert "The new token works" in page
    assert ("The account is unblocked." in page) == (state == "active")
    [account] = accounts_of(acme)
    assert (account.state, account.connection.state) == (state, "active")


def test_a_new_token_that_does_not_work_leaves_the_old_in_place(acme, alice, browser, sandbox):
    account = make_account(acme)
    sandbox.faults([{"provider": "instagram", "expired_token": True}])
    page = text(browser(alice).post(url("token", acme, account.pk), {"token": NEW_TOKEN}))
    assert "Nothing was stored." in page
    with scope.as_tenant(acme):
        assert fresh(account).connection.reveal()["token"] != NEW_TOKEN
    assert fresh(account).state == "active"


def test_a_test_that_the_provider_refuses_blocks_the_account(acme, alice, browser, sandbox):
    account = make_account(acme)
    campaign = make_campaign(acme, accounts=[account], state="running")
    client = browser(alice)
    page = text(client.post(url("test", acme, account.pk), follow=True))
    assert "It works: Instagram answers as" in page
    sandbox.faults([{"provider": "instagram", "expired_token": True}])
    page = text(client.post(url("test", acme, account.pk), follow=True))
    assert "does not accept this token" in page
    assert (fresh(account).state, fresh(campaign).state) == ("blocked", "blocked")
    sandbox.clear()
    client.post(url("test", acme, account.pk))
    [row] = accounts_of(acme)
    assert (row.state, row.connection.state) == ("blocked", "active")
    client.post(url("unblock", acme, account.pk))
    assert fresh(account).state == "active"


def test_no_page_or_audit_entry_holds_a_token(acme, alice, browser, sandbox, caplog):
    client = browser(alice)
    pages = [client.post(url("add", acme), entered(), follow=True)]
    [account] = accounts_of(acme)
    sandbox.faults(
        [{"provider": "instagram", "status": 400,
          "body": {"error": {"code": 190, "message": f"bad {TOKEN} or {NEW_TOKEN}"}}}]
    )  # fmt: skip
    pages.append(client.post(url("token", acme, account.pk), {"token": NEW_TOKEN}))
    pages.append(client.post(url("test", acme, account.pk), follow=True))
    pages += [client.get(url(name, acme, account.pk)) for name in ("detail", "token", "edit")]
    pages += [client.get(url(name, acme)) for name in ("list", "add")]
    with scope.as_tenant(acme):
        kept = str(list(AuditEntry.objects.values())) + str(list(SendingAccount.objects.values()))
    for secret in (TOKEN, NEW_TOKEN):
        assert not any(secret in text(page) for page in pages)
        assert secret not in kept + caplog.text


# --- Doors and queries ------------------------------------------------------------------------


def test_the_rivals_owner_finds_none_of_it(acme, rival, charlie, browser):
    account = make_account(acme)
    client = browser(charlie)
    for name in ("detail", "edit", "token", "block", "unblock"):
        assert client.get(url(name, rival, account.pk)).status_code == 404
        assert client.get(url(name, acme, account.pk)).status_code == 404
    assert client.post(url("test", rival, account.pk)).status_code == 404
    assert client.get(url("of-connection", rival, account.connection_id)).status_code == 404
    assert account.handle not in text(client.get(url("list", rival)))


def test_the_list_costs_the_same_however_many_accounts(
    acme, alice, browser, django_assert_num_queries
):
    client = browser(alice)

    def fill(number):
        for _ in range(number):
            make_campaign(acme, accounts=[make_account(acme)], state="running")

    fill(3)
    client.get(url("list", acme))
    with CaptureQueriesContext(connection) as few:
        client.get(url("list", acme))
    fill(27)
    with django_assert_num_queries(len(few)):
        client.get(url("list", acme))
    assert len(few) <= 14


def test_an_accounts_page_costs_the_same_however_much_it_did(
    acme, alice, browser, django_assert_num_queries
):
    account = make_account(acme)
    client = browser(alice)
    address = url("detail", acme, account.pk)

    def fill(number):
        for _ in range(number):
            campaign = make_campaign(acme, accounts=[account], state="running")
            make_message(campaign, None, "failed", account=account, reason="window_closed")
            client.post(url("block", acme, account.pk))
            client.post(url("unblock", acme, account.pk))

    fill(2)
    client.get(address)
    with CaptureQueriesContext(connection) as few:
        client.get(address)
    number = len(few)  # before the next request clears the log
    fill(10)
    with django_assert_num_queries(number):
        client.get(address)
    with scope.as_tenant(acme):
        assert Message.objects.count() == 12
    assert number <= 18
