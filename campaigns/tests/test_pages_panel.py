"""The control panel of a campaign, through the front door."""

from __future__ import annotations

import csv
import io

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_lead,
    make_member,
    make_message,
)
from campaigns.models import Campaign, CampaignCounts, Message
from campaigns.tests.pages import filled, queries, row_count, text, url
from tenants import audit
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    """What a test looks up itself is acme's; requests find their own way. Rings are collected."""
    in_tenant(acme)


@pytest.fixture
def person(acme, browser):
    """A browser for somebody with a role in acme."""
    return lambda role, htmx="": browser(make_member(acme, role).user, htmx=htmx)


def rows_of(campaign):
    return url("campaigns:audience", campaign.tenant, campaign.pk)


def test_every_tile_counts_the_rows_behind_its_link(acme, alice, browser):
    numbers = {"sent": 4, "failed": 1, "queued": 2, "unknown": 3, "skipped": 5}
    campaign = filled(acme, **numbers)
    client = browser(alice)
    page = text(client.get(campaign.get_absolute_url()))
    assert "sums: OK" in page
    for bucket in CampaignCounts.BUCKETS:
        assert f'{rows_of(campaign)}?state={bucket}"' in page
        shown = client.get(rows_of(campaign), {"state": bucket})
        assert row_count(text(shown)) == numbers.get(bucket, 0)
    everything = client.get(rows_of(campaign))
    assert row_count(text(everything)) == sum(numbers.values())
    chips = {chip.query: chip.count for chip in everything.context["chips"]}
    assert chips == {"": 15, **{f"state={name}": number for name, number in numbers.items()}}


def test_every_reason_counts_the_rows_behind_its_link(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    for reason, number in (("suppressed", 2), ("below_min_score", 3)):
        for _ in range(number):
            make_message(campaign, state="skipped", reason=reason)
    client = browser(alice)
    page = client.get(rows_of(campaign), {"state": "skipped"})
    found = {chip.label: chip for chip in page.context["reasons"]}
    assert found["This person must not be written to."].count == 2
    for chip in found.values():
        assert row_count(text(client.get(f"{rows_of(campaign)}?{chip.query}"))) == chip.count


def test_rows_are_narrowed_by_account_and_by_words(acme, alice, browser):
    mine, other = make_account(acme), make_account(acme)
    campaign = make_campaign(acme, state="running", accounts=[mine, other])
    make_message(campaign, make_lead(acme, "ana"), "sent", account=mine)
    make_message(campaign, make_lead(acme, "rui"), "sent", account=other)
    client = browser(alice)
    page = text(client.get(rows_of(campaign), {"account": mine.pk}))
    assert "@ana" in page
    assert "@rui" not in page
    assert "@rui" in text(client.get(rows_of(campaign), {"q": "@ru"}))


def test_an_old_address_with_a_bucket_leads_to_its_rows(acme, alice, browser):
    campaign = filled(acme, failed=1)
    response = browser(alice).get(campaign.get_absolute_url(), {"state": "failed"})
    assert response["Location"] == f"{rows_of(campaign)}?state=failed"


@pytest.mark.parametrize(
    "tab", ["detail", "audience", "sequence", "accounts", "activity", "settings"]
)
@pytest.mark.parametrize("state", ["draft", "running", "finished"])
def test_every_tab_has_its_page_and_the_frame(acme, alice, browser, tab, state):
    started = None if state == "draft" else timezone.now()
    campaign = make_campaign(acme, state=state, started_at=started)
    if started:
        make_message(campaign, state="sent")
    page = text(browser(alice).get(url(f"campaigns:{tab}", acme, campaign.pk)))
    assert campaign.name in page
    assert page.count('class="btn btn-primary"') <= 1 + 2 * (tab == "settings")


def test_a_sum_that_is_wrong_is_shown_in_red(acme, alice, browser):
    campaign = filled(acme, sent=2)
    with scope.as_tenant(acme):
        CampaignCounts.objects.update(sent=1)
    assert "sums: wrong" in text(browser(alice).get(campaign.get_absolute_url()))


@pytest.mark.parametrize("state", Campaign.State.values)
def test_every_state_has_a_page_and_polls_only_while_it_moves(acme, alice, browser, state):
    campaign = filled(acme, state=state, queued=1)
    page = text(browser(alice).get(campaign.get_absolute_url()))
    assert ("every 3s" in page) == campaign.is_moving


@pytest.mark.parametrize(
    ("tab", "part"),
    [("detail", "panel"), ("accounts", "panel"), ("audience", "rows"), ("activity", "events")],
)
def test_htmx_gets_the_part(acme, alice, browser, tab, part):
    campaign = filled(acme, sent=1)
    response = browser(alice, htmx=part).get(url(f"campaigns:{tab}", acme, campaign.pk))
    assert f'id="{part}"' in text(response).lstrip()[:40]
    assert "<html" not in text(response)
    assert "HX-Target" in response["Vary"]
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("tab", "most"),
    [("detail", 14), ("audience", 14), ("sequence", 14), ("accounts", 14), ("activity", 14)],
)
def test_a_tab_costs_the_same_with_more_messages(acme, alice, browser, tab, most):
    client = browser(alice)
    campaign = filled(acme, sent=2, failed=1)
    address = url(f"campaigns:{tab}", acme, campaign.pk)
    few = queries(client, address)
    for _ in range(6):
        make_message(campaign, state="sent")
        make_message(campaign, state="failed", account=make_account(acme))
    assert queries(client, address) == few <= most


