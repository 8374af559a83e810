"""Campaigns, messages, accounts, texts and the CRM over the API."""

from __future__ import annotations

import json
import threading

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.test_api import code_of, post
from campaigns.models import AccountUsage, Campaign, CampaignCounts, Template
from leads.models import Lead

pytestmark = pytest.mark.django_db


@pytest.fixture
def text(acme):
    with scope.as_tenant(acme):
        return Template.objects.create(tenant=acme, name="First", body="Oi {first_name|você}!")


@pytest.fixture
def account(acme):
    return factories.make_account(acme, gap_min_s=60, gap_max_s=90)


def start(text, **fields):
    return {"name": "Autumn", "target_type": "leads", "template_id": text.pk, **fields}


def patch(client, path, body):
    return client.patch(path, json.dumps(body), "application/json")


# --- The four addresses -----------------------------------------------------------------------


def test_a_campaign_is_started_read_listed_and_stopped(acme, api, text, account, rung):
    factories.make_lead(acme, score=90)
    answer = post(api, "/api/campaign/start", start(text, limit=10, kevs_mode=True, delay_min=1))
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"campaign_id", "status", "stats", "links"}
    assert body["status"] == "preparing"
    assert "campaigns.tasks.prepare_slice" in {task for task, _ in rung}
    read = api.get(body["links"]["self"]).json()
    assert set(read) == {
        "campaign_id", "name", "status", "sub_status", "reason", "started_at", "finished_at",
        "checkpoint", "stats", "forecast",
    }  # fmt: skip
    again = post(api, "/api/campaign/start", {"campaign_id": body["campaign_id"]})
    assert code_of(again) == (409, "already_started")
    listed = api.get("/api/campaigns?status=preparing").json()["items"]
    assert [one["campaign_id"] for one in listed] == [body["campaign_id"]]
    for _ in range(2):
        stopped = post(api, body["links"]["stop"], {})
        assert (stopped.status_code, stopped.json()["status"]) == (202, "cancelled")
    assert api.get("/api/campaigns?status=preparing").json()["items"] == []


def test_a_draft_is_started_by_its_id(acme, api, account, rung):
    factories.make_lead(acme, score=90)
    draft = factories.make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    answer = post(api, "/api/campaign/start", {"campaign_id": draft.pk})
    assert (answer.status_code, answer.json()["campaign_id"]) == (202, draft.pk)
    wrong = post(api, "/api/campaign/start", {"campaign_id": draft.pk, "limit": 3})
    assert (wrong.status_code, list(wrong.json()["errors"])) == (400, ["limit"])


def test_a_dry_run_stores_nothing(acme, api, text, account, rung):
    factories.make_lead(acme, "ana", score=90, name="Ana Lima")
    factories.make_lead(acme, "bia", score=55, name="Bia Reis")
    factories.make_lead(acme, "cris", score=10)
    body = post(api, "/api/campaign/start", start(text, dry_run=True)).json()
    assert body["audience"] == {"total": 2, "by_band": {"HOT": 1, "WARM": 1}, "left_out": {}}
    assert [one["text"] for one in body["previews"]] == ["Oi Ana!", "Oi Bia!"]
    assert body["account_ids"] == [account.pk]
    assert (body["forecast"]["messages"], body["forecast"]["assumes"]) == (2, "start")
    handles = start(text, dry_run=True, target_type="profiles", target_value="@new.one, ana")
    answer = post(api, "/api/campaign/start", handles)
    assert answer.json()["audience"]["by_band"] == {"HOT": 1}
    assert sum(answer.json()["audience"]["left_out"].values()) == 1
    with scope.as_tenant(acme):
        assert (Campaign.objects.count(), Lead.objects.count()) == (0, 3)
    assert rung == []
    for state, status in [("draft", 200), ("running", 409), ("finished", 409)]:
        campaign = factories.make_campaign(acme, state=state)
        answer = post(api, "/api/campaign/start", {"campaign_id": campaign.pk, "dry_run": True})
        assert answer.status_code == status, state


