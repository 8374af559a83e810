"""Drafts of campaigns in two steps, through the front door."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_icp,
    make_lead,
    make_message,
)
from campaigns import drafting
from campaigns.models import Campaign, Template
from campaigns.tests.pages import queries, row_count, text, url
from leads.models import LeadTag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    """What a test looks up itself is acme's; requests find their own way. Rings are collected."""
    in_tenant(acme)


def who(**changed):
    """The first step's values."""
    values = {
        "name": "Outono", "tags": "frio", "kind": "filter", "bands": ["HOT", "WARM"],
        "min_score": "50", "limit": "100",
    }  # fmt: skip
    return values | changed


def what(account, **changed):
    """The second step's."""
    values = {
        "text": "Oi {first_name|você}!", "accounts": [account.pk], "days": ["0", "1"],
        "opens": "09:00", "closes": "18:00",
    }  # fmt: skip
    return values | changed


def draft_of(acme, **fields):
    """A draft after its first step."""
    values = {"name": "Outono", "audience": {"kind": "filter", "bands": ["HOT", "WARM"]}}
    return drafting.begin_draft(acme, **(values | fields), by=None, now=timezone.now())


# --- Two steps --------------------------------------------------------------------------------


def test_a_draft_is_made_in_two_steps_and_kept_between_them(acme, alice, browser):
    account, client = make_account(acme), browser(alice)
    response = client.post(url("campaigns:create", acme), who())
    campaign = Campaign.objects.get()
    assert response["Location"] == url("campaigns:content", acme, campaign.pk)
    assert campaign.audience == {"kind": "filter", "bands": ["HOT", "WARM"]}
    assert (campaign.state, campaign.tags, campaign.steps.count()) == ("draft", "frio", 0)
    second = client.get(response["Location"])
    assert second.context["form"]["accounts"].value() == [account.pk]
    response = client.post(url("campaigns:content", acme, campaign.pk), what(account))
    assert response["Location"] == campaign.get_absolute_url()
    campaign.refresh_from_db()
    assert campaign.window == {"days": [0, 1], "from": "09:00", "to": "18:00"}
    assert campaign.steps.get().body == "Oi {first_name|você}!"
    assert campaign.accounts.get() == account


def test_a_draft_is_changed_by_the_same_two_steps(acme, alice, browser):
    account, client = make_account(acme), browser(alice)
    campaign = make_campaign(acme, accounts=[account], name="Outono")
    edit = url("campaigns:update", acme, campaign.pk)
    assert "Outono" in text(client.get(edit))
    handles = who(kind="handles", handles="@Ana, ana rui.b", name="Inverno")
    assert client.post(edit, handles).status_code == 302
    content = what(account, always="on", text="Olá!", then="back")
    response = client.post(url("campaigns:content", acme, campaign.pk), content)
    assert response["Location"] == edit
    campaign.refresh_from_db()
    assert campaign.audience == {"kind": "handles", "handles": ["ana", "rui.b"]}
    assert (campaign.name, campaign.window) == ("Inverno", {})
    assert campaign.steps.get().body == "Olá!"


def test_a_draft_without_a_text_says_what_is_next_and_cannot_start(acme, alice, browser):
    make_lead(acme, score=90)
    campaign = draft_of(acme)
    client = browser(alice)
    page = text(client.get(campaign.get_absolute_url()))
    assert url("campaigns:content", acme, campaign.pk) in page
    client.post(url("campaigns:start", acme, campaign.pk))
    campaign.refresh_from_db()
    assert campaign.state == "draft"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"bands": []}, "at least one band"),
        ({"kind": "handles", "handles": "not a handle!"}, "is not an Instagram handle"),
        ({"kind": "handles", "handles": ""}, "at least one handle"),
        ({"kind": "handles", "handles": " ".join(f"a{n}" for n in range(501))}, "At most 500"),
        ({"limit": "0"}, "greater than or equal to 1"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_an_audience_that_cannot_work_comes_back_with_the_reason(
    acme, alice, browser, changed, says
):
    response = browser(alice).post(url("campaigns:create", acme), who(**changed))
    assert response.status_code == 200
    assert says in text(response)
    assert not Campaign.objects.exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"text": "Oi {apelido}!"}, "There is no placeholder “apelido”"),
        ({"text": ""}, "This field is required"),
        ({"closes": "08:00"}, "end after it begins"),
        ({"days": []}, "at least one day"),
        ({"accounts": []}, "This field is required"),
    ],
)
def test_a_message_that_cannot_work_comes_back_with_the_reason(acme, alice, browser, changed, says):
    campaign = draft_of(acme)
    values = what(make_account(acme), **changed)
    response = browser(alice).post(url("campaigns:content", acme, campaign.pk), values)
    assert says in text(response)
    assert campaign.steps.count() == 0