@pytest.mark.parametrize(("role", "sees"), [("reviewer", True), ("viewer", False)])
def test_message_texts_are_for_those_who_may_read_them(acme, person, role, sees):
    campaign = filled(acme, sent=1)
    page = text(person(role).get(rows_of(campaign), {"state": "sent"}))
    assert ("Oi, segredo!" in page) is sees
    sequence = text(person(role).get(url("campaigns:sequence", acme, campaign.pk)))
    assert ("Oi {first_name|você}!" in sequence) is sees
    samples = person(role).get(url("campaigns:samples", acme, campaign.pk))
    assert samples.status_code == (200 if sees else 403)


def test_a_strangers_text_is_only_ever_text(acme, alice, browser):
    lead = make_lead(acme, "ana", name="<script>alert(1)</script>")
    campaign = make_campaign(acme, state="running")
    make_message(campaign, lead, "failed", error="<img src=x>", text="<b>x</b>")
    page = text(browser(alice).get(rows_of(campaign), {"state": "failed"}))
    assert "@ana" in page
    assert "<script>alert(1)" not in page
    assert "<img src=x>" not in page


def test_a_control_without_the_right_is_disabled_with_the_reason(acme, vera, browser):
    campaign = filled(acme, queued=1)
    page = text(browser(vera).get(campaign.get_absolute_url()))
    assert "It takes: Owner, Manager, Operator." in page
    assert url("campaigns:pause", acme, campaign.pk) not in page


# --- Activity ---------------------------------------------------------------------------------


def test_the_activity_is_shown_newest_first_in_words(acme, alice, browser):
    campaign = filled(acme, queued=1)
    with scope.as_tenant(acme):
        audit.record(campaign, "campaign.started", by=alice)
        audit.record(campaign, "campaign.blocked", by=None, code="session_invalid")
    page = text(browser(alice).get(url("campaigns:activity", acme, campaign.pk)))
    activity = page[page.index('class="timeline"') :]
    assert activity.index("Blocked") < activity.index("Started")
    assert "no longer accepts" in activity


def test_the_activity_merges_acts_and_messages_and_filters_them(acme, alice, browser):
    campaign = filled(acme, sent=1, queued=1)
    with scope.as_tenant(acme):
        audit.record(campaign, "campaign.paused", by=alice)
        audit.record(campaign, "campaign.finished", by=None)
        audit.record(campaign.messages.first(), "message.retried", by=alice)
    client = browser(alice)

    def events(**query):
        found = client.get(url("campaigns:activity", acme, campaign.pk), query)
        return [event.words for event in found.context["stream"].events]

    assert sorted(events()) == ["Finished", "One failed message queued again", "Paused", "Sent"]
    assert events(kind="people") == ["One failed message queued again", "Paused"]
    assert events(kind="system") == ["Finished"]
    assert events(kind="messages") == ["Sent"]


def test_the_activity_pages_by_key_and_each_event_has_its_link(acme, alice, browser):
    campaign = filled(acme, sent=30)
    with scope.as_tenant(acme):
        for _ in range(40):
            audit.record(campaign, "campaign.edited", by=alice)
    client, address = browser(alice), url("campaigns:activity", acme, campaign.pk)
    first = client.get(address).context["stream"]
    second = client.get(address, {"after": first.older}).context["stream"]
    names = [event.name for event in (*first.events, *second.events)]
    assert len(first.events) == 50
    assert len(set(names)) == 70
    assert second.older == ""
    one = second.events[3]
    linked = client.get(address, {"since": one.cursor})
    assert linked.context["stream"].events[0].name == one.name
    assert f'id="{one.name}"' in text(linked)


