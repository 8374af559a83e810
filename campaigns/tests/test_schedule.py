"""A start at a time that a person set: through the front door, and by the worker."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_member
from campaigns import actions, starting, tasks
from campaigns.codes import Code
from campaigns.models import Campaign, CampaignAccount, SendingAccount
from campaigns.tests.pages import queries, text, url
from tenants.models import AuditEntry, Notification

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    in_tenant(acme)


@pytest.fixture
def draft(acme):
    make_lead(acme, score=90)
    return make_campaign(acme, audience={"kind": "filter"})


@pytest.fixture
def worker(monkeypatch):
    """`worker(now)`: a worker looks at what is due at that time."""

    def look(now):
        monkeypatch.setattr(tasks, "database_now", lambda: now)
        tasks.start_due()

    return look


def scheduled(draft, clock, *, ahead=HOUR):
    actions.schedule_campaign(draft, clock.now() + ahead, by=None, now=clock.now())
    return draft


def test_it_starts_at_its_time_and_not_before(draft, clock, rung, worker):
    scheduled(draft, clock)
    assert tasks.next_start_at() == clock.now() + HOUR
    worker(clock.now() + HOUR - timedelta(seconds=1))
    draft.refresh_from_db()
    assert draft.state == "scheduled"
    assert rung == []
    worker(clock.now() + HOUR)
    draft.refresh_from_db()
    assert (draft.state, draft.started_at) == ("preparing", clock.now() + HOUR)
    assert rung == [("campaigns.tasks.prepare_slice", ())]
    assert tasks.next_start_at() is None


def test_a_start_that_comes_twice_is_one_start(draft, clock, rung, worker):
    scheduled(draft, clock)
    for _ in range(2):
        worker(clock.now() + HOUR)
    assert rung == [("campaigns.tasks.prepare_slice", ())]
    assert AuditEntry.objects.filter(action="campaign.started").count() == 1


def test_a_start_overdue_for_hours_asks_a_person(draft, clock, rung, worker):
    scheduled(draft, clock)
    worker(clock.now() + HOUR + starting.OVERDUE_AFTER)
    draft.refresh_from_db()
    assert draft.state == "preparing", "two hours late is still on time"

    late = scheduled(make_campaign(draft.tenant, audience={"kind": "filter"}), clock)
    worker(clock.now() + HOUR + starting.OVERDUE_AFTER + timedelta(seconds=1))
    late.refresh_from_db()
    assert (late.state, late.reason, late.starts_at) == ("draft", Code.START_OVERDUE, None)
    assert Notification.objects.get().kind == "campaign.start_missed"
    assert rung == [("campaigns.tasks.prepare_slice", ())]


def test_what_cannot_start_at_its_time_is_a_draft_that_says_why(
    draft, clock, alice, browser, worker
):
    scheduled(draft, clock)
    SendingAccount.objects.update(state=SendingAccount.State.BLOCKED)
    worker(clock.now() + HOUR)
    draft.refresh_from_db()
    assert (draft.state, draft.reason) == ("draft", Code.NO_ELIGIBLE_ACCOUNT)
    assert Notification.objects.filter(kind="campaign.start_missed").count() == 1
    page = text(browser(alice).get(draft.get_absolute_url()))
    assert "It did not start at its time: No sending account is able to send." in page


def test_a_reason_without_a_sentence_of_its_own_keeps_its_words(draft, clock, worker):
    scheduled(draft, clock)
    draft.steps.all().delete()
    worker(clock.now() + HOUR)
    draft.refresh_from_db()
    assert (draft.reason, draft.why) == ("no_text", "The campaign has no text yet.")


def test_a_tenants_due_start_touches_no_other_tenant(draft, rival, clock, rung, worker):
    with scope.as_tenant(rival):
        make_lead(rival, score=90)
        other = make_campaign(rival, audience={"kind": "filter"})
        actions.schedule_campaign(other, clock.now() + 2 * HOUR, by=None, now=clock.now())
    scheduled(draft, clock)
    worker(clock.now() + HOUR)
    with scope.as_tenant(rival):
        assert Campaign.objects.get(pk=other.pk).state == "scheduled"


@pytest.mark.parametrize(
    ("ahead", "code"), [(timedelta(0), "time_passed"), (timedelta(days=400), "too_far_ahead")]
)
def test_a_time_that_cannot_be_is_refused(draft, clock, ahead, code):
    with pytest.raises(Refused) as refused:
        scheduled(draft, clock, ahead=ahead)
    assert refused.value.code == code
    assert Campaign.objects.get(pk=draft.pk).state == "draft"


def test_what_could_not_start_now_cannot_be_scheduled(draft, clock):
    CampaignAccount.objects.all().delete()
    with pytest.raises(Refused) as refused:
        scheduled(draft, clock)
    assert refused.value.code == Code.NO_ELIGIBLE_ACCOUNT


def test_a_scheduled_one_gets_another_time_is_taken_back_or_stopped(draft, clock, worker):
    scheduled(draft, clock)
    scheduled(draft, clock, ahead=3 * HOUR)
    assert tasks.next_start_at() == clock.now() + 3 * HOUR
    actions.unschedule_campaign(draft, by=None, now=clock.now())
    assert (draft.state, tasks.next_start_at()) == ("draft", None)
    with pytest.raises(Refused):
        actions.unschedule_campaign(draft, by=None, now=clock.now())
    scheduled(draft, clock)
    actions.stop_campaign(draft, by=None, now=clock.now())
    worker(clock.now() + HOUR)
    assert Campaign.objects.get(pk=draft.pk).state == "cancelled"


# --- Pages ------------------------------------------------------------------------------------


def tomorrow(tenant):
    """Nine o'clock tomorrow in the tenant's zone."""
    local = timezone.now().astimezone(ZoneInfo(tenant.time_zone)) + timedelta(days=1)
    return local.replace(hour=9, minute=0, second=0, microsecond=0)


def test_the_dialog_schedules_in_the_workspaces_zone(acme, draft, alice, browser):
    client, at = browser(alice), tomorrow(acme)
    start = url("campaigns:start", acme, draft.pk)
    assert 'type="datetime-local"' in text(client.get(start))
    client.post(start, {"when": "later", "at": at.strftime("%Y-%m-%dT%H:%M")})
    draft.refresh_from_db()
    assert (draft.state, draft.starts_at) == ("scheduled", at)
    page = text(client.get(draft.get_absolute_url()))
    assert "It starts by itself:" in page
    assert "09:00 (São Paulo)" in page
    assert "Start now…" in page
    listed = text(client.get(url("campaigns:list", acme)))
    assert "09:00 (São Paulo)" in listed
    assert url("campaigns:unschedule", acme, draft.pk) in listed
    entry = AuditEntry.objects.get(action="campaign.scheduled")
    assert datetime.fromisoformat(entry.data["at"]) == at


@pytest.mark.parametrize("at", ["", "soon", "9999-12-31T23:59", "2001-01-01T10:00"])
def test_a_time_that_is_none_changes_nothing(acme, draft, alice, browser, at):
    client = browser(alice, htmx="toasts")
    response = client.post(url("campaigns:start", acme, draft.pk), {"when": "later", "at": at})
    assert response.status_code == 200
    assert Campaign.objects.get(pk=draft.pk).state == "draft"


def test_now_is_now_whatever_stands_in_the_time(acme, draft, alice, browser):
    draft_time = tomorrow(acme).strftime("%Y-%m-%dT%H:%M")
    browser(alice).post(url("campaigns:start", acme, draft.pk), {"when": "now", "at": draft_time})
    assert Campaign.objects.get(pk=draft.pk).state == "preparing"


def test_taking_back_asks_first(acme, draft, alice, browser, clock):
    actions.schedule_campaign(draft, tomorrow(acme), by=alice, now=timezone.now())
    client, address = browser(alice), url("campaigns:unschedule", acme, draft.pk)
    assert "It is a draft again" in text(client.get(address))
    assert Campaign.objects.get(pk=draft.pk).state == "scheduled"
    client.post(address)
    assert Campaign.objects.get(pk=draft.pk).state == "draft"


def test_it_takes_the_right_to_launch(acme, draft, browser):
    actions.schedule_campaign(draft, tomorrow(acme), by=None, now=timezone.now())
    client = browser(make_member(acme, "viewer").user)
    assert client.post(url("campaigns:unschedule", acme, draft.pk)).status_code == 403
    assert Campaign.objects.get(pk=draft.pk).state == "scheduled"


def test_the_list_of_scheduled_ones_costs_the_same_for_many(acme, draft, alice, browser):
    client, address = browser(alice), url("campaigns:list", acme)
    account = make_account(acme)

    def more(number):
        for _ in range(number):
            make_campaign(acme, state="scheduled", starts_at=tomorrow(acme), accounts=[account])

    more(3)
    few = queries(client, address)
    more(20)
    assert queries(client, address) == few


# --- API --------------------------------------------------------------------------------------


def test_a_program_schedules_moves_and_starts(acme, draft, api):
    at = tomorrow(acme)
    address = f"/api/v1/campaigns/{draft.pk}/start"
    answer = api.post(address, {"at": at.isoformat()}, content_type="application/json")
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert body["status"] == "scheduled"
    assert datetime.fromisoformat(body["starts_at"]) == at
    answer = api.post(address, {"at": "2001-01-01T00:00:00Z"}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (409, "time_passed")
    answer = api.post(address, content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert (answer.json()["status"], answer.json()["starts_at"]) == ("preparing", None)