def test_a_bad_start_says_which_field(acme, rival, api, text, account):
    foreign = factories.make_account(rival)
    for body, field in [
        ({}, "name"),
        (start(text, target_type="profiles"), "target_value"),
        (start(text, target_value=["ana"]), "target_value"),
        (start(text, limit=501), "limit"),
        (start(text, min_score=101), "min_score"),
        (start(text, account_ids=[foreign.pk]), "account_ids"),
        (start(text, account_ids=[10**30]), "account_ids.0"),
        ({**start(text), "template_id": 10**6}, "template_id"),
        (start(text, delay_min=3, delay_max=1), "delay_max"),
        (start(text, colour="red"), "colour"),
    ]:
        answer = post(api, "/api/campaign/start", body)
        assert answer.status_code == 400, body
        assert field in answer.json()["errors"], body
    pace = post(api, "/api/campaign/start", start(text, delay_min=2))
    assert code_of(pace) == (409, "pace_differs")
    nobody = post(api, "/api/campaign/start", start(text))
    assert nobody.status_code == 409
    with scope.as_tenant(acme):
        assert not Campaign.objects.exists()


def test_the_buckets_sum_to_the_audience(acme, api):
    campaign = factories.make_campaign(acme, state="running")
    for state in ("queued", "claimed", "sent", "failed", "unknown", "skipped", "cancelled"):
        factories.make_message(campaign, state=state)
    stats = api.get(f"/api/campaign/{campaign.pk}").json()["stats"]
    assert sum(stats[name] for name in CampaignCounts.BUCKETS) == stats["audience"] == 7


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_twenty_equal_starts_at_once_make_one_campaign(acme, text, account, rung):
    factories.make_lead(acme, score=90)
    key = factories.make_key(acme)
    gate = threading.Barrier(20)
    answers = []

    def knock():
        client = factories.api_client(key, **{"Idempotency-Key": "the-same"})
        gate.wait()
        try:
            answers.append(post(client, "/api/campaign/start", start(text)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=knock) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}, [a.content for a in answers]
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer for answer in answers) == 19
    with scope.as_tenant(acme):
        assert Campaign.objects.count() == 1


# --- Resources --------------------------------------------------------------------------------


def test_a_draft_is_made_changed_and_lived_through(acme, api, text, account, rung):
    factories.make_lead(acme, score=90)
    body = {"name": "Autumn", "text": "Oi!", "audience": {"kind": "filter", "bands": ["HOT"]}}
    made = post(api, "/api/v1/campaigns", body)
    assert made.status_code == 201
    at = f"/api/v1/campaigns/{made.json()['id']}"
    assert made.json()["account_ids"] == [account.pk]
    changed = patch(api, at, {"template_id": text.pk, "limit": 7, "window": None})
    assert changed.status_code == 200, changed.content
    assert changed.json()["text"] == text.body
    assert (changed.json()["limit"], changed.json()["window"]) == (7, None)
    assert changed.json()["audience"] == body["audience"]
    assert patch(api, at, {"audience": {}}).status_code == 400
    assert patch(api, at, {"window": {"days": [0]}}).status_code == 400
    window = {"days": [1, 0], "from": "09:00", "to": "18:00"}
    assert patch(api, at, {"window": window}).json()["window"] == {**window, "days": [0, 1]}
    assert post(api, f"{at}/start", {}).status_code == 202
    assert code_of(patch(api, at, {"limit": 8})) == (409, "wrong_state")
    with scope.as_tenant(acme):
        Campaign.objects.update(state="running")
    assert post(api, f"{at}/pause", {}).json()["status"] == "paused"
    assert post(api, f"{at}/resume", {}).json()["status"] == "running"
    assert post(api, f"{at}/stop", {}).json()["status"] == "cancelled"
    actions = [one["action"] for one in api.get(f"{at}/events").json()["items"]]
    assert actions[0] == "campaign.stopped"
    assert actions[-1] == "campaign.created"


def test_messages_are_read_retried_and_resolved(acme, api, rung):
    campaign = factories.make_campaign(acme, state="running")
    failed = factories.make_message(campaign, state="failed", position=0, text="Oi!")
    unknown = factories.make_message(campaign, state="unknown", position=1)
    rows = api.get(f"/api/v1/campaigns/{campaign.pk}/messages").json()["items"]
    assert [row["id"] for row in rows] == [failed.pk, unknown.pk]
    assert rows[0]["text"] == "Oi!"
    only = api.get(f"/api/v1/campaigns/{campaign.pk}/messages?state=unknown").json()["items"]
    assert [row["id"] for row in only] == [unknown.pk]
    assert post(api, f"/api/v1/messages/{failed.pk}/retry", {}).json()["state"] == "queued"
    at = f"/api/v1/messages/{unknown.pk}/resolve"
    assert post(api, at, {"outcome": "maybe"}).status_code == 400
    assert post(api, at, {"outcome": "skip"}).json()["state"] == "skipped"
    assert code_of(post(api, at, {"outcome": "sent"})) == (409, "already_resolved")


