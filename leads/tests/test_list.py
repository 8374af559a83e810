"""The list of leads: conditions, orders, columns and views, all of it in the address."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from django.db import connection
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_campaign,
    make_icp,
    make_lead,
    make_member,
    make_message,
)
from leads import actions
from leads.filters import LeadFilter
from leads.layout import Layout, canonical
from leads.models import Lead, LeadTag, SavedView
from leads.segments import FIELDS, OF_KIND, OPERATORS
from leads.views.listing import READY_VIEWS
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rings(rung):
    """Rings are collected, not put into the broker."""


def url(name, tenant, *args):
    return reverse(f"leads:{name}", args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def where(*rules, **others):
    """Conditions as the query of an address: ("city", "is", "Recife") or with an upper value."""
    pairs = list(others.items())
    for field, operator, *values in rules:
        value, upper = (*values, "", "")[:2]
        pairs += [("f", field), ("o", operator), ("v", value), ("u", upper)]
    return urlencode(pairs)


@pytest.fixture
def found(acme, alice, browser):
    """`found(query)` gives the handles that the list shows."""
    client = browser(alice)

    def ask(query):
        response = client.get(f"{url('list', acme)}?{query}")
        assert response.status_code == 200
        return [row.lead.handle for row in response.context["rows"]]

    return ask


# --- Conditions -------------------------------------------------------------------------------


@pytest.fixture
def three(acme):
    """Ana of Recife with 1 000 followers, Rui of São Paulo with 50, Zoe of whom little is known."""
    ana = make_lead(acme, "ana", score=90, city="Recife", followers=1000, is_business=True)
    rui = make_lead(acme, "rui", score=60, city="São Paulo", followers=50, is_business=False)
    zoe = make_lead(acme, "zoe", score=45)
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=ana, name="vip")
        Lead.objects.filter(pk=rui.pk).update(created_at=timezone.now() - timedelta(days=40))
    return ana, rui, zoe


@pytest.mark.parametrize(
    ("rule", "handles"),
    [
        (("city", "is", "recife"), ["ana"]),
        (("city", "is_not", "Recife"), ["rui", "zoe"]),
        (("city", "contains", "paulo"), ["rui"]),
        (("city", "empty"), ["zoe"]),
        (("city", "not_empty"), ["ana", "rui"]),
        (("followers", "is", "50"), ["rui"]),
        (("followers", "is_not", "50"), ["ana", "zoe"]),
        (("followers", "between", "50", "1000"), ["ana", "rui"]),
        (("followers", "between", "51"), ["ana"]),
        (("followers", "between", "", "999"), ["rui"]),
        (("followers", "empty"), ["zoe"]),
        (("score", "between", "50", "70"), ["rui"]),
        (("business", "is", "yes"), ["ana"]),
        (("business", "is", "no"), ["rui"]),
        (("business", "empty"), ["zoe"]),
        (("tag", "is", "vip"), ["ana"]),
        (("tag", "is_not", "vip"), ["rui", "zoe"]),
        (("tag", "empty"), ["rui", "zoe"]),
        (("added", "within", "30"), ["ana", "zoe"]),
        (("added", "between", "", "2026-01-01"), []),
        (("first_message", "not_empty"), []),
    ],
)
def test_a_condition_finds_its_leads(three, found, rule, handles):
    assert found(where(rule)) == handles


@pytest.mark.parametrize(
    ("value", "handles"),
    [
        ("clínica", ["ana"]),
        ("CLINICA", ["ana"]),
        ("ínica de", ["ana"]),
        ("bem-estar", ["ana"]),
        ("🌿", ["ana"]),
        ("100%", ["rui"]),
        ("a", ["ana", "rui"]),
    ],
)
def test_a_bio_is_searched_without_its_accents(acme, found, value, handles):
    ana = make_lead(acme, "ana", bio="Dona da Clínica de bem-estar 🌿")
    rui = make_lead(acme, "rui", bio="Vendas, 100% online")
    with scope.as_tenant(acme):
        actions.ensure_icp(acme, now=timezone.now())
        actions.score_leads([ana.pk, rui.pk])
    assert sorted(found(where(("bio", "contains", value)))) == handles


@pytest.mark.parametrize("few", [500, 1])
@pytest.mark.parametrize(
    "query", ["q=AN", where(("bio", "contains", "clínica")), where(("city", "contains", "AN"))]
)
def test_a_search_finds_the_same_whether_it_finds_few_or_many(
    acme, alice, browser, monkeypatch, query, few
):
    """Few are asked for by their ids afterwards; for many the condition is put in another way."""
    monkeypatch.setattr("leads.views.listing.FEW", few)
    people = [("Ana", "Clínica A"), ("Anja", "clinica B"), ("Joana", "CLÍNICA C"), ("Rui", "Loja")]
    for name, bio in people:
        make_lead(acme, f"{name.lower()}.lead", name=name, bio=bio, city=name)
    with scope.as_tenant(acme):
        actions.ensure_icp(acme, now=timezone.now())
        actions.score_leads(list(Lead.objects.values_list("pk", flat=True)))
    context = browser(alice).get(f"{url('list', acme)}?{query}").context
    assert sorted(row.lead.name for row in context["rows"]) == ["Ana", "Anja", "Joana"]
    assert (context["total"].shown, context["total"].is_more) == (3, False)


def test_a_search_that_finds_very_many_says_at_least_how_many(acme, alice, browser, monkeypatch):
    monkeypatch.setattr("leads.views.listing.FEW", 1)
    monkeypatch.setattr("leads.views.listing.FILTER_LIMIT", 3)
    for number in range(5):
        make_lead(acme, f"ana{number}", score=90)
    context = browser(alice).get(url("list", acme), {"q": "ana"}).context
    assert len(context["rows"]) == 5
    assert [(chip.value, chip.shown, chip.is_more) for chip in context["chips"]][:2] == [
        ("HOT", 3, True),
        ("WARM", 0, True),
    ]
    assert (context["total"].shown, context["total"].is_more) == (3, True)


def test_conditions_hold_together_or_one_of_them_does(three, found):
    rules = [("city", "is", "Recife"), ("followers", "between", "", "60")]
    assert found(where(*rules)) == []
    assert found(where(*rules, match="any")) == ["ana", "rui"]


def test_the_last_day_counts_whole_in_the_tenants_zone(acme, found):
    lead = make_lead(acme, "late")
    acme.time_zone = "America/Sao_Paulo"
    acme.save()
    with scope.as_tenant(acme):
        # The 4th in São Paulo, the 5th in UTC.
        Lead.objects.filter(pk=lead.pk).update(created_at="2026-03-05T02:30:00+00:00")
    assert found(where(("added", "between", "2026-03-04", "2026-03-04"))) == ["late"]
    assert found(where(("added", "between", "2026-03-05", "2026-03-05"))) == []


@pytest.mark.parametrize(
    "rule",
    [
        ("folowers", "is", "1"),
        ("followers", "contains", "1"),
        ("followers", "is", "many"),
        ("followers", "is", "1e99"),
        ("followers", "is", "NaN"),
        ("followers", "between", "", ""),
        ("city", "is", ""),
        ("city", "is", "x\x00y"),
        ("city", "is", "x" * 201),
        ("business", "is", "perhaps"),
        ("added", "between", "31/12/2025", ""),
        ("added", "between", "9999-12-31", ""),
        ("added", "within", "0"),
        ("added", "within", "²"),
        ("added", "within", "99999"),
        ("city", "sounds like", "x"),
    ],
)
def test_what_is_not_understood_is_left_out_with_a_sentence(acme, alice, three, browser, rule):
    response = browser(alice).get(f"{url('list', acme)}?{where(rule)}")
    assert len(response.context["rows"]) == 3
    assert len(response.context["filter"].problems) == 1
    assert "was left out" in text(response)


def test_every_operator_of_every_field_can_be_asked(acme, three, found):
    values = {"number": "5", "date": "2026-01-01", "flag": "yes", "text": "a", "tag": "a"}
    for name, field in FIELDS.items():
        for operator in OF_KIND[field.kind]:
            assert operator in OPERATORS
            value = "7" if operator == "within" else values[field.kind]
            for match in ("", "any"):
                found(where((name, operator, value), ("handle", "is", "x"), match=match))


def test_quick_filters_narrow_by_source_campaign_and_first_message(acme, found):
    ana = make_lead(acme, "ana", source="import")
    make_lead(acme, "rui", source="api", first_touch_at=timezone.now())
    campaign = make_campaign(acme)
    make_message(campaign, ana)
    assert found("source=import") == ["ana"]
    assert found(f"campaign={campaign.pk}") == ["ana"]
    assert found("messaged=yes") == ["rui"]
    assert found("messaged=no") == ["ana"]
    assert found("campaign=12345678") == []


def test_a_tag_that_nobody_has_finds_nobody(three, found):
    assert found("tag=gone") == []


def test_another_tenants_campaign_and_tags_find_nobody(acme, rival, three, found):
    theirs = make_campaign(rival)
    make_message(theirs)
    assert found(f"campaign={theirs.pk}") == []


# --- Orders, columns, the address ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "handles"),
    [
        ("score", ["ana", "rui", "zoe"]),
        ("lowest", ["zoe", "rui", "ana"]),
        ("newest", ["new", "zoe", "rui", "ana"]),
        ("oldest", ["ana", "rui", "zoe", "new"]),
        ("followers", ["ana", "rui"]),
        ("nonsense", ["ana", "rui", "zoe"]),
    ],
)
def test_the_orders(acme, three, found, sort, handles):
    make_lead(acme, "new", score=None)
    assert found(f"sort={sort}") == handles


@pytest.mark.parametrize("sort", ["score", "lowest", "newest", "oldest", "followers"])
def test_every_order_pages_by_key_without_gaps(acme, alice, browser, sort):
    for number in range(53):
        make_lead(acme, f"lead{number:02}", score=70 + number % 2, followers=number % 3)
    client = browser(alice)
    first = client.get(url("list", acme), {"sort": sort})
    after = first.context["page"].next
    second = client.get(url("list", acme), {"sort": sort, "after": after})
    seen = [row.lead.handle for page in (first, second) for row in page.context["rows"]]
    assert len(seen) == len(set(seen)) == 53


def test_the_total_is_what_the_pages_hold_together(acme, alice, browser):
    make_lead(acme, "hot", score=90)
    make_lead(acme, "warm", score=60, followers=3)
    make_lead(acme, "new", score=None)
    client = browser(alice)

    def total(**wanted):
        return client.get(url("list", acme), wanted).context["total"].shown

    assert total() == 2
    assert total(band="HOT") == 1
    assert total(band="none") == 1
    assert total(sort="newest") == 3
    assert total(sort="followers") == 1


def test_the_chosen_columns_are_shown_in_their_order(acme, alice, browser):
    lead = make_lead(acme, "ana", category="Dentista", email="ana@example.com")
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=lead, name="vip")
    page = browser(alice).get(f"{url('list', acme)}?c=tags&c=email&c=nonsense&c=category&c=tags")
    assert [name for name, _ in page.context["columns"]] == ["tags", "email", "category"]
    shown = text(page)
    assert shown.index("vip") < shown.index("ana@example.com") < shown.index("Dentista")


def test_htmx_answers_with_the_one_spelling_of_the_address(acme, alice, browser):
    make_lead(acme, "ana", city="Recife")
    query = "q=&band=&f=city&o=is&v=Recife&u=&f=&o=is&v=&u=&sort=&rows=tight&match=any"
    response = browser(alice, htmx="leads").get(f"{url('list', acme)}?{query}")
    assert response["HX-Push-Url"] == f"{url('list', acme)}?f=city&o=is&v=Recife&u=&rows=tight"


def test_the_ready_made_views_are_spelled_canonically(acme, in_tenant):
    in_tenant(acme)
    for _label, query in READY_VIEWS.values():
        data = QueryDict(query)
        found = LeadFilter(data, tenant=acme)
        assert found.problems == []
        assert canonical(found, Layout.read(data)) == query


def test_the_canonical_spelling_survives_a_round(acme, in_tenant):
    in_tenant(acme)
    query = where(("city", "is", "a&b=c"), q="ana", tag="x y", sort="newest", c="city")
    data = QueryDict(query)
    once = canonical(LeadFilter(data, tenant=acme), Layout.read(data))
    again = QueryDict(once)
    assert canonical(LeadFilter(again, tenant=acme), Layout.read(again)) == once
    assert ("v", "a&b=c") in parse_qsl(once, keep_blank_values=True)


@pytest.mark.parametrize("query", ["", "c=tags&c=message&c=reason&f=city&o=not_empty&v=&u="])
def test_the_list_costs_the_same_with_more_leads(acme, alice, browser, query):
    client = browser(alice)

    def cost():
        with CaptureQueriesContext(connection) as seen:
            client.get(f"{url('list', acme)}?{query}")
        return len(seen)

    campaign = make_campaign(acme, state="running")

    def add(many):
        for _ in range(many):
            lead = make_lead(acme, city="Recife", source=f"source {many}")
            make_message(campaign, lead, "sent")
            with scope.as_tenant(acme):
                LeadTag.objects.create(lead=lead, name=f"tag {lead.pk}")

    add(3)
    few = cost()
    add(27)
    assert cost() == few <= 24


# --- Views ------------------------------------------------------------------------------------


def test_a_list_is_kept_under_a_name_and_found_as_a_tab(acme, alice, browser):
    make_lead(acme, "ana", city="Recife")
    client = browser(alice)
    query = where(("city", "is", "Recife"), sort="newest")
    client.post(url("view-save", acme), {"name": "Do Recife", "query": query, "pinned": "on"})
    with scope.as_tenant(acme):
        view = SavedView.objects.get()
        assert AuditEntry.objects.filter(action="view.saved").count() == 1
    page = client.get(url("list", acme))
    assert "Do Recife" in text(page)
    tab = next(tab for tab in page.context["tabs"] if tab.saved == view)
    shown = client.get(url("list", acme) + tab.link)
    assert [row.lead.handle for row in shown.context["rows"]] == ["ana"]
    assert shown.context["tab"] == tab
    assert not shown.context["changed"]


def test_a_changed_view_is_saved_or_discarded(acme, alice, browser):
    make_lead(acme)
    client = browser(alice)
    with scope.as_tenant(acme):
        view = SavedView.objects.create(owner=alice, name="Mine", query="band=HOT")
    page = client.get(f"{url('list', acme)}?view={view.pk}&band=WARM")
    assert "“Mine” is changed" in text(page)
    client.post(url("view-update", acme, view.pk), {"query": "band=WARM&nonsense=1&v=3"})
    with scope.as_tenant(acme):
        assert SavedView.objects.get().query == "band=WARM"
    page = client.get(f"{url('list', acme)}?view={view.pk}&band=WARM")
    assert "is changed" not in text(page)


def test_private_views_are_their_owners_alone(acme, alice, browser):
    other = make_member(acme, "manager").user
    make_lead(acme)
    with scope.as_tenant(acme):
        mine = SavedView.objects.create(owner=alice, name="Secret", query="")
        shared = SavedView.objects.create(owner=alice, name="For all", shared=True, query="")
    client = browser(other)
    page = text(client.get(url("list", acme)))
    assert "Secret" not in page
    assert "For all" in page
    assert client.get(url("view-edit", acme, mine.pk)).status_code == 404
    assert client.get(url("view-edit", acme, shared.pk)).status_code == 200


def test_an_operator_does_not_change_what_somebody_else_shares(acme, alice, browser):
    operator = make_member(acme, "operator").user
    with scope.as_tenant(acme):
        shared = SavedView.objects.create(owner=alice, name="For all", shared=True, query="")
    client = browser(operator)
    assert (
        client.post(url("view-update", acme, shared.pk), {"query": "band=HOT"}).status_code == 403
    )
    assert client.post(url("view-delete", acme, shared.pk)).status_code == 403
    with scope.as_tenant(acme):
        assert SavedView.objects.get().query == ""


def test_a_view_is_renamed_unpinned_and_deleted(acme, alice, browser):
    make_lead(acme)
    client = browser(alice)
    with scope.as_tenant(acme):
        view = SavedView.objects.create(owner=alice, name="Old", query="")
        SavedView.objects.create(owner=alice, name="Taken", query="")
    refused = client.post(url("view-edit", acme, view.pk), {"name": "Taken"})
    assert "of this name already" in text(refused)
    client.post(url("view-edit", acme, view.pk), {"name": "New"})
    page = client.get(url("list", acme))
    assert [tab.label for tab in page.context["more"]] == ["New"]
    assert "Delete" in text(client.get(url("view-delete", acme, view.pk)))
    client.post(url("view-delete", acme, view.pk))
    with scope.as_tenant(acme):
        assert [each.name for each in SavedView.objects.all()] == ["Taken"]


def test_a_tenant_without_an_icp_lists_its_leads(acme, found):
    make_lead(acme, "new", score=None)
    assert found("") == ["new"]
    make_icp(acme)
    assert found("") == []
    assert found("band=none") == ["new"]


def test_a_filter_that_a_campaign_can_take_over_leads_to_one(acme, alice, browser):
    lead = make_lead(acme, "ana", score=90)
    with scope.as_tenant(acme):
        LeadTag.objects.create(lead=lead, name="vip")
    client = browser(alice)
    page = client.get(url("list", acme), {"band": "HOT", "tag": "vip"})
    query = page.context["campaign_query"]
    assert query == "bands=HOT&tag=vip"
    assert f"?{query.replace('&', '&amp;')}" in text(page)
    draft = client.get(f"{reverse('campaigns:create', args=[acme.slug])}?{query}")
    assert draft.context["form"]["bands"].value() == ["HOT"]
    assert draft.context["form"]["tag"].value() == "vip"
    for wanted in ({}, {"band": "NURTURING"}, {"band": "HOT", "q": "ana"}, {"band": "none"}):
        assert client.get(url("list", acme), wanted).context["campaign_query"] == ""
