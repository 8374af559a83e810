"""The page of the audit trail: words, links, filters, paging, the chain's state, the file."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests import factories
from tenants import audit, sealing
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def page():
    return reverse("audit:list", args=["acme"])


def text(response):
    return response.content.decode()


def add(tenant, obj, action, *, by=None, at=None, number=1, **data):
    with scope.as_tenant(tenant):
        AuditEntry.objects.bulk_create(
            AuditEntry(
                tenant=tenant,
                at=at or timezone.now(),
                user=by,
                actor_id=by.pk if by else None,
                actor=by.email if by else "system",
                action=action,
                object_type=obj._meta.label_lower,
                object_id=obj.pk,
                data=data,
            )
            for _ in range(number)
        )


def test_it_says_who_did_what_to_what(acme, rival, alice, browser, page):
    campaign = factories.make_campaign(acme, state="running")
    lead = factories.make_lead(acme)
    add(acme, campaign, "campaign.paused", by=alice, messages=12, code="account_blocked")
    add(acme, lead, "lead.edited", by=alice, fields=["city", "email"])
    add(acme, acme, "tenant.plan_changed", before={"seats": 2}, after={"seats": 5})
    add(acme, acme, "thing.unheard_of", odd=None)
    add(rival, rival, "tenant.stopped", actor_of="the rival")
    shown = text(browser(alice).get(page))
    assert "Paused" in shown
    assert "messages: 12" in shown
    assert f'href="{campaign.get_absolute_url()}"' in shown
    assert f'href="{lead.get_absolute_url()}"' in shown
    assert "fields: city, email" in shown
    assert "seats: 2 → 5" in shown
    assert "thing.unheard_of" in shown
    assert "the system" in shown
    assert "the rival" not in shown
    assert "Nothing is sealed yet." in shown
    assert "The chain has not been verified yet." in shown


def test_an_object_that_is_gone_has_no_link(acme, alice, browser, page):
    lead = factories.make_lead(acme)
    add(acme, lead, "lead.deleted", by=alice)
    href = lead.get_absolute_url()
    with scope.as_tenant(acme):
        lead.delete()
    assert f'href="{href}"' not in text(browser(alice).get(page))


def test_a_viewer_may_not_look(acme, vera, browser, page):
    assert browser(vera).get(page).status_code == 403
    assert browser(vera).post(f"{page}export/").status_code == 403
    assert page not in text(browser(vera).get("/t/acme/"))


def test_the_menu_leads_to_it(acme, alice, browser, page):
    assert f'href="{page}"' in text(browser(alice).get("/t/acme/settings/"))


def test_filters_stand_in_the_address(acme, alice, browser, page):
    lead = factories.make_lead(acme)
    now = timezone.now()
    add(acme, lead, "lead.edited", by=alice, at=now - timedelta(days=9), mark="old-one")
    add(acme, acme, "tenant.edited", by=None, mark="new-one")
    knocks = browser(alice)

    def found(**query):
        shown = text(knocks.get(page, query))
        return [name for name in ("old-one", "new-one") if f"mark: {name}" in shown]

    day = f"{now - timedelta(days=4):%Y-%m-%d}"
    assert found() == ["old-one", "new-one"]
    assert found(person="ALICE@") == ["old-one"]
    assert found(action="tenant.edited") == ["new-one"]
    assert found(type="leads.lead") == ["old-one"]
    assert found(**{"from": day}) == ["new-one"]
    assert found(to=day) == ["old-one"]
    assert found(person="alice", action="tenant.edited") == []
    assert found(**{"from": "2026-02-31", "to": "0001-01-01", "person": "\0"}) == [
        "old-one",
        "new-one",
    ]


def test_pages_go_by_key_and_keep_the_filters(acme, alice, browser, page):
    add(acme, acme, "tenant.edited", by=alice, number=60)
    add(acme, acme, "tenant.stopped", by=alice, number=3)
    first = browser(alice).get(page, {"action": "tenant.edited"})
    assert len(first.context["rows"]) == 50
    after = first.context["page"].next
    second = browser(alice).get(page, {"action": "tenant.edited", "after": after})
    assert len(second.context["rows"]) == 10
    assert "action=tenant.edited" in text(second)
    assert browser(alice).get(page, {"after": "rubbish"}).status_code == 200


def test_the_number_of_queries_does_not_grow(acme, alice, browser, page):
    def queries():
        with CaptureQueriesContext(connection) as found:
            assert knocks.get(page).status_code == 200
        return len(found)

    knocks = browser(alice)
    for _ in range(2):
        campaign, lead = factories.make_campaign(acme), factories.make_lead(acme)
        add(acme, campaign, "campaign.paused", by=alice)
        add(acme, lead, "lead.edited", by=alice)
    knocks.get(page)
    few = queries()
    for _ in range(8):
        campaign, lead = factories.make_campaign(acme), factories.make_lead(acme)
        add(acme, campaign, "campaign.paused", by=alice)
        add(acme, lead, "lead.edited", by=alice)
    assert queries() == few == 10


def test_the_state_of_the_chain_is_told_as_it_was_seen(acme, alice, browser, page):
    add(acme, acme, "tenant.edited", by=alice, number=2)
    now = timezone.now()
    with scope.as_tenant(acme):
        sealing.seal_chunk(now=now + timedelta(minutes=1))
        sealing.verify(acme, now=now)
    shown = text(browser(alice).get(page))
    assert "Sealed: 2 entries" in shown
    assert "Intact up to seal 2 at the last verification" in shown
    with factories.past_the_rights(), connection.cursor() as cursor:
        cursor.execute("UPDATE tenants_auditentry SET actor = 'x'")
    with scope.as_tenant(acme):
        sealing.verify(acme, now=now)
    shown = text(browser(alice).get(page))
    assert "found a break:" in shown
    assert "Intact" not in shown


def test_the_file_has_what_was_asked_for_and_no_formulas(acme, alice, browser, page):
    with scope.as_tenant(acme):
        audit.record(acme, "tenant.edited", by=alice, name="=1+1")
    add(acme, acme, "=cmd()", by=alice)
    add(acme, acme, "tenant.stopped", by=alice)
    response = browser(alice).post(f"{page}export/?action=%3Dcmd()")
    rows = list(csv.reader(io.StringIO(b"".join(response).decode("utf-8-sig"))))
    assert [row[4] for row in rows] == ["action", "'=cmd()"]
    assert response["Content-Disposition"].startswith("attachment")
    with scope.as_tenant(acme):
        entry = AuditEntry.objects.get(action="audit.exported")
    assert (entry.user, entry.data) == (alice, {"rows": 1})
    whole = b"".join(browser(alice).post(f"{page}export/"))
    assert len(list(csv.reader(io.StringIO(whole.decode("utf-8-sig"))))) == 5
    assert browser(alice).get(f"{page}export/").status_code == 405


def test_the_file_takes_a_fresh_log_in(acme, alice, browser, page):
    response = browser(alice, fresh=False).post(f"{page}export/")
    assert response.status_code == 302
    with scope.as_tenant(acme):
        assert not AuditEntry.objects.filter(action="audit.exported").exists()