def test_a_viewers_key_reads_messages_without_their_text(acme):
    campaign = factories.make_campaign(acme, state="running")
    factories.make_message(campaign, state="sent", text="Oi!")
    viewer = factories.make_member(acme, "viewer")
    client = factories.api_client(factories.make_key(acme, member=viewer))
    rows = client.get(f"/api/v1/campaigns/{campaign.pk}/messages").json()["items"]
    assert [row["text"] for row in rows] == [None]


def test_accounts_are_blocked_and_say_what_they_may_send(acme, api, account):
    at = f"/api/v1/accounts/{account.pk}"
    capacity = api.get(f"{at}/capacity").json()
    assert (capacity["room"], capacity["binding"]) == (1000, "")
    assert post(api, f"{at}/block", {"reason": "holiday"}).json()["state"] == "blocked"
    assert code_of(post(api, f"{at}/block", {})) == (409, "wrong_state")
    assert api.get(f"{at}/capacity").json()["binding"] == "account_blocked"
    assert api.get(at).json()["block_code"] == "blocked_by_person"
    assert post(api, f"{at}/unblock", {}).json()["state"] == "active"


def test_texts_are_added_and_changed(acme, api):
    made = post(api, "/api/v1/templates", {"name": "A", "body": "Oi!"})
    assert made.status_code == 201
    assert code_of(post(api, "/api/v1/templates", {"name": "A", "body": "x"})) == (
        409,
        "name_taken",
    )
    bad = post(api, "/api/v1/templates", {"name": "B", "body": "Oi {colour}!"})
    assert (bad.status_code, list(bad.json()["errors"])) == (400, ["body"])
    at = f"/api/v1/templates/{made.json()['id']}"
    assert patch(api, at, {"body": "Olá!"}).json()["body"] == "Olá!"
    assert api.get(at).json()["name"] == "A"


def test_a_failed_sync_item_is_retried(acme, api):
    item = factories.make_sync_item(
        factories.make_connection(acme, "ghl"), "lead:1", state="failed", reason="refused"
    )
    assert api.get("/api/v1/sync-items?state=failed").json()["items"][0]["id"] == item.pk
    at = f"/api/v1/sync-items/{item.pk}/retry"
    assert post(api, at, {}).json()["state"] == "waiting"
    assert code_of(post(api, at, {})) == (409, "not_failed")


# --- Pace, forecast, usage, dead letters ------------------------------------------------------


def test_a_pace_that_the_accounts_do_not_keep_is_refused(acme, api, text, rung):
    factories.make_lead(acme, score=90)
    factories.make_account(acme, gap_min_s=60, gap_max_s=90)
    for fields, status in [
        ({"delay_min": 1, "delay_max": 1.5}, 202),
        ({"delay_max": 1.4}, 409),
        ({"delay_min": 1.1}, 409),
    ]:
        answer = post(api, "/api/campaign/start", start(text, **fields))
        assert answer.status_code == status, fields
        if status == 409:
            assert code_of(answer) == (409, "pace_differs")


def test_strict_round_robin_is_refused_where_nothing_would_keep_it(acme, api, text, rung):
    factories.make_lead(acme, score=90)
    first, second = factories.make_account(acme), factories.make_account(acme)
    refused = post(api, "/api/campaign/start", start(text, kevs_mode=True))
    assert code_of(refused) == (400, "not_supported")
    assert list(refused.json()["errors"]) == ["kevs_mode"]
    draft = factories.make_campaign(acme, accounts=[first, second])
    body = {"campaign_id": draft.pk, "kevs_mode": True}
    assert code_of(post(api, "/api/campaign/start", body)) == (400, "not_supported")
    for fields in ({"kevs_mode": True, "account_ids": [first.pk]}, {"kevs_mode": False}):
        answer = post(api, "/api/campaign/start", start(text, dry_run=True, **fields))
        assert answer.status_code == 200, fields


def test_a_campaign_says_when_it_will_be_done(acme, api, account):
    campaign = factories.make_campaign(acme, state="running", accounts=[account])
    factories.make_message(campaign)
    read = api.get(f"/api/campaign/{campaign.pk}").json()["forecast"]
    assert (read["messages"], read["assumes"], read["never"]) == (1, "", None)
    assert sum(day["planned"] for day in read["per_day"]) == 1
    assert read["per_account"] == {str(account): 1}
    whole = api.get(f"/api/v1/campaigns/{campaign.pk}/forecast").json()
    assert whole["finish_p90"] >= whole["finish_p50"] >= whole["first_send"]
    with scope.as_tenant(acme):
        Campaign.objects.update(state="cancelled")
    assert api.get(f"/api/campaign/{campaign.pk}").json()["forecast"] is None
    assert api.get(f"/api/v1/campaigns/{campaign.pk}/forecast").json()["messages"] == 0


