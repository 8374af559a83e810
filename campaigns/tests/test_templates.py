"""The library of texts: versions, where they are used, and what they say to real people."""

from __future__ import annotations

import importlib
from collections import Counter

import pytest
from django.apps import apps
from django.utils import timezone

from agenticos.errors import Refused
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_member
from campaigns import drafting, library, prospects, sampling
from campaigns.models import Campaign, Step, Template, TemplateVersion
from campaigns.tests.pages import queries, row_count, text, url

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    in_tenant(acme)


def add(acme, name="First", body="Oi {first_name|você}!"):
    return library.add_template(acme, name=name, body=body, by=None, now=timezone.now())


def edit(template, **changed):
    values = {"name": template.name, "body": template.body} | changed
    library.edit_template(template, **values, by=None, now=timezone.now())


def using(acme, text, **fields):
    """A campaign that says this."""
    campaign = drafting.create_campaign(
        acme, name="Outono", text=text, audience={"kind": "filter", "bands": ["HOT"]},
        accounts=[make_account(acme)], by=None, now=timezone.now(),
    )  # fmt: skip
    Campaign.objects.filter(pk=campaign.pk).update(**fields)
    return campaign


# --- Versions ---------------------------------------------------------------------------------


def test_another_text_is_the_next_version_and_the_old_one_stays(acme):
    template = add(acme)
    edit(template, body="Olá!")
    edit(template, name="Renamed")
    edit(template)
    versions = template.versions.order_by("number").values_list("number", "body")
    assert list(versions) == [(1, "Oi {first_name|você}!"), (2, "Olá!")]
    template.refresh_from_db()
    assert (template.name, template.version, template.body) == ("Renamed", 2, "Olá!")


def test_a_campaign_keeps_the_version_that_it_began_with(acme):
    template = add(acme)
    campaign = using(acme, template.body)
    edit(template, body="Olá!")
    step = Step.objects.get(campaign=campaign)
    assert (step.body, step.origin.number) == ("Oi {first_name|você}!", 1)
    own = using(acme, "Something of its own")
    assert Step.objects.get(campaign=own).origin is None


def test_a_draft_that_gets_a_text_of_its_own_no_longer_counts(acme):
    template = add(acme)
    campaign = using(acme, template.body)
    assert library.usage([template.pk])[template.pk].campaigns == 1
    drafting.edit_content(
        campaign, text="Mine", accounts=[], window={}, by=None, now=timezone.now()
    )
    assert library.usage([template.pk]) == {}


def test_a_text_that_cannot_be_rendered_is_refused_by_its_name(acme):
    with pytest.raises(Refused, match="There is no placeholder “nome”"):
        add(acme, body="Oi {nome}!")
    template = add(acme)
    with pytest.raises(Refused) as refused:
        edit(template, body="Oi {{first_name}}!")
    assert refused.value.code == "bad_template"
    assert template.versions.count() == 1


def test_texts_from_before_there_were_versions_get_their_first(acme):
    Template.objects.create(tenant=acme, name="Old", body="Oi!")
    kept = add(acme)
    migration = importlib.import_module("campaigns.migrations.0003_first_template_versions")
    migration.keep_first_versions(apps, None)
    migration.keep_first_versions(apps, None)
    found = TemplateVersion.objects.order_by("template__name").values_list("template__name", "body")
    assert list(found) == [("First", kept.body), ("Old", "Oi!")]


# --- Pages ------------------------------------------------------------------------------------


def test_the_list_counts_the_campaigns_that_the_text_names(acme, alice, browser):
    template = add(acme)
    started = timezone.now()
    using(acme, template.body, state="running", started_at=started)
    using(acme, template.body)
    edit(template, body="Olá!")
    using(acme, template.body, state="running", started_at=started)
    client = browser(alice)
    [(row, usage)] = client.get(url("templates:list", acme)).context["rows"]
    assert (row, usage) == (template, library.Usage(3, 2, started))
    page = text(client.get(url("templates:detail", acme, template.pk)))
    assert row_count(page) == 3
    assert "This text is in 2 running campaigns." in page


def test_a_text_is_added_edited_archived_and_brought_back(acme, alice, browser):
    client = browser(alice)
    response = client.post(url("templates:create", acme), {"name": "First", "body": "Oi!"})
    template = Template.objects.get()
    assert response["Location"] == url("templates:detail", acme, template.pk)
    client.post(url("templates:update", acme, template.pk), {"name": "First", "body": "Olá!"})
    template.refresh_from_db()
    assert (template.body, template.version) == ("Olá!", 2)
    assert "Archive “First”?" in text(client.get(url("templates:archive", acme, template.pk)))
    client.post(url("templates:archive", acme, template.pk))
    assert row_count(text(client.get(url("templates:list", acme)))) == 0
    assert row_count(text(client.get(url("templates:list", acme), {"archived": "1"}))) == 1
    draft = make_campaign(acme)
    offered = client.get(url("campaigns:content", acme, draft.pk)).context["templates"]
    assert list(offered) == []
    client.post(url("templates:restore", acme, template.pk))
    assert row_count(text(client.get(url("templates:list", acme)))) == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": "Other", "body": "Oi {nome}!"}, "There is no placeholder “nome”"),
        ({"name": "First", "body": "Oi!"}, "a text with this name already"),
        ({"name": "", "body": "Oi!"}, "This field is required"),
    ],
)
def test_a_text_that_is_not_right_comes_back_with_the_reason(acme, alice, browser, values, says):
    add(acme)
    response = browser(alice).post(url("templates:create", acme), values)
    assert response.status_code == 200
    assert says in text(response)
    assert Template.objects.count() == 1


