"""Leads, imports, suppressions and the ICP over the API."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.test_api import code_of, post
from leads import exporting
from leads.models import Icp, Lead, LeadImport, LeadTag
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
JSON = "application/json"


def patch(client, path, body):
    return client.patch(path, json.dumps(body), JSON)


def test_a_lead_is_added_scored_changed_and_suppressed(acme, api):
    body = {"handle": "@Ana.Silva", "name": "Ana", "email": "ANA@example.com", "followers": 5200}
    made = post(api, "/api/v1/leads", body)
    assert made.status_code == 201
    lead = made.json()
    assert (lead["handle"], lead["email"], lead["source"]) == (
        "ana.silva",
        "ana@example.com",
        "api",
    )
    at = f"/api/v1/leads/{lead['id']}"
    score = api.get(f"{at}/score").json()
    assert score["total"] == lead["score"] == sum(line["points"] for line in score["lines"])
    changed = patch(api, at, {"bio": "CEO e fundadora em São Paulo", "followers": None}).json()
    assert changed["followers"] is None
    assert changed["score"] != lead["score"]
    assert patch(api, at, {"handle": "bia"}).status_code == 400
    for field, value in [
        ("email", "x"),
        ("phone", "1"),
        ("website", "javascript:x"),
        ("posts", -1),
    ]:
        assert list(patch(api, at, {field: value}).json()["errors"]) == [field]
    assert post(api, f"{at}/suppress", {"reason": "asked"}).json() == {"leads_stopped": 1}
    assert api.get(at).json()["suppressed_at"]
    assert post(api, f"{at}/suppress", {}).json() == {"leads_stopped": 0}


def test_a_crm_contact_belongs_to_one_lead(acme, api):
    post(api, "/api/v1/leads", {"handle": "ana", "ghl_id": "c1"})
    other = {"handle": "bia", "ghl_id": "c1"}
    assert code_of(post(api, "/api/v1/leads", other)) == (409, "ghl_id_taken")
    bia = post(api, "/api/v1/leads", {"handle": "bia"}).json()["id"]
    assert code_of(patch(api, f"/api/v1/leads/{bia}", {"ghl_id": "c1"})) == (409, "ghl_id_taken")


def test_somebody_of_the_team_answers_for_a_lead(acme, rival, api):
    bia = factories.make_member(acme, "operator")
    stranger = factories.make_member(rival, "operator")
    made = post(api, "/api/v1/leads", {"handle": "ana", "owner": bia.user.email.upper()}).json()
    assert made["owner"] == bia.user.email
    at = f"/api/v1/leads/{made['id']}"
    for email in (stranger.user.email, "nobody@example.com"):
        answer = patch(api, at, {"owner": email, "city": "Recife"})
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["owner"])
    assert api.get(at).json()["city"] == ""
    other = factories.make_lead(acme, "cris")
    for query, handles in [
        (f"owner={bia.user.email}", ["ana"]),
        ("owner=none", ["cris"]),
        ("", ["ana", "cris"]),
    ]:
        found = api.get(f"/api/v1/leads?{query}").json()["items"]
        assert sorted(lead["handle"] for lead in found) == handles
    refused = api.get(f"/api/v1/leads?owner={stranger.user.email}")
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["owner"])
    assert patch(api, at, {"owner": None}).json()["owner"] is None
    with scope.as_tenant(acme):
        assert AuditEntry.objects.filter(action="lead.assigned").count() == 2
        given = exporting.rows_of([other.pk], ["handle", "owner", "score"], 0)
    assert given == [["cris", None, None]]


def test_the_list_is_narrowed_as_the_page_narrows_it(acme, api):
    hot = factories.make_lead(acme, "ana", score=90, name="Ana")
    cold = factories.make_lead(acme, "bia", score=41, name="Bia")
    none = factories.make_lead(acme, "cris", score=None, name="Cris")
    with scope.as_tenant(acme):
        LeadTag.objects.create(tenant=acme, lead=cold, name="fair")
    for query, expected in [
        ("", [hot, cold, none]),
        ("q=bi", [cold]),
        ("band=HOT", [hot]),
        ("band=none", [none]),
        ("tag=fair", [cold]),
        ("order=score", [hot, cold]),
        ("eligible=yes", [hot, cold]),
        ("suppressed=yes", []),
        ("tag=nowhere", []),
    ]:
        items = api.get(f"/api/v1/leads?{query}").json()["items"]
        assert [item["id"] for item in items] == [lead.pk for lead in expected], query
    assert api.get("/api/v1/leads?band=LUKEWARM").status_code == 400


def test_bulk_gives_every_row_its_own_outcome(acme, api):
    factories.make_lead(acme, "known", name="Known", city="Santos")
    factories.make_lead(acme, "same", name="Same")
    rows = [
        {"handle": "@new", "followers": "12k", "is_private": False, "engagement": 3.5},
        {"handle": "known", "city": "Campinas", "name": None},
        {"handle": "same", "name": "Same"},
        {"handle": "bad handle!"},
        {"name": "Nobody"},
        {"handle": "x", "followers": -1},
        {"handle": "y", "colour": "red"},
        {"handle": "z", "bio": ["no"]},
        "no object",
        {"profile_url": "https://instagram.com/by.url", "email": "not-one"},
    ]
    answer = post(api, "/api/v1/leads/bulk", {"leads": rows, "list_name": "fair"}).json()
    assert [row["outcome"] for row in answer["rows"]] == [
        "created", "updated", "unchanged", *["rejected"] * 6, "created",
    ]  # fmt: skip
    assert [row["code"] for row in answer["rows"][3:9]] == [
        "bad_handle", "no_handle", "negative_number", "unknown_field", "bad_value",
        "not_an_object",
    ]  # fmt: skip
    assert all(row["reason"] for row in answer["rows"][3:9])
    assert [one["code"] for one in answer["rows"][9]["warnings"]] == ["bad_email"]
    assert (answer["created"], answer["rejected"]) == (2, 6)
    with scope.as_tenant(acme):
        new = Lead.objects.get(handle="new")
        assert (new.followers, new.is_private, float(new.engagement)) == (12000, False, 3.5)
        assert new.pk == answer["rows"][0]["id"]
        assert Lead.objects.get(handle="known").name == "Known"
        assert new.scores.exists()
        assert LeadTag.objects.filter(name="fair").count() == 4
    again = post(api, "/api/v1/leads/bulk", rows[:3]).json()
    assert [row["outcome"] for row in again["rows"]] == ["unchanged"] * 3


def test_bulk_takes_a_thousand_rows_and_no_more(acme, api, django_assert_max_num_queries):
    rows = [{"handle": f"lead{number}"} for number in range(1_000)]
    with scope.as_tenant(acme):
        factories.make_icp(acme)
    with django_assert_max_num_queries(25):
        assert post(api, "/api/v1/leads/bulk", {"leads": rows}).json()["created"] == 1_000
    many = post(api, "/api/v1/leads/bulk", {"leads": [*rows, {"handle": "one.more"}]})
    assert (many.status_code, list(many.json()["errors"])) == (400, ["leads"])
    assert post(api, "/api/v1/leads/bulk", {"leads": []}).status_code == 400


def test_suppressed_identities_hold_for_leads_that_come_later(acme, api):
    sent = {"handle": "@ana", "phone": "+5511988887777"}
    assert post(api, "/api/v1/suppressions", sent).status_code == 201
    later = post(api, "/api/v1/leads", {"handle": "bia", "phone": "(11) 98888-7777"}).json()
    assert later["suppressed_at"]
    nulls = {"handle": "bia", "email": "", "phone": None}
    assert post(api, "/api/v1/suppressions", nulls).status_code == 201
    assert post(api, "/api/v1/suppressions", {}).status_code == 400
    wrong = post(api, "/api/v1/suppressions", {"email": "x"})
    assert list(wrong.json()["errors"]) == ["email"]


def test_a_file_is_taken_for_import_once_per_idempotency_key(acme, api, rung):
    def send(content, **headers):
        file = SimpleUploadedFile("leads.csv", content, "text/csv")
        return api.post("/api/v1/imports", {"file": file, "list_name": "fair"}, headers=headers)

    key = {"Idempotency-Key": "k1"}
    begun = send(b"handle,name\nana,Ana\n", **key)
    assert (begun.status_code, begun.json()["state"]) == (202, "waiting")
    again = send(b"handle,name\nana,Ana\n", **key)
    assert again["Idempotent-Replayed"] == "true"
    assert send(b"handle,name\nbia,Bia\n", **key).status_code == 422
    assert code_of(send(b"name\nAna\n")) == (409, "no_handle_column")
    assert [task for task, _ in rung].count("leads.tasks.import_slice") == 1
    at = f"/api/v1/imports/{begun.json()['id']}"
    assert api.get(at).json()["file_name"] == "leads.csv"
    assert len(api.get("/api/v1/imports").json()["items"]) == 1
    assert api.get(f"{at}/problems").json()["items"] == []


def test_a_file_comes_with_rules_for_known_leads(acme, api, rung):
    def send(**fields):
        file = SimpleUploadedFile("leads.csv", b"handle,name\nana,Ana\n", "text/csv")
        return api.post("/api/v1/imports", {"file": file, **fields})

    assert send(policy="fill", policies='{"name": "keep", "city": "fill"}').status_code == 202
    with scope.as_tenant(acme):
        row = LeadImport.objects.get()
    assert (row.policy, row.policies) == ("fill", {"name": "keep"})
    assert send(policy="replace").status_code == 400
    for wrong in ("x", "[]", '{"handle": "keep"}', '{"name": []}', '{"name": {}}', "[" * 1_999):
        answer = send(policies=wrong)
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["policies"])


def test_a_new_icp_is_a_new_version(acme, api, rung):
    assert code_of(api.get("/api/v1/icp")) == (404, "no_icp")
    put = api.put("/api/v1/icp", json.dumps({"config": {"thresholds": {"hot": 80}}}), JSON)
    assert (put.status_code, put.json()["version"], put.json()["state"]) == (200, 1, "live")
    assert api.get("/api/v1/icp").json()["config"]["thresholds"]["hot"] == 80
    factories.make_lead(acme)
    second = api.put("/api/v1/icp", json.dumps({"config": {}, "note": "Second"}), JSON)
    assert second.json()["state"] == "scoring"
    busy = api.put("/api/v1/icp", json.dumps({"config": {}}), JSON)
    assert code_of(busy) == (409, "icp_scoring")
    wrong = api.put("/api/v1/icp", json.dumps({"config": {"weights": {"bio": -1}}}), JSON)
    assert list(wrong.json()["errors"]) == ["config.weights.bio"]
    assert [one["version"] for one in api.get("/api/v1/icp/versions").json()["items"]] == [2, 1]
    with scope.as_tenant(acme):
        acme.icp_versions.filter(number=2).update(state="retired")
        assert Icp.objects.get().live.number == 1
    restored = post(api, "/api/v1/icp/versions/1/restore", {}).json()
    assert (restored["version"], restored["config"]["thresholds"]["hot"]) == (3, 80)


# --- Taking away, looking back, saved views ---------------------------------------------------


def test_a_lead_is_deleted_unless_a_campaign_has_a_message_for_it(acme, api):
    gone, written = factories.make_lead(acme, "gone"), factories.make_lead(acme, "written")
    factories.make_message(factories.make_campaign(acme, state="running"), written)
    post(api, f"/api/v1/leads/{gone.pk}/suppress", {})
    answer = api.delete(f"/api/v1/leads/{gone.pk}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(f"/api/v1/leads/{gone.pk}").status_code == 404
    assert code_of(api.delete(f"/api/v1/leads/{written.pk}")) == (409, "lead_has_messages")
    with scope.as_tenant(acme):
        assert [lead.handle for lead in acme.leads.all()] == ["written"]
    again = post(api, "/api/v1/leads", {"handle": "gone"}).json()
    assert again["suppressed_at"]


def test_a_timeline_holds_deeds_and_messages_the_newest_first(acme, api):
    lead = post(api, "/api/v1/leads", {"handle": "ana"}).json()["id"]
    with scope.as_tenant(acme):
        row = acme.leads.get(pk=lead)
    factories.make_icp(acme)
    campaign = factories.make_campaign(acme, state="running")
    message = factories.make_message(campaign, row, state="failed", reason="rejected")
    patch(api, f"/api/v1/leads/{lead}", {"city": "Campinas"})
    at = f"/api/v1/leads/{lead}/timeline"
    events = api.get(at).json()
    assert [one["action"] for one in events["items"]] == ["lead.edited", "failed", "lead.created"]
    assert events["items"][1]["campaign_id"] == campaign.pk
    assert (events["items"][1]["id"], events["items"][1]["reason"]) == (message.pk, "rejected")
    assert events["items"][0]["data"] == {"fields": ["city"]}
    assert events["next"] is None
    seen, cursor = [], ""
    for _ in range(3):
        page = api.get(f"{at}?limit=1&cursor={cursor}").json()
        seen += page["items"]
        cursor = page["next"] or ""
    assert (seen, cursor) == (events["items"], "")
    assert code_of(api.get(f"{at}?cursor=x")) == (400, "invalid")


def test_events_of_one_instant_are_all_seen(acme, api, clock):
    lead = factories.make_lead(acme)
    with scope.as_tenant(acme):
        for number in range(3):
            AuditEntry.objects.create(
                tenant=acme, at=clock.now(), actor="x", action=f"a{number}",
                object_type="leads.lead", object_id=lead.pk,
            )  # fmt: skip
            campaign = factories.make_campaign(acme, state="running")
            factories.make_message(campaign, lead, updated_at=clock.now())
    seen, cursor = [], ""
    while True:
        page = api.get(f"/api/v1/leads/{lead.pk}/timeline?limit=2&cursor={cursor}").json()
        seen += [(one["kind"], one["id"]) for one in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 6


def test_a_saved_view_narrows_the_leads(acme, api):
    hot = factories.make_lead(acme, "ana", score=90, city="Campinas")
    factories.make_lead(acme, "bia", score=45)
    body = {"name": "Hot", "query": "q=&band=HOT", "shared": True}
    made = post(api, "/api/v1/segments", body)
    assert (made.status_code, made.json()["query"]) == (201, "band=HOT")
    assert code_of(post(api, "/api/v1/segments", body)) == (409, "view_exists")
    wrong = post(api, "/api/v1/segments", {"name": "Odd", "query": "band=LUKEWARM"})
    assert list(wrong.json()["errors"]) == ["query"]
    pk = made.json()["id"]
    found = api.get(f"/api/v1/leads?segment={pk}&total=1").json()
    assert ([one["id"] for one in found["items"]], found["total"]) == ([hot.pk], 1)
    assert api.get(f"/api/v1/leads?segment={pk + 1}").status_code == 400
    assert [one["id"] for one in api.get("/api/v1/segments").json()["items"]] == [pk]
    assert api.get(f"/api/v1/segments/{pk}").json() == made.json()


def test_a_saved_view_is_removed_by_its_owner_or_a_manager(acme, api):
    member = factories.make_member(acme, "operator")
    operator = factories.api_client(factories.make_key(acme, member=member))
    mine = post(operator, "/api/v1/segments", {"name": "Mine", "query": ""}).json()["id"]
    theirs = post(api, "/api/v1/segments", {"name": "A", "query": "", "shared": True}).json()["id"]
    assert api.get(f"/api/v1/segments/{mine}").status_code == 404  # it is not shared
    assert code_of(operator.delete(f"/api/v1/segments/{theirs}")) == (403, "not_yours")
    for client, pk in ((operator, mine), (api, theirs)):
        assert client.delete(f"/api/v1/segments/{pk}").status_code == 204
    assert api.get("/api/v1/segments").json()["items"] == []


def test_a_preview_says_what_publishing_would_do_and_stores_nothing(acme, api, rung):
    put = api.put("/api/v1/icp", json.dumps({"config": {}}), JSON)
    assert put.status_code == 200
    post(api, "/api/v1/leads", {"handle": "ana", "bio": "CEO em São Paulo", "followers": 5200})
    score = api.get("/api/v1/leads").json()["items"][0]["score"]
    assert 0 < score < 100
    same = post(api, "/api/v1/icp/preview", {"config": {}}).json()
    assert (same["leads"], same["changed"], same["moved"], same["movers"]) == (1, 0, 0, [])
    lower = {"thresholds": {"hot": score, "warm": 1, "cold": 0}}
    found = post(api, "/api/v1/icp/preview", {"config": lower}).json()
    assert (found["moved"], found["bands"][0]["new_band"]) == (1, "HOT")
    assert sum(row["leads"] for row in found["bands"]) == found["leads"]
    wrong = post(api, "/api/v1/icp/preview", {"config": {"weights": {"bio": -1}}})
    assert list(wrong.json()["errors"]) == ["config.weights.bio"]
    assert len(api.get("/api/v1/icp/versions").json()["items"]) == 1