def test_reading_a_campaign_costs_the_same_however_large_it_is(acme, api):
    campaign = factories.make_campaign(acme, state="running")

    def cost(at):
        with CaptureQueriesContext(connection) as queries:
            assert api.get(at).status_code == 200
        return len(queries)

    addresses = [f"/api/campaign/{campaign.pk}", f"/api/v1/campaigns/{campaign.pk}/forecast"]
    factories.make_message(campaign)
    api.get(addresses[0])
    few = [cost(at) for at in addresses]
    for _ in range(20):
        factories.make_message(campaign)
        factories.make_message(campaign, state="sent")
    assert [cost(at) for at in addresses] == few
    assert max(few) <= 18


def test_only_a_draft_is_deleted(acme, api):
    draft = factories.make_campaign(acme)
    running = factories.make_campaign(acme, state="running")
    assert api.delete(f"/api/v1/campaigns/{draft.pk}").status_code == 204
    assert api.get(f"/api/v1/campaigns/{draft.pk}").status_code == 404
    assert code_of(api.delete(f"/api/v1/campaigns/{running.pk}")) == (409, "wrong_state")
    assert api.get(f"/api/v1/campaigns/{running.pk}").status_code == 200


def test_usage_is_told_by_account_and_day(acme, rival, api):
    first, second = factories.make_account(acme), factories.make_account(acme)
    for tenant, row, period, used in [
        (acme, first, "2026-03-02", 9),
        (acme, first, "2026-03-03", 5),
        (acme, first, "2026-03-04", 2),
        (acme, first, "2026-03-04T10-03", 2),
        (acme, second, "2026-03-04", 4),
        (rival, factories.make_account(rival), "2026-03-04", 100),
    ]:
        with scope.as_tenant(tenant):
            AccountUsage.objects.create(tenant=tenant, account=row, period=period, used=used)
    at = "/api/v1/usage?since=2026-03-03&until=2026-03-04"
    body = api.get(at).json()
    assert (body["used"], [day["used"] for day in body["days"]]) == (11, [5, 6])
    assert [(one["account_id"], one["used"]) for one in body["items"]] == [
        (first.pk, 7),
        (second.pk, 4),
    ]
    assert body["items"][0]["days"][0] == {"date": "2026-03-03", "used": 5}
    page = api.get(f"{at}&limit=1").json()
    assert (page["used"], len(page["items"])) == (11, 1)
    assert api.get(f"{at}&cursor={page['next']}").json()["items"] == body["items"][1:]
    today = api.get("/api/v1/usage").json()
    assert (today["used"], today["items"][0]["days"]) == (0, [])
    for query in ("since=2025-11-01&until=2026-03-04", "since=2026-03-05&until=2026-03-04",
                  "until=2026-02-30", "since=x"):  # fmt: skip
        assert code_of(api.get(f"/api/v1/usage?{query}")) == (400, "invalid"), query
    assert api.get("/api/v1/usage?until=0001-01-01").status_code == 200


def test_dead_letters_are_listed_replayed_and_discarded(acme, api):
    line = factories.make_connection(acme, "ghl")
    dead = [
        factories.make_sync_item(
            line, f"lead:{number}", state="failed", reason="refused", wanted={"handle": "ana"}
        )
        for number in range(2)
    ]
    factories.make_sync_item(line, "lead:9")
    listed = api.get("/api/v1/dead-letters?total=1").json()
    assert ([one["id"] for one in listed["items"]], listed["total"]) == ([x.pk for x in dead], 2)
    at = f"/api/v1/dead-letters/{dead[0].pk}"
    assert post(api, f"{at}/discard", {"reason": " "}).status_code == 400
    assert post(api, f"{at}/discard", {"reason": "Gone."}).json()["state"] == "discarded"
    assert code_of(post(api, f"{at}/discard", {"reason": "Gone."})) == (409, "not_dead")
    assert post(api, f"{at}/replay", {}).json()["state"] == "waiting"
    assert code_of(post(api, f"{at}/replay", {})) == (409, "not_dead")
    assert [one["id"] for one in api.get("/api/v1/dead-letters").json()["items"]] == [dead[1].pk]