def test_texts_are_for_those_who_may_read_them(acme, vera, browser):
    template = add(acme, body="Oi, segredo!")
    client = browser(vera)
    for name, args in (("list", ()), ("detail", (template.pk,))):
        page = text(client.get(url(f"templates:{name}", acme, *args)))
        assert "First" in page
        assert "segredo" not in page
    hidden = browser(vera, htmx="preview").get(url("templates:detail", acme, template.pk))
    assert "segredo" not in text(hidden)
    assert client.post(url("templates:archive", acme, template.pk)).status_code == 403


def test_a_rivals_text_is_404(acme, rival, alice, browser, in_tenant):
    in_tenant(rival)
    theirs = add(rival)
    for name in ("detail", "update", "archive"):
        assert browser(alice).get(url(f"templates:{name}", acme, theirs.pk)).status_code == 404


def test_the_pages_cost_the_same_with_more_texts_and_campaigns(acme, alice, browser):
    template = add(acme)
    using(acme, template.body)
    pages = [url("templates:list", acme), url("templates:detail", acme, template.pk)]
    few = [queries(browser(alice), page) for page in pages]
    for number in range(4):
        add(acme, name=f"No {number}", body=f"Oi {number}")
        using(acme, template.body)
        make_lead(acme)
        edit(template, body=f"Olá {number}")
    assert [queries(browser(alice), page) for page in pages] == few
    assert max(few) <= 14


# --- Previews ---------------------------------------------------------------------------------


def test_the_awkward_people_come_first(acme):
    plain = [make_lead(acme, name="Ana Lima", city="Recife") for _ in range(30)]
    missing = make_lead(acme, name="Bia", city="")
    rtl = make_lead(acme, name="שרה כהן", city="Haifa")
    emoji = make_lead(acme, name="Rui 🌟", city="Olinda")
    long = make_lead(acme, name="Maria Antonieta de Alcântara e Silva", city="Recife")
    shown = sampling.samples("{name}, de {city}", [*plain, missing, rtl, emoji, long])
    assert [sample.lead for sample in shown[:4]] == [missing, rtl, emoji, long]
    assert [sample.marks for sample in shown[:4]] == [("missing",), ("rtl",), ("emoji",), ("long",)]
    assert shown[0].missing == ("city",)
    assert len(shown) == sampling.SHOWN
    assert len({sample.lead.pk for sample in shown}) == sampling.SHOWN


def test_the_preview_goes_through_the_people_one_by_one(acme, browser):
    client = browser(make_member(acme, "operator").user, htmx="preview")
    for name in ("Ana", "Bia", "Caio"):
        make_lead(acme, name=name)
    address = url("templates:preview", acme)
    first = client.post(address, {"body": "Oi {first_name|você}"})
    assert "<html" not in text(first)
    said = [
        client.post(address, {"body": "Oi {first_name|você}", "n": n}).context["sample"].text
        for n in ("1", "2", "3")
    ]
    assert sorted(said) == ["Oi Ana", "Oi Bia", "Oi Caio"]
    for n in ("0", "99", "-1", "x", "²"):
        assert client.post(address, {"body": "Oi", "n": n}).status_code == 200
    assert "There is no placeholder" in text(client.post(address, {"body": "Oi {nome}"}))


def test_the_saved_text_is_previewed_by_plain_links_too(acme, alice, browser):
    template = add(acme)
    make_lead(acme, name="Ana")
    make_lead(acme, name="Bia")
    page = browser(alice).get(url("templates:detail", acme, template.pk), {"n": "2"})
    assert page.context["number"] == 2
    assert 'href="?n=1"' in text(page)


def test_every_band_of_a_large_audience_is_shown_and_the_awkward_come_first(acme):
    """The best of each band, as far as the limit surely reaches."""
    for number, score in enumerate([90] * 40 + [60] * 4 + [45] * 3 + [10] * 2):
        make_lead(acme, name=f"Ana {number}", city="Recife", score=score)
    emoji = make_lead(acme, name="Rui 🌟", city="Olinda", score=41)
    campaign = make_campaign(acme, state="draft", limit=1_000)
    shown = sampling.samples("{name}", prospects.leads_of(campaign, count=30))
    assert shown[0].lead == emoji
    bands = Counter(sample.band for sample in shown)
    assert bands == {"HOT": 10, "WARM": 4, "COLD": 4}

    campaign.limit = 42
    reached = prospects.leads_of(campaign, count=30)
    assert Counter(lead.band for lead in reached) == {"HOT": 10, "WARM": 2}
