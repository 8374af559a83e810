"""Go anywhere: what the palette finds, for whom."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from agenticos.tests.factories import make_campaign, make_lead, make_member, make_tenant

pytestmark = pytest.mark.django_db


def find(client, words="", tenant="acme"):
    response = client.get(reverse("tenant-search", args=[tenant]), {"q": words})
    assert response.status_code == 200
    return unescape(response.content.decode())


@pytest.fixture
def palette(alice, browser):
    """The owner's palette."""
    return browser(alice, htmx="palette-results")


def test_without_words_it_offers_places_and_acts(acme, palette):
    found = find(palette)
    assert found.lstrip().startswith('<div id="palette-results"')
    for label in ("Home", "Campaigns", "Integrations", "New campaign", "Stop all sending", "Dark"):
        assert label in found


def test_it_finds_campaigns_and_leads_by_name_and_handle(acme, palette):
    campaign = make_campaign(acme, name="Agenda de verão")
    lead = make_lead(acme, "ana.lima", name="Ana Lima")
    assert reverse("campaigns:detail", args=["acme", campaign.pk]) in find(palette, "verao agenda")
    for words in ("ana.l", "@ana.lima", "Lima"):
        assert reverse("leads:detail", args=["acme", lead.pk]) in find(palette, words)


def test_options_are_numbered_for_the_list_box(acme, palette):
    make_campaign(acme, name="Home office")
    found = find(palette, "home")
    ids = re.findall(r'role="option" id="palette-(\d+)"', found)
    assert ids == [str(number) for number in range(1, len(ids) + 1)]
    assert len(ids) >= 2
    assert f"{len(ids)} results" in found


def test_words_need_no_accents(acme, alice, browser):
    alice.language = "pt-br"
    alice.save()
    palette = browser(alice, htmx="palette-results")
    assert reverse("tenant-home", args=["acme"]) in find(palette, "inicio")


def test_a_viewer_is_offered_nothing_they_may_not_do(acme, vera, browser):
    found = find(browser(vera, htmx="palette-results"))
    for label in ("New campaign", "Import leads", "Stop all sending", "Integrations"):
        assert label not in found


def test_another_tenants_rows_are_not_found(acme, alice, browser, palette):
    other = make_tenant("other")
    make_lead(other, "zoe.secret")
    make_campaign(other, name="zoe secret")
    found = find(palette, "zoe")
    assert "Nothing is called “zoe”" in found
    assert "0 results" in found
    make_member(other, "viewer", alice)
    assert reverse("tenant-home", args=["other"]) in find(palette, "other")


def test_what_is_typed_stays_text(acme, palette):
    assert (
        "<script>"
        not in palette.get(
            reverse("tenant-search", args=["acme"]), {"q": "<script>alert(1)</script>"}
        ).content.decode()
    )


@pytest.mark.parametrize("words", ["@", "@@", "%", "_", "a" * 5000, "\x00a"])
def test_odd_words_are_only_words(acme, palette, words):
    make_lead(acme, "bia")
    assert "@bia" not in find(palette, words)


def test_without_scripts_it_is_a_page(acme, alice, browser):
    make_lead(acme, "ana.lima")
    page = find(browser(alice), "ana")
    assert "<h1" in page
    assert 'role="option"' not in page
    assert "@ana.lima" in page


def test_it_costs_the_same_for_many(acme, palette):
    make_lead(acme, "ana")

    def questions():
        with CaptureQueriesContext(connection) as seen:
            find(palette, "ana")
        return len(seen)

    few = questions()
    for number in range(30):
        make_lead(acme, f"ana{number}")
        make_campaign(acme, name=f"ana {number}")
    assert questions() == few
    assert find(palette, "ana").count("@ana") == 6