def test_a_rivals_account_is_no_choice(acme, rival, alice, browser):
    theirs = make_account(rival)
    campaign = draft_of(acme)
    response = browser(alice).post(url("campaigns:content", acme, campaign.pk), what(theirs))
    assert response.status_code == 200
    assert theirs.handle not in text(response)


@pytest.mark.parametrize("step", ["update", "content"])
def test_a_started_campaign_is_not_edited(acme, alice, browser, step):
    campaign = make_campaign(acme, state="running")
    for method in ("get", "post"):
        response = getattr(browser(alice), method)(url(f"campaigns:{step}", acme, campaign.pk))
        assert response["Location"] == campaign.get_absolute_url()


@pytest.mark.parametrize(
    "content",
    [
        b"ana\nrui.b\n",
        b"\xef\xbb\xbfhandle,name\nana,Ana\n@rui.b,Rui\n",
        b"nome;Username\nAna;@ana\nRui;https://instagram.com/rui.b\n",
    ],
)
def test_handles_come_out_of_a_csv_file(acme, alice, browser, content):
    file = SimpleUploadedFile("list.csv", content)
    browser(alice).post(url("campaigns:create", acme), who(kind="handles", handles="", file=file))
    assert Campaign.objects.get().audience["handles"] == ["ana", "rui.b"]


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b'"open', b"not a handle!\n"])
def test_a_file_of_something_else_comes_back_with_the_reason(acme, alice, browser, content):
    file = SimpleUploadedFile("list.csv", content)
    values = who(kind="handles", handles="", file=file)
    response = browser(alice).post(url("campaigns:create", acme), values)
    assert response.status_code == 200
    assert "file" in response.context["form"].errors
    assert not Campaign.objects.exists()


# --- The live count ---------------------------------------------------------------------------


def test_the_live_count_is_by_band_and_says_who_is_left_out(acme, alice, browser):
    for score in (90, 90, 60, 45):
        make_lead(acme, score=score)
    make_lead(acme, score=95, suppressed_at=timezone.now())
    values = who(name="", min_score="0")
    response = browser(alice).post(url("campaigns:count", acme), values)
    summary = response.context["summary"]
    assert (summary.total, summary.by_band) == (3, {"HOT": 2, "WARM": 1})
    part = text(browser(alice, htmx="count").post(url("campaigns:count", acme), values))
    assert part.lstrip().startswith('<div id="count"')
    assert "<b>1</b>" in part
    assert "must not be written to" in part
    assert not Campaign.objects.exists()


def test_the_live_count_follows_tag_source_score_and_limit(acme, alice, browser):
    tagged = make_lead(acme, score=90, source="fair")
    LeadTag.objects.create(tenant=acme, lead=tagged, name="spring")
    make_lead(acme, score=80)
    make_lead(acme, score=70)

    def total(**changed):
        response = browser(alice).post(url("campaigns:count", acme), who(**changed))
        return response.context["summary"].total

    assert total() == 3
    assert total(tag="spring") == 1
    assert total(source="fair") == 1
    assert total(min_score="80") == 2
    assert total(limit="2") == 2
    assert total(kind="handles", handles=f"@{tagged.handle}") == 1


def test_the_live_count_waits_for_fields_that_are_right(acme, alice, browser):
    client = browser(alice, htmx="count")
    assert "Mend the marked fields" in text(
        client.post(url("campaigns:count", acme), who(bands=[]))
    )


def test_the_numbers_of_a_draft_are_the_rows_behind_them(acme, alice, browser):
    for score in (90, 85, 60):
        make_lead(acme, score=score)
    make_lead(acme, score=88, suppressed_at=timezone.now())
    make_lead(acme, score=87, first_touch_at=timezone.now())
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT", "WARM"]}, limit=2)
    client, address = browser(alice), url("campaigns:audience", acme, campaign.pk)
    page = client.get(address)
    chips = [*page.context["chips"], *page.context["reasons"]]
    assert {chip.count for chip in chips} == {2, 1}
    assert len(chips) == 4
    for chip in chips:
        shown = text(client.get(f"{address}?{chip.query}"))
        assert row_count(shown) == chip.count, chip


