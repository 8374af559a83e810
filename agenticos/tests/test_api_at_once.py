"""Many identical requests at one instant with one Idempotency-Key: the work is done once."""

from __future__ import annotations

import json

import pytest
from django.db import connection

from agenticos import scope
from agenticos.tests import factories
from agenticos.tests.test_api import code_of, post
from agenticos.tests.test_api_limits import at_once
from campaigns.models import Campaign
from leads.models import IcpVersion
from tenants.models import IdempotencyRecord

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
MANY = 50


@pytest.fixture
def start(acme, rung):
    """The body of a start, and a program's key."""
    factories.make_account(acme)
    factories.make_lead(acme, score=90)
    with scope.as_tenant(acme):
        template = acme.templates.create(tenant=acme, name="First", body="Oi!")
    body = {"name": "Autumn", "target_type": "leads", "template_id": template.pk}
    return body, factories.make_key(acme)


def test_many_identical_starts_at_once_make_one_campaign(acme, start):
    body, key = start

    def send(_):
        client = factories.api_client(key, **{"Idempotency-Key": "autumn"})
        return post(client, "/api/campaign/start", body)

    answers = at_once(MANY, send)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    replayed = [answer.get("Idempotent-Replayed") for answer in answers]
    assert (replayed.count("true"), replayed.count(None)) == (MANY - 1, 1)
    with scope.as_tenant(acme):
        assert Campaign.objects.get().pk == answers[0].json()["campaign_id"]
        assert IdempotencyRecord.objects.count() == 1


def test_many_starts_of_one_draft_without_a_key_start_it_once(acme, start):
    """What the Idempotency-Key adds is the answer: once it is done either way."""
    _, key = start
    campaign = factories.make_campaign(acme)
    factories.make_lead(acme, score=90)
    answers = at_once(
        10,
        lambda _: post(
            factories.api_client(key), "/api/campaign/start", {"campaign_id": campaign.pk}
        ),
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [202, *[409] * 9]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {
        "already_started"
    }


def test_of_different_bodies_under_one_key_one_is_done(acme, start):
    body, key = start

    def send(number):
        client = factories.api_client(key, **{"Idempotency-Key": "autumn"})
        return post(client, "/api/campaign/start", {**body, "name": f"Autumn {number}"})

    answers = at_once(12, send)
    codes = [answer.status_code for answer in answers]
    assert (codes.count(202), codes.count(422)) == (1, 11)
    with scope.as_tenant(acme):
        assert Campaign.objects.count() == 1


def test_many_identical_icp_versions_at_once_are_one(acme):
    key = factories.make_key(acme)
    body = json.dumps({"config": {"thresholds": {"hot": 80}}, "note": "Fewer, better"})

    def send(_):
        client = factories.api_client(key, **{"Idempotency-Key": "icp"})
        return client.put("/api/v1/icp", body, "application/json")

    answers = at_once(12, send)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    with scope.as_tenant(acme):
        assert IcpVersion.objects.count() == 1


def test_many_identical_changes_of_a_lead_at_once_are_one(acme):
    key, lead = factories.make_key(acme), factories.make_lead(acme)

    def send(_):
        client = factories.api_client(key, **{"Idempotency-Key": "ana"})
        return client.patch(f"/api/v1/leads/{lead.pk}", '{"name": "Ana"}', "application/json")

    answers = at_once(12, send)
    assert {answer.status_code for answer in answers} == {200}
    replayed = [answer.get("Idempotent-Replayed") for answer in answers]
    assert replayed.count(None) == 1


def test_when_all_of_them_are_refused_nothing_is_kept_and_nobody_replays(acme, start):
    body, key = start

    def send(_):
        client = factories.api_client(key, **{"Idempotency-Key": "autumn"})
        return post(client, "/api/campaign/start", {**body, "template_id": 999_999})

    answers = at_once(12, send)
    assert {answer.status_code for answer in answers} == {400}
    assert not any("Idempotent-Replayed" in answer for answer in answers)
    with scope.as_tenant(acme):
        assert not IdempotencyRecord.objects.exists()
        assert not Campaign.objects.exists()


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="what PostgreSQL answers is in test_api_repeats.py"
)
def test_on_sqlite_a_wait_that_ran_out_is_busy_and_not_a_fault(acme, start):
    from django.db import connections

    body, key = start
    holder = connections["default"].copy()
    waiting = connections["default"].settings_dict["OPTIONS"]["timeout"]
    holder.ensure_connection()
    try:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
        connections["default"].close()
        connections["default"].settings_dict["OPTIONS"]["timeout"] = 0.05
        client = factories.api_client(key, **{"Idempotency-Key": "autumn"})
        answer = post(client, "/api/campaign/start", body)
    finally:
        connections["default"].settings_dict["OPTIONS"]["timeout"] = waiting
        connections["default"].close()
        holder.close()
    assert code_of(answer) == (503, "busy")