@pytest.mark.parametrize(
    "cursor", ["x", "WzEsMl0", "Wy0xLDAsMF0", "WzksOSw5OTk5OTk5OTk5OTk5OTk5OTk5XQ"]
)
def test_a_cursor_of_nonsense_shows_the_newest(acme, alice, browser, cursor):
    campaign = filled(acme, sent=1)
    page = browser(alice).get(url("campaigns:activity", acme, campaign.pk), {"after": cursor})
    assert page.status_code == 200


# --- Settings ---------------------------------------------------------------------------------


def test_a_running_campaign_is_renamed_and_tagged(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    address = url("campaigns:rename", acme, campaign.pk)
    browser(alice).post(address, {"name": "Outono", "tags": " frio,, vinho ,frio"})
    campaign.refresh_from_db()
    assert (campaign.name, campaign.tags) == ("Outono", "frio, vinho")
    assert AuditEntry.objects.get(action="campaign.renamed").actor == alice.email


def test_the_pace_of_a_running_campaign_changes_through_an_audited_act(acme, alice, browser, rung):
    campaign = make_campaign(acme, state="running")
    other = make_account(acme)
    values = {
        "accounts": [other.pk], "days": ["1"], "opens": "10:00", "closes": "12:00",
        "min_score": "60", "error_percent": "40", "error_window_min": "60",
    }  # fmt: skip
    browser(alice).post(url("campaigns:pace", acme, campaign.pk), values)
    campaign.refresh_from_db()
    assert campaign.window == {"days": [1], "from": "10:00", "to": "12:00"}
    assert (campaign.min_score, campaign.accounts.get()) == (60, other)
    entry = AuditEntry.objects.get(action="campaign.pace_changed")
    assert entry.data == {"changed": ["window", "min_score", "accounts"]}
    assert ("campaigns.tasks.send_slice", ()) in rung
    other.refresh_from_db()
    assert other.next_at is not None


@pytest.mark.parametrize("state", ["finished", "cancelled", "preparing"])
def test_the_pace_of_what_is_over_stays(acme, alice, browser, state):
    campaign = make_campaign(acme, state=state, min_score=50)
    values = {"accounts": [campaign.accounts.get().pk], "always": "on", "min_score": "0"}
    values |= {"error_percent": "40", "error_window_min": "60"}
    client = browser(alice)
    page = client.post(url("campaigns:pace", acme, campaign.pk), values, follow=True)
    assert "can be changed of a draft" in text(page)
    campaign.refresh_from_db()
    assert campaign.min_score == 50


def test_a_pace_that_cannot_work_comes_back_with_the_reason(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    values = {"days": ["1"], "opens": "12:00", "closes": "10:00", "min_score": "60"}
    page = text(browser(alice).post(url("campaigns:pace", acme, campaign.pk), values))
    assert "end after it begins" in page
    assert "This field is required" in page


# --- Proof ------------------------------------------------------------------------------------


def test_the_proof_is_the_ledger_as_csv(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    make_message(campaign, make_lead(acme, "ana", name="=1+1"), "sent", text="Oi!", position=1)
    make_message(campaign, make_lead(acme, "bia"), "skipped", reason="suppressed", position=2)
    response = browser(alice).post(url("campaigns:export", acme, campaign.pk))
    rows = list(csv.DictReader(io.StringIO(b"".join(response).decode())))
    assert [row["handle"] for row in rows] == ["ana", "bia"]
    assert (rows[0]["name"], rows[0]["text"], rows[0]["state"]) == ("'=1+1", "Oi!", "sent")
    assert rows[1]["reason_text"] == "This person must not be written to."
    assert AuditEntry.objects.get(action="campaign.exported").data == {"rows": 2}


def test_the_proof_takes_the_right_to_export(acme, person):
    campaign = filled(acme, sent=1)
    address = url("campaigns:export", acme, campaign.pk)
    assert person("operator").post(address).status_code == 403
    assert address not in text(person("operator").get(campaign.get_absolute_url()))


def test_a_sign_of_life_is_shown_while_it_works(acme, alice, browser):
    campaign = filled(acme, queued=1)
    with scope.as_tenant(acme):
        CampaignCounts.objects.update(worked_at=timezone.now(), worked_by="host:1")
        assert Campaign.objects.count() == 1
        assert Message.objects.count() == 1
    page = text(browser(alice).get(campaign.get_absolute_url()))
    assert "host:1" in page
    assert "data-ago" in page