def test_handles_given_by_hand_have_their_rows_too(acme, alice, browser):
    make_lead(acme, "ana", score=90)
    make_lead(acme, "bia", score=80, first_touch_at=timezone.now())
    audience = {"kind": "handles", "handles": ["ana", "bia", "nobody.yet"]}
    campaign = make_campaign(acme, audience=audience)
    client, address = browser(alice), url("campaigns:audience", acme, campaign.pk)
    page = client.get(address)
    for chip in [*page.context["chips"], *page.context["reasons"]]:
        assert row_count(text(client.get(f"{address}?{chip.query}"))) == chip.count, chip


# --- The message ------------------------------------------------------------------------------


def test_the_preview_shows_real_people_of_the_audience_and_stores_nothing(acme, alice, browser):
    make_lead(acme, "ana", name="Ana Lima", score=90)
    make_lead(acme, "bob", name="Bob Reis", score=10)
    campaign = draft_of(acme)
    client, address = browser(alice, htmx="preview"), url("campaigns:preview", acme, campaign.pk)
    part = text(client.post(address, {"text": "Oi {first_name|você}!"}))
    assert "Oi Ana!" in part
    assert "Bob" not in part
    assert "<html" not in part
    assert "There is no placeholder" in text(client.post(address, {"text": "Oi {nome}!"}))
    assert campaign.steps.count() == 0


def test_the_preview_warns_of_a_value_that_is_not_known(acme, alice, browser):
    make_lead(acme, score=90, city="Recife")
    make_lead(acme, score=90)
    address = url("campaigns:preview", acme, draft_of(acme).pk)
    part = text(browser(alice, htmx="preview").post(address, {"text": "Oi de {city}!"}))
    assert "1 of 2 lacks “city”" in part


def test_the_placeholders_say_how_often_they_are_known(acme, alice, browser):
    for city in ("Recife", "", "", ""):
        make_lead(acme, score=90, city=city)
    make_lead(acme, score=10, city="Olinda")
    page = text(browser(alice).get(url("campaigns:content", acme, draft_of(acme).pk)))
    assert "25 % filled" in page
    assert "known of 1 of 4 people" in page


def test_the_pace_names_the_limit_that_binds(acme, alice, browser):
    for _ in range(3):
        make_lead(acme, score=90)
    account = make_account(acme, day_cap=50, hour_cap=10, gap_min_s=60, gap_max_s=90)
    campaign = draft_of(acme)
    client, address = browser(alice, htmx="pace"), url("campaigns:preview", acme, campaign.pk)
    part = text(client.post(address, what(account, opens="09:00", closes="11:00")))
    assert "<b>20</b> a day at most" in part
    assert "the hourly cap binds" in part
    part = text(client.post(address, what(account)))
    assert "the daily cap binds" in part
    assert "No account that can send" in text(client.post(address, what(account, accounts=[])))


def test_a_draft_begins_with_a_text_of_the_library(acme, alice, browser):
    template = Template.objects.create(tenant=acme, name="First", body="Olá {first_name|você}!")
    campaign = draft_of(acme)
    address = url("campaigns:content", acme, campaign.pk)
    typed = what(make_account(acme), text="Half a thought", opens="10:30", closes="12:00")
    for picked in ({"use": template.pk}, {"use": "", "template": template.pk}):
        form = browser(alice).post(address, {**typed, **picked}).context["form"]
        assert form["text"].value() == "Olá {first_name|você}!"
        assert form["opens"].value() == "10:30"  # what else was typed is still there
    assert not campaign.steps.filter(body__contains="Half").exists()  # and nothing is saved
    for nonsense in ("x", "9" * 30, "0"):
        form = browser(alice).post(address, {**typed, "use": nonsense}).context["form"]
        assert form["text"].value() == "Half a thought"


def test_the_two_steps_cost_the_same_with_more_leads(acme, alice, browser):
    make_icp(acme)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    for _ in range(2):
        make_message(make_campaign(acme, state="running"), make_lead(acme, score=90))
    pages = [url(f"campaigns:{name}", acme, campaign.pk) for name in ("update", "content")]
    few = [queries(browser(alice), page) for page in pages]
    for _ in range(10):
        make_lead(acme, score=90)
    assert [queries(browser(alice), page) for page in pages] == few
    assert max(few) <= 22
