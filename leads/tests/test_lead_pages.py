"""One lead: added and edited by hand, stopped and freed, its timeline, its next message."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_connection,
    make_lead,
    make_member,
    make_message,
    make_sync_item,
)
from leads import actions, bulk
from leads.models import ImportedLead, Lead, LeadImport, LeadScore, LeadTag, Suppression
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def get_lead(tenant, **wanted):
    with scope.as_tenant(tenant):
        return Lead.objects.prefetch_related("tags").get(**wanted)


# --- Adding and editing -------------------------------------------------------------------------


def test_a_lead_is_added_with_clean_identities_tags_and_a_score(acme, alice, browser):
    answer = browser(alice).post(
        url("create", acme),
        {
            "handle": "https://instagram.com/Ana.Silva/",
            "email": "ANA@Example.com",
            "phone": "(11) 98888-7777",
            "bio": "CEO",
            "is_private": "no",
            "tags": "vip, ,vip,  São Paulo ",
        },
    )
    lead = get_lead(acme, handle="ana.silva")
    assert answer["Location"] == lead.get_absolute_url()
    assert (lead.email, lead.phone, lead.source) == ("ana@example.com", "+5511988887777", "manual")
    assert lead.is_private is False
    assert lead.is_business is None
    assert sorted(tag.name for tag in lead.tags.all()) == ["São Paulo", "vip"]
    with scope.as_tenant(acme):
        assert LeadScore.objects.filter(lead=lead).exists()
        assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"lead.created"}


def test_a_known_handle_links_to_the_lead_that_has_it(acme, alice, browser):
    known = make_lead(acme, "ana")
    page = text(browser(alice).post(url("create", acme), {"handle": "@ANA"}))
    assert "is among your leads already" in page
    assert known.get_absolute_url() in page


@pytest.mark.parametrize(
    "data",
    [
        {"handle": "not a handle"},
        {"handle": ""},
        {"handle": "ana", "email": "x"},
        {"handle": "ana", "phone": "123"},
        {"handle": "ana", "website": "javascript:alert(1)"},
        {"handle": "ana", "followers": "-1"},
        {"handle": "ana", "engagement": "NaN"},
        {"handle": "ana", "tags": "x" * 81},
        {"handle": "ana", "tags": ",".join(map(str, range(60)))},
        {"handle": "ana", "name": "a\x00b"},
    ],
)
def test_what_is_not_right_comes_back_and_adds_nobody(acme, alice, browser, data):
    answer = browser(alice).post(url("create", acme), data)
    assert answer.status_code == 200
    assert "invalid-feedback" in text(answer)
    with scope.as_tenant(acme):
        assert not Lead.objects.exists()


def test_editing_changes_the_lead_its_score_and_its_tags(acme, alice, browser):
    lead = make_lead(acme, "ana", score=99, city="Recife", followers=10)
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=lead, name="old")
    client = browser(alice)
    form = client.get(url("update", acme, lead.pk)).context["form"]
    assert form.initial["tags"] == "old"
    seen = form.initial["seen"]
    client.post(
        url("update", acme, lead.pk),
        {"name": "Ana", "city": "", "followers": "2000", "tags": "new", "seen": seen},
    )
    lead = get_lead(acme, pk=lead.pk)
    assert (lead.name, lead.city, lead.followers) == ("Ana", "", 2000)
    assert [tag.name for tag in lead.tags.all()] == ["new"]
    page = text(client.get(lead.get_absolute_url()))
    assert "Edited" in page
    assert "Tags changed" in page


def test_an_edit_of_what_has_changed_meanwhile_is_refused(acme, alice, browser):
    lead = make_lead(acme, "ana", city="Recife")
    client = browser(alice)
    seen = client.get(url("update", acme, lead.pk)).context["form"].initial["seen"]
    with scope.as_tenant(acme):
        Lead.objects.filter(pk=lead.pk).update(
            city="Natal", updated_at=timezone.now() + timedelta(seconds=1)
        )
    answer = client.post(url("update", acme, lead.pk), {"city": "Olinda", "seen": seen})
    assert "changed this lead meanwhile" in text(answer)
    assert get_lead(acme, pk=lead.pk).city == "Natal"


# --- Not to be contacted ------------------------------------------------------------------------


def test_a_lead_is_stopped_with_a_reason_under_every_identity(acme, alice, browser):
    lead = make_lead(acme, "ana", phone="+5511988887777")
    make_lead(acme, "clinic", phone="+5511988887777")
    client = browser(alice)
    assert "Choose a reason" in text(client.get(url("stop", acme, lead.pk)))
    client.post(url("stop", acme, lead.pk), {"reason": "because"})
    assert get_lead(acme, pk=lead.pk).suppressed_at is None
    client.post(url("stop", acme, lead.pk), {"reason": "asked"})
    assert get_lead(acme, handle="clinic").suppressed_at
    page = text(client.get(lead.get_absolute_url()))
    assert "Handle: They asked us not to write" in page
    assert "Phone: They asked us not to write" in page
    assert "Not to be contacted any more" in page
    again = text(client.post(url("stop", acme, lead.pk), {"reason": "asked"}))
    assert "not to be contacted already" in again


def test_a_manager_frees_a_lead_and_whoever_shared_the_identity(acme, alice, browser):
    ana = make_lead(acme, "ana", email="a@example.com", phone="+5511988887777")
    make_lead(acme, "same", phone="+5511988887777")
    make_lead(acme, "other", phone="+5511988887777", email="b@example.com")
    with scope.as_tenant(acme):
        stop = {"reason": "asked", "by": alice, "now": timezone.now()}
        actions.suppress(acme, handle="ana", email="a@example.com", phone=ana.phone, **stop)
        actions.suppress(acme, email="b@example.com", **stop)
    operator = make_member(acme, "operator").user
    assert browser(operator).post(url("free", acme, ana.pk)).status_code == 403
    manager = browser(make_member(acme, "manager").user)
    assert "Contact @ana again?" in text(manager.get(url("free", acme, ana.pk)))
    manager.post(url("free", acme, ana.pk))
    assert get_lead(acme, handle="ana").suppressed_at is None
    assert get_lead(acme, handle="same").suppressed_at is None
    assert get_lead(acme, handle="other").suppressed_at
    with scope.as_tenant(acme):
        assert Suppression.objects.count() == 1
        assert AuditEntry.objects.get(action="lead.freed").data == {"leads": 2}


@pytest.mark.parametrize("name", ["update", "stop", "free", "peek", "detail"])
def test_a_rivals_lead_is_404(acme, rival, alice, browser, name):
    theirs = make_lead(rival)
    client = browser(alice)
    assert client.get(url(name, acme, theirs.pk)).status_code == 404
    assert client.post(url(name, acme, theirs.pk)).status_code in (404, 405)


# --- The timeline -------------------------------------------------------------------------------


def everything(tenant, alice):
    """A lead to whom one of everything happened."""
    lead = make_lead(tenant, "ana", score=80)
    make_message(make_campaign(tenant, name="Outono"), lead, "sent", text="Oi!")
    make_sync_item(make_connection(tenant, "ghl"), f"lead:{lead.pk}", done_at=timezone.now())
    with scope.as_tenant(tenant):
        job = bulk.start(
            tenant,
            "tag",
            params={"tag": "vip"},
            lead_ids=[lead.pk],
            by=alice,
            now=timezone.now(),
        )
        bulk.do_now(job, now=timezone.now())
        begun = LeadImport.objects.create(
            file_name="lista.csv", state="done", committed_at=timezone.now(), started_by=alice
        )
        ImportedLead.objects.create(
            lead_import=begun, lead=lead, handle="ana", fate="updated", after={"city": "x"},
            at=timezone.now(),
        )  # fmt: skip
        staged = LeadImport.objects.create(file_name="rehearsed.csv", state="ready")
        ImportedLead.objects.create(
            lead_import=staged, lead=lead, handle="ana", fate="updated", at=timezone.now()
        )
    return lead


def test_the_timeline_tells_everything_and_is_narrowed_by_kind(acme, alice, browser):
    lead = everything(acme, alice)
    client = browser(alice)
    page = text(client.get(lead.get_absolute_url()))
    for words in (
        "Outono", "Oi!", "Score 80, Hot", "Tag “vip” added", "Changed by lista.csv", "Came in",
        "Written to the CRM",
    ):  # fmt: skip
        assert words in page
    assert "rehearsed.csv" not in page

    def kinds(kind):
        stream = client.get(lead.get_absolute_url(), {"kind": kind}).context["stream"]
        return [event.kind for event in stream.events]

    assert kinds("message") == ["message"]
    assert kinds("score") == ["score"]
    assert kinds("import") == ["import"]
    assert kinds("sync") == ["sync"]
    assert set(kinds("edit")) == {"edit"}
    assert len(kinds("nonsense")) == len(kinds("")) == 6


def test_the_timeline_pages_by_key_without_gaps_also_within_one_instant(acme, alice, browser):
    lead = make_lead(acme)
    same = timezone.now()
    for number in range(70):
        campaign = make_campaign(acme, accounts=[], name=f"C{number}")
        make_message(campaign, lead, "sent", sent_at=same)
    client = browser(alice)
    keys, after = [], ""
    for _ in range(4):
        stream = client.get(lead.get_absolute_url(), {"after": after}).context["stream"]
        keys += [event.key for event in stream.events]
        after = stream.next
        if not after:
            break
    assert len(keys) == len(set(keys)) == 72


@pytest.mark.parametrize("cursor", ["x", "W10", "WzkyMjMzNzIwMzY4NTQ3NzU4MDcsMSwxXQ"])
def test_a_cursor_that_is_not_one_shows_the_newest(acme, alice, browser, cursor):
    lead = make_lead(acme)
    stream = browser(alice).get(lead.get_absolute_url(), {"after": cursor}).context["stream"]
    assert len(stream.events) == 2


def test_the_lead_page_costs_the_same_with_more_events(acme, alice, browser):
    lead = everything(acme, alice)
    client = browser(alice)

    def cost():
        with CaptureQueriesContext(connection) as seen:
            client.get(lead.get_absolute_url())
        return len(seen)

    few = cost()
    account = make_account(acme)
    for _ in range(9):
        make_message(make_campaign(acme, accounts=[account]), lead, "sent", account=account)
    assert cost() == few <= 30


def test_htmx_gets_the_timeline_alone(acme, alice, browser):
    lead = make_lead(acme)
    part = text(browser(alice, htmx="timeline").get(lead.get_absolute_url()))
    assert part.lstrip().startswith('<section id="timeline"')


# --- Score and next -----------------------------------------------------------------------------


def test_the_score_card_says_what_would_lift_it(acme, alice, browser):
    client = browser(alice)
    client.post(url("create", acme), {"handle": "ana", "name": "Ana", "bio": "CEO em São Paulo"})
    lead = get_lead(acme, handle="ana")
    page = client.get(lead.get_absolute_url())
    assert "unknown, up to +" in page.context["lifts"][0]
    assert "What would lift it" in text(page)
    assert "points to" in page.context["to_next"]


def test_the_drawer_shows_the_lead_in_short(acme, alice, browser):
    lead = make_lead(acme, "ana", bio="CEO <b>")
    part = text(browser(alice, htmx="peek-body").get(url("peek", acme, lead.pk)))
    assert "@ana" in part
    assert "CEO &lt;b&gt;" in part
    assert "<html" not in part
    assert "<html" in text(browser(alice).get(url("peek", acme, lead.pk)))


def following(tenant, lead):
    return reverse("campaigns:lead-next", args=[tenant.slug, lead.pk])


def test_the_next_card_names_the_gate_that_holds_the_message(acme, alice, browser):
    lead = make_lead(acme)
    client = browser(alice, htmx="next")
    assert "Nothing is planned." in text(client.get(following(acme, lead)))
    make_message(make_campaign(acme, state="paused", name="Outono"), lead)
    part = text(client.get(following(acme, lead)))
    assert "Outono" in part
    assert "The campaign is paused." in part
    assert "<html" not in part


def test_the_next_card_is_404_for_a_rivals_lead(acme, rival, alice, browser):
    assert browser(alice).get(following(acme, make_lead(rival))).status_code == 404
