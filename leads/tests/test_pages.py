"""Pages of leads, through the front door."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_campaign,
    make_connection,
    make_lead,
    make_member,
    make_message,
    make_sync_item,
)
from leads.models import ImportProblem, Lead, LeadImport, LeadScore, LeadTag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(name, args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def handles(response):
    return [row.lead.handle for row in response.context["rows"]]


def queries(client, address):
    with CaptureQueriesContext(connection) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


# --- The list ---------------------------------------------------------------------------------


def test_the_best_leads_come_first(acme, alice, browser):
    for handle, score in (("cold", 45), ("hot", 90), ("warm", 60)):
        make_lead(acme, handle, score=score)
    response = browser(alice).get(url("leads:list", acme))
    assert handles(response) == ["hot", "warm", "cold"]
    assert "Decision maker in bio or name: ceo" in text(response)


def test_the_list_is_narrowed_by_the_address(acme, alice, browser):
    ana = make_lead(acme, "ana.silva", score=90, name="Ana Silva")
    rui = make_lead(acme, "rui", score=60, name="Rui Costa", suppressed_at=timezone.now())
    make_lead(acme, "new", score=None)
    with scope.as_tenant(acme):
        LeadTag.objects.create(tenant=acme, lead=ana, name="Clínicas")
        LeadScore.objects.filter(lead=rui).update(eligible=False, reason="private_profile")

    def found(**wanted):
        return handles(browser(alice).get(url("leads:list", acme), wanted))

    assert found(q="@ANA") == ["ana.silva"]
    assert found(q="costa") == ["rui"]
    assert found(band="HOT") == ["ana.silva"]
    assert found(band="none") == ["new"]
    assert found(tag="Clínicas") == ["ana.silva"]
    assert found(eligible="no") == ["rui"]
    assert found(suppressed="no") == ["ana.silva"]
    assert found(band="nonsense", eligible="perhaps") == ["ana.silva", "rui"]


def test_the_band_chips_count_under_the_other_filters(acme, alice, browser):
    for number in range(3):
        make_lead(acme, f"ana{number}", score=90)
    make_lead(acme, "rui", score=90, name="Rui Costa")
    response = browser(alice).get(url("leads:list", acme), {"q": "ana"})
    assert {chip.value: chip.count for chip in response.context["chips"]}["HOT"] == 3


def test_counts_have_a_bound(acme, alice, browser, monkeypatch):
    from leads.views import listing

    monkeypatch.setattr(listing, "COUNT_LIMIT", 2)
    for _ in range(4):
        make_lead(acme, score=90)
    assert "2+" in text(browser(alice).get(url("leads:list", acme)))


@pytest.mark.parametrize("limit", [2, 100])
def test_leads_without_a_score_are_counted_among_few_and_very_many(
    acme, alice, browser, monkeypatch, limit
):
    from leads.views import listing

    monkeypatch.setattr(listing, "COUNT_LIMIT", limit)
    for _ in range(4):
        make_lead(acme, score=90)
    client = browser(alice)
    assert "Not scored" not in text(client.get(url("leads:list", acme)))
    cache.clear()
    with scope.as_tenant(acme):
        Lead.objects.create(tenant=acme, handle="new")
    response = client.get(url("leads:list", acme))
    assert {chip.value: chip.count for chip in response.context["chips"]}["none"] == 1


def test_empty_lists_say_why(acme, alice, browser):
    client = browser(alice)
    assert "No leads yet" in text(client.get(url("leads:list", acme)))
    make_lead(acme)
    assert "No lead matches" in text(client.get(url("leads:list", acme), {"q": "zzz"}))


def test_the_list_pages_by_key_with_equal_scores(acme, alice, browser):
    for number in range(53):
        make_lead(acme, f"lead{number:02}", score=70)
    client = browser(alice)
    first = client.get(url("leads:list", acme))
    second = client.get(url("leads:list", acme), {"after": first.context["page"].next})
    assert len(handles(first)) == 50
    assert len(set(handles(first)) | set(handles(second))) == 53
    back = client.get(url("leads:list", acme), {"before": second.context["page"].previous})
    assert handles(back) == handles(first)


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJhIiwxXQ", "WzEsMl0x", "é", "bnVsbA"])
def test_a_cursor_that_is_not_one_shows_the_first_page(acme, alice, browser, cursor):
    make_lead(acme, "ana")
    assert handles(browser(alice).get(url("leads:list", acme), {"after": cursor})) == ["ana"]


def test_the_list_costs_the_same_with_more_leads(acme, alice, browser):
    client = browser(alice)
    campaign = make_campaign(acme, state="running")
    make_message(campaign, make_lead(acme), "sent")
    few = queries(client, url("leads:list", acme))
    for _ in range(6):
        make_message(campaign, make_lead(acme), "sent")
    assert queries(client, url("leads:list", acme)) == few <= 22


def test_htmx_gets_the_part(acme, alice, browser):
    make_lead(acme)
    part = text(browser(alice, htmx="leads").get(url("leads:list", acme)))
    assert part.lstrip().startswith('<section id="leads"')


# --- One lead ---------------------------------------------------------------------------------


def test_the_lead_page_shows_score_messages_and_crm(acme, alice, browser):
    lead = make_lead(acme, "ana", score=80, city="Recife")
    campaign = make_campaign(acme, state="running", name="Outono")
    make_message(campaign, lead, "sent", text="Oi, segredo!")
    make_sync_item(make_connection(acme, "ghl"), f"lead:{lead.pk}", state="done")
    page = text(browser(alice).get(url("leads:detail", acme, lead.pk)))
    for words in ("@ana", "Recife", "<b>80</b>", "80 / 100", "ceo", "Outono", "Oi, segredo!"):
        assert words in page
    assert "chip-done" in page


def test_a_viewer_does_not_get_message_texts(acme, vera, browser):
    lead = make_lead(acme)
    make_message(make_campaign(acme), lead, "sent", text="Oi, segredo!")
    page = text(browser(vera).get(url("leads:detail", acme, lead.pk)))
    assert "segredo" not in page
    assert "does not show message texts" in page


def test_a_suppressed_lead_is_marked(acme, alice, browser):
    lead = make_lead(acme, suppressed_at=timezone.now())
    assert "must not be written to" in text(browser(alice).get(url("leads:detail", acme, lead.pk)))


def test_a_lead_without_a_score_has_a_page(acme, alice, browser):
    lead = make_lead(acme, score=None)
    assert browser(alice).get(url("leads:detail", acme, lead.pk)).status_code == 200


def test_only_http_websites_become_links(acme, alice, browser):
    lead = make_lead(acme, website="javascript:alert(1)", bio="<script>x</script>")
    page = text(browser(alice).get(url("leads:detail", acme, lead.pk)))
    assert 'href="javascript' not in page
    assert "<script>x" not in page


def test_a_rivals_lead_is_404(acme, rival, alice, browser):
    theirs = make_lead(rival)
    assert browser(alice).get(url("leads:detail", acme, theirs.pk)).status_code == 404


# --- Imports ----------------------------------------------------------------------------------


def upload(name="leads.csv", content=b"handle,nome\nana,Ana\nrui,Rui\n"):
    return SimpleUploadedFile(name, content, content_type="text/csv")


def test_a_file_becomes_an_import_with_a_page(acme, alice, browser, rung):
    client = browser(alice)
    response = client.post(url("leads:imports", acme), {"file": upload()})
    with scope.as_tenant(acme):
        begun = LeadImport.objects.get()
    assert response["Location"] == url("leads:import-file", acme, begun.pk)
    page = text(client.get(response["Location"]))
    assert "leads.csv" in page
    assert "leads.csv" in text(client.get(url("leads:imports", acme)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b'{"a": 1}'])
def test_a_file_that_cannot_be_read_comes_back_with_the_reason(acme, alice, browser, content):
    response = browser(alice).post(url("leads:imports", acme), {"file": upload(content=content)})
    assert response.status_code == 200
    assert "invalid-feedback" in text(response)


def test_a_finished_import_shows_its_problems_and_polls_no_more(acme, alice, browser):
    with scope.as_tenant(acme):
        done = LeadImport.objects.create(
            tenant=acme, file_name="x.csv", state="done", records=2, created=1, rejected=1
        )
        ImportProblem.objects.create(
            tenant=acme, lead_import=done, line=3, rejected=True, code="bad_handle",
            params={"value": "a b"}, raw=["a b", "Ana"],
        )  # fmt: skip
    page = text(browser(alice).get(url("leads:import", acme, done.pk)))
    assert "is not an Instagram handle" in page
    assert "every 3s" not in page
    part = text(browser(alice, htmx="progress").get(url("leads:import", acme, done.pk)))
    assert part.lstrip().startswith('<div id="progress"')


def test_a_viewer_may_not_import(acme, vera, browser):
    assert browser(vera).post(url("leads:imports", acme), {"file": upload()}).status_code == 403
    page = text(browser(vera).get(url("leads:list", acme)))
    assert "It takes: Owner, Manager, Operator." in page


def test_a_rivals_import_is_404(acme, rival, alice, browser):
    with scope.as_tenant(rival):
        theirs = LeadImport.objects.create(tenant=rival, file_name="secret.csv")
    member = make_member(acme, "owner")
    assert browser(member.user).get(url("leads:import", acme, theirs.pk)).status_code == 404
