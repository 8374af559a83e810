"""/api/v1/audit: the trail for programs, as the page tells it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from agenticos import scope
from agenticos.tests import factories
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
PATH = "/api/v1/audit"


def add(tenant, action, *, at=None, by=None, about=None, **data):
    with scope.as_tenant(tenant):
        about = about or tenant
        return AuditEntry.objects.create(
            tenant=tenant,
            at=at or timezone.now(),
            user=by,
            actor_id=by.pk if by else None,
            actor=by.email if by else "system",
            action=action,
            object_type=about._meta.label_lower,
            object_id=about.pk,
            data=data,
        )


@pytest.fixture
def reader(acme):
    """A program that may read the trail and nothing else."""
    return factories.api_client(factories.make_key(acme, scopes=["audit:read"]))


def test_it_tells_what_the_page_tells_the_newest_first(acme, rival, alice, reader):
    campaign = factories.make_campaign(acme)
    first = add(acme, "tenant.edited", fields=["name"])
    second = add(acme, "campaign.paused", by=alice, about=campaign, in_flight=2)
    add(rival, "tenant.stopped")
    answer = reader.get(PATH, {"total": "1"}).json()
    assert (answer["total"], answer["next"]) == (2, None)
    newest, oldest = answer["items"]
    assert newest == {
        "id": second.pk, "at": newest["at"], "actor_id": alice.pk, "actor": alice.email,
        "action": "campaign.paused", "text": "Paused", "object_type": "campaigns.campaign",
        "object_id": campaign.pk, "data": {"in_flight": 2},
    }  # fmt: skip
    assert (oldest["id"], oldest["actor"], oldest["actor_id"]) == (first.pk, "system", None)


def test_the_words_are_in_the_language_that_is_asked_for(acme, reader):
    add(acme, "tenant.stopped")
    answer = reader.get(PATH, headers={"Accept-Language": "pt-BR"}).json()
    assert answer["items"][0]["text"] != "All sending stopped"


def test_filters_narrow(acme, alice, reader):
    now = timezone.now()
    lead = factories.make_lead(acme)
    old = add(acme, "lead.edited", by=alice, about=lead, at=now - timedelta(days=9)).pk
    new = add(acme, "tenant.edited", at=now).pk
    middle = (now - timedelta(days=4)).isoformat()

    def found(**query):
        answer = reader.get(PATH, query)
        assert answer.status_code == 200, answer.json()
        return [row["id"] for row in answer.json()["items"]]

    assert found() == [new, old]
    assert found(actor="ALICE@") == [old]
    assert found(action="tenant.edited") == [new]
    assert found(object_type="leads.lead", object_id=lead.pk) == [old]
    assert found(object_type="leads.lead", object_id=lead.pk + 1) == []
    assert found(since=middle) == [new]
    assert found(until=middle) == [old]
    assert found(until=now.isoformat()) == [old]
    assert found(since=now.isoformat()) == [new]


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-12:00"},
        {"object_id": "0"},
        {"object_id": str(2**63)},
        {"actor": "x" * 255},
        {"person": "alice"},
    ],
)
def test_what_is_no_filter_is_refused(acme, reader, query):
    assert reader.get(PATH, query).status_code == 400


def test_pages_follow_the_cursor(acme, reader):
    for _ in range(5):
        add(acme, "tenant.edited")
    seen, cursor = [], ""
    while cursor is not None:
        page = reader.get(PATH, {"limit": 2, "cursor": cursor}).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next"]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    assert reader.get(PATH, {"cursor": "rubbish"}).status_code == 400


def test_it_takes_the_scope_and_a_role_that_may_look(acme):
    viewer = factories.make_key(acme, member=factories.make_member(acme, "viewer"))
    assert factories.api_client(viewer).get(PATH).json()["code"] == "role_not_enough"
    other = factories.make_key(acme, scopes=["leads:read"])
    assert factories.api_client(other).get(PATH).json()["code"] == "scope_missing"
