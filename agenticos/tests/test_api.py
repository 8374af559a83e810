"""The programs' door: keys, problems, bodies, pages, and the document that describes them."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agenticos import scope, timeouts
from agenticos.api import problems, schema
from agenticos.tests import factories
from agenticos.tests.environment import ROOT
from agenticos.tests.test_house import operations
from tenants.models import ApiKey, IdempotencyRecord

pytestmark = pytest.mark.django_db
JSON = "application/json"


def post(client, path, body, **headers):
    return client.post(path, json.dumps(body), JSON, headers=headers)


# --- The key ----------------------------------------------------------------------------------


def test_a_key_opens_its_tenant_and_its_use_is_noted_once_a_minute(acme):
    text = factories.make_key(acme)
    lead = factories.make_lead(acme)
    client = factories.api_client(text)
    assert client.get("/api/v1/leads").json()["items"][0]["id"] == lead.pk
    with scope.as_tenant(acme):
        first = ApiKey.objects.get().last_used_at
    client.get("/api/v1/leads")
    with scope.as_tenant(acme):
        assert first == ApiKey.objects.get().last_used_at
        ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    client.get("/api/v1/leads")
    with scope.as_tenant(acme):
        assert ApiKey.objects.get().last_used_at >= first


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_call_does_not_wait_for_another_that_notes_the_keys_use(acme, monkeypatch):
    """Of a hundred at one moment the last would run into the time limit for locks."""
    monkeypatch.setattr(timeouts, "PAGE", {**timeouts.PAGE, "lock_timeout": "1ms"})
    client = factories.api_client(factories.make_key(acme))
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        with scope.as_system("test"), holder.cursor() as cursor:
            cursor.execute("SELECT 1 FROM tenants_apikey FOR NO KEY UPDATE")
        assert client.get("/api/v1/leads").status_code == 200
    finally:
        holder.rollback()
        holder.close()


def code_of(response):
    assert response["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"revoked_at": timezone.now()}, "key_revoked"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "key_expired"),
    ],
)
def test_a_key_that_is_over_says_so(acme, fields, expected):
    client = factories.api_client(factories.make_key(acme, **fields))
    response = client.get("/api/v1/leads")
    assert code_of(response) == (401, expected)
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_what_is_no_key_is_401(acme):
    good = factories.make_key(acme)
    typo = good[:-1] + ("y" if good[-1] == "x" else "x")
    for header in ("", "Bearer", "Bearer aos_x", f"Basic {good}", f"Bearer {typo}", good):
        response = Client(headers={"Authorization": header}).get("/api/v1/leads")
        assert response.status_code == 401, header
    assert Client().get(f"/api/v1/leads?key={good}").status_code == 401


def test_a_removed_or_inactive_member_takes_the_key_along(acme):
    member = factories.make_member(acme, "owner")
    client = factories.api_client(factories.make_key(acme, member=member))
    member.user.is_active = False
    member.user.save()
    assert code_of(client.get("/api/v1/leads")) == (401, "key_owner_inactive")
    member.user.is_active = True
    member.user.save()
    assert client.get("/api/v1/leads").status_code == 200
    with scope.as_tenant(acme):
        member.delete()
    assert code_of(client.get("/api/v1/leads")) == (401, "invalid_key")


def test_a_suspended_tenants_key_is_403(acme, api):
    acme.suspended_at = timezone.now()
    acme.save()
    assert code_of(api.get("/api/v1/leads")) == (403, "tenant_suspended")


def test_a_key_follows_its_creators_present_role(acme):
    member = factories.make_member(acme, "owner")
    client = factories.api_client(factories.make_key(acme, member=member))
    assert post(client, "/api/v1/leads", {"handle": "ana"}).status_code == 201
    with scope.as_tenant(acme):
        member.role = "viewer"
        member.save()
    assert code_of(post(client, "/api/v1/leads", {"handle": "bia"})) == (403, "role_not_enough")


# --- Problems and bodies ----------------------------------------------------------------------


def test_a_problem_has_its_form(api):
    response = post(api, "/api/v1/leads", {"handle": "bad handle!!", "followers": -1, "colour": 1})
    body = response.json()
    assert response["Content-Type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "errors", "request_id"} == set(body)
    assert (body["status"], body["title"], body["code"]) == (400, "Bad Request", "invalid")
    assert list(body["errors"]) == ["colour"]
    assert response["X-Request-Id"] == body["request_id"]
    body = post(api, "/api/v1/leads", {"handle": "bad handle!!", "followers": -1}).json()
    assert set(body["errors"]) == {"handle", "followers"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b'{"handle": NaN}', "bad_json"),
        (b'{"handle": "a", "handle": "b"}', "bad_json"),
        (b'{"followers": ' + b"9" * 5000 + b"}", "bad_json"),
        (b'{"handle": "a\\u0000"}', "bad_text"),
        (b'{"handle": "\\ud800"}', "bad_text"),
        (b'{"\\u0000": 1}', "bad_text"),
        (b'{"handle": "ana", "name": 5}', "invalid"),
        (b'{"handle": "ana", "followers": "5"}', "invalid"),
        (b'{"handle": "ana", "followers": 5.5}', "invalid"),
        (b'{"handle": "ana", "is_private": "true"}', "invalid"),
        (b'{"handle": "ana", "is_private": 1}', "invalid"),
        (b'{"handle": "ana", "name": "' + b"\\u001f" * 201 + b'"}', "invalid"),
        (b"[" * 33 + b"]" * 33, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"bio": "' + b"x" * 1024 * 1024 + b'"}', "body_too_large"),
        (b"[]", "invalid"),
        (b"null", "invalid"),
    ],
)
def test_a_bad_body_is_400(api, body, code):
    assert code_of(api.post("/api/v1/leads", body, JSON)) == (400, code)


def test_other_ways_to_be_wrong(api):
    assert code_of(api.get("/api/v1/nowhere")) == (404, "not_found")
    assert code_of(api.get("/api/v1/leads/%0A/score")) == (404, "not_found")
    assert code_of(api.delete("/api/v1/leads")) == (405, "method_not_allowed")
    assert code_of(api.options("/api/v1/leads")) == (405, "method_not_allowed")
    assert api.post("/api/v1/leads", {"handle": "ana"}).status_code == 415
    assert code_of(api.get("/api/v1/leads/99999999999999999999999")) == (404, "not_found")
    assert code_of(api.get("/api/v1/leads?q=%00")) == (400, "bad_text")
    assert code_of(api.get("/api/v1/leads?sort=x")) == (400, "invalid")
    assert api.get("/api/v1/leads", headers={"Accept": "text/html"}).status_code == 200
    assert api.get("/api/v1/leads/").status_code == 200  # meant all the same


def test_an_unexpected_error_tells_nothing(api, monkeypatch):
    logged = []
    monkeypatch.setattr(problems.logger, "error", lambda *words, **rest: logged.append(words))

    def fail(*args, **options):
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("leads.editing.add_lead", fail)
    response = post(api, "/api/v1/leads", {"handle": "ana"})
    assert code_of(response) == (500, "unexpected")
    assert b"secret" not in response.content
    assert logged == [("api.failed request_id=%s", response.json()["request_id"])]


def test_the_sentence_is_in_the_readers_language(acme, api):
    wanted = api.get("/api/v1/leads/1", headers={"Accept-Language": "pt-BR"})
    assert wanted.json()["detail"] != api.get("/api/v1/leads/1").json()["detail"]


# --- Pages ------------------------------------------------------------------------------------


def test_pages_by_cursor_see_every_row_once_while_rows_come_in(acme, api):
    leads = [factories.make_lead(acme).pk for _ in range(7)]
    first = api.get("/api/v1/leads?limit=3&total=1").json()
    assert first["total"] == 7
    late = factories.make_lead(acme).pk
    with scope.as_tenant(acme):
        acme.leads.filter(pk=leads[1]).delete()
    seen = [item["id"] for item in first["items"]]
    cursor = first["next"]
    while cursor:
        page = api.get(f"/api/v1/leads?limit=3&cursor={cursor}").json()
        assert "total" not in page
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
    assert seen == [*leads, late]
    assert code_of(api.get("/api/v1/leads?cursor=x")) == (400, "invalid")
    for limit in ("0", "201", "x"):
        assert code_of(api.get(f"/api/v1/leads?limit={limit}")) == (400, "invalid")


@pytest.mark.parametrize(
    "path",
    [
        "/api/campaigns", "/api/v1/leads", "/api/v1/campaigns", "/api/v1/templates",
        "/api/v1/accounts", "/api/v1/sync-items", "/api/v1/leads?order=score",
        "/api/v1/dead-letters", "/api/v1/segments", "/api/v1/usage",
    ],
)  # fmt: skip
def test_a_list_costs_the_same_however_long_it_is(acme, api, path):
    def grow(number):
        for _ in range(number):
            campaign = factories.make_campaign(acme, state="running")
            factories.make_message(campaign, state="sent")
            connection_ = factories.make_connection(acme, "ghl")
            factories.make_sync_item(connection_, "lead:1", state="failed")

    grow(1)
    api.get(path)
    with CaptureQueriesContext(
        connection,
    ) as few:
        assert api.get(path).status_code == 200
    grow(4)
    with CaptureQueriesContext(connection) as many:
        assert api.get(path).status_code == 200
    assert len(few) == len(many) <= 8


# --- The document -----------------------------------------------------------------------------


def test_every_operation_is_in_the_document_with_its_scope():
    document = schema.schema()
    assert document["openapi"] == "3.1.0"
    wanted = {
        (verb, "/" + route.replace("<int:pk>", "{id}").replace("<int:number>", "{number}"))
        for verb, route, _, _ in operations()
    }
    found = {(verb, path) for path, verbs in document["paths"].items() for verb in verbs}
    assert found == wanted
    for path, verbs in document["paths"].items():
        for verb, about in verbs.items():
            token = path == "/api/auth/token"
            assert ("Takes any key" if token else "Takes the scope") in about["description"]
            assert about["security"] == [{"key": []}, {"token": []}][: 1 if token else 2]
            assert {"401", "403", "429"} <= set(about["responses"])
            names = {one["name"] for one in about.get("parameters", [])}
            assert ("Idempotency-Key" in names) == (verb not in ("get", "delete") and not token)
            for answer in about["responses"].values():
                assert "RateLimit-Remaining" in answer["headers"]
    assert set(document["components"]["securitySchemes"]) == {"key", "token"}
    ids = [about["operationId"] for verbs in document["paths"].values() for about in verbs.values()]
    assert len(ids) == len(set(ids))


def test_the_examples_of_the_document_hold_against_their_schemas():
    import jsonschema

    document = schema.schema()
    checked = 0
    for verbs in document["paths"].values():
        for about in verbs.values():
            parts = [about.get("requestBody", {}), *about["responses"].values()]
            for part in parts:
                for content in part.get("content", {}).values():
                    shape = {**content["schema"], "components": document["components"]}
                    for example in content.get("examples", {}).values():
                        jsonschema.Draft202012Validator(shape).validate(example["value"])
                        checked += 1
    assert checked > 20


def test_the_document_and_the_try_it_page_are_public_and_keep_the_csp(client):
    assert client.get("/api/schema/").json()["openapi"] == "3.1.0"
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert b"swagger-ui-bundle.js" in page.content
    assert "unsafe" not in page["Content-Security-Policy"]


# --- Repeats ----------------------------------------------------------------------------------


def test_a_repeat_gives_the_first_answer_and_does_nothing(acme, api):
    sent = {"Idempotency-Key": "k1"}
    first = post(api, "/api/v1/leads", {"handle": "ana", "name": "Ana"}, **sent)
    again = post(api, "/api/v1/leads", {"name": "Ana", "handle": "ana"}, **sent)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    other = post(api, "/api/v1/leads", {"handle": "bia"}, **sent)
    assert code_of(other) == (422, "idempotency_key_reused")
    elsewhere = post(api, "/api/v1/suppressions", {"handle": "ana", "name": "Ana"}, **sent)
    assert code_of(elsewhere) == (422, "idempotency_key_reused")
    with scope.as_tenant(acme):
        assert acme.leads.count() == 1


def test_only_a_success_is_kept(acme, api):
    sent = {"Idempotency-Key": "k1"}
    assert post(api, "/api/v1/leads", {"handle": "!!"}, **sent).status_code == 400
    assert post(api, "/api/v1/leads", {"handle": "ana"}, **sent).status_code == 201
    assert code_of(post(api, "/api/v1/leads", {"handle": "ana"})) == (409, "lead_exists")


def test_keys_do_not_meet_and_are_kept_for_a_day(acme, api):
    other = factories.api_client(factories.make_key(acme))
    sent = {"Idempotency-Key": "k1"}
    assert post(api, "/api/v1/leads", {"handle": "ana"}, **sent).status_code == 201
    assert post(other, "/api/v1/leads", {"handle": "bia"}, **sent).status_code == 201
    with scope.as_tenant(acme):
        IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert post(api, "/api/v1/leads", {"handle": "cris"}, **sent).status_code == 201
    with scope.as_tenant(acme):
        assert IdempotencyRecord.objects.count() == 1
    for bad in ("", "x" * 256, "ä"):
        response = post(api, "/api/v1/leads", {"handle": "d"}, **{"Idempotency-Key": bad})
        assert code_of(response) == (400, "bad_idempotency_key")


# --- The example ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_example_starts_a_campaign_and_reads_it(acme, live_server, rung):
    factories.make_account(acme)
    factories.make_lead(acme, score=90)
    campaign = factories.make_campaign(acme)
    with scope.as_tenant(acme):
        template = acme.templates.create(tenant=acme, name="First", body="Oi!")
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "start_campaign.sh"), "Autumn"],
        env={
            **os.environ,
            "AGENTICOS_URL": live_server.url,
            "AGENTICOS_KEY": factories.make_key(acme),
            "TEMPLATE_ID": str(template.pk),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    started, read = map(json.loads, done.stdout.strip().splitlines())
    assert started["campaign_id"] == read["campaign_id"] != campaign.pk
    assert (read["name"], read["status"]) == ("Autumn", "preparing")
