"""Pages of campaigns, through the front door."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from agenticos import scope
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_icp,
    make_lead,
    make_member,
    make_message,
)
from campaigns.models import Campaign, CampaignCounts, Message
from tenants import audit
from tenants.models import AuditEntry, Tenant

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    """What a test looks up itself is acme's; requests find their own way. Rings are collected."""
    in_tenant(acme)


@pytest.fixture
def person(acme, browser):
    """A browser for somebody with a role in acme."""
    return lambda role, htmx="": browser(make_member(acme, role).user, htmx=htmx)


def url(name, tenant, *args):
    return reverse(name, args=[tenant.slug, *args])


def text(response):
    return response.content.decode()


def queries(client, address):
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def filled(acme, state="running", **rows):
    campaign = make_campaign(acme, state=state, started_at=timezone.now())
    for bucket, number in rows.items():
        for _ in range(number):
            make_message(campaign, state=bucket, text="Oi, segredo!")
    return campaign


# --- The list ---------------------------------------------------------------------------------


def test_the_list_shows_state_numbers_and_accounts(acme, alice, browser):
    campaign = filled(acme, sent=3, queued=2)
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert campaign.name in page
    assert "Running" in page
    assert "<b>3</b> sent" in page
    assert "of 5 people" in page


def test_an_empty_list_says_how_to_begin(acme, alice, browser):
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert "No campaigns yet" in page
    assert url("campaigns:create", acme) in page


def test_the_list_is_narrowed_by_name_and_state(acme, alice, browser):
    make_campaign(acme, name="Dentistas")
    make_campaign(acme, name="Clínicas", state="running")
    get = browser(alice).get
    address = url("campaigns:list", acme)
    assert "Clínicas" not in text(get(address, {"q": "dent"}))
    assert "Dentistas" not in text(get(address, {"state": "running"}))
    assert "No campaign matches" in text(get(address, {"q": "nothing like it"}))


def test_only_moving_rows_poll_and_all_in_one_request(acme, alice, browser):
    moving = [make_campaign(acme, state="running").pk for _ in range(3)]
    make_campaign(acme, state="paused")
    page = text(browser(alice).get(url("campaigns:list", acme)))
    assert page.count("every 3s") == 1
    assert f"?ids={','.join(str(pk) for pk in reversed(moving))}" in page


def test_the_poll_brings_the_rows_out_of_band_and_ends_when_nothing_moves(acme, alice, browser):
    campaign = make_campaign(acme, state="finished")
    part = text(
        browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": str(campaign.pk)})
    )
    assert f'<tr id="campaign-{campaign.pk}" hx-swap-oob="true"' in part
    assert "<html" not in part
    assert "every 3s" not in part


def test_a_poll_for_a_rivals_campaign_brings_nothing(acme, rival, alice, browser):
    theirs = make_campaign(rival, name="Secret plan", state="running")
    part = browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": str(theirs.pk)})
    assert "Secret plan" not in text(part)


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "9" * 40, "-1"])
def test_a_poll_with_nonsense_is_harmless(acme, alice, browser, ids):
    response = browser(alice, htmx="poll").get(url("campaigns:list", acme), {"ids": ids})
    assert response.status_code == 200


def test_the_list_costs_the_same_with_more_campaigns(acme, alice, browser):
    client = browser(alice)
    filled(acme, sent=1)
    few = queries(client, url("campaigns:list", acme))
    for _ in range(5):
        filled(acme, sent=1, queued=1)
    assert queries(client, url("campaigns:list", acme)) == few <= 13


def test_the_list_pages_by_key(acme, alice, browser):
    names = [make_campaign(acme, name=f"No {n:03}", accounts=[]).name for n in range(53)]
    client = browser(alice)
    first = client.get(url("campaigns:list", acme))
    assert names[-1] in text(first)
    assert names[0] not in text(first)
    second = client.get(url("campaigns:list", acme), {"after": first.context["page"].next})
    assert [row.campaign.name for row in second.context["rows"]] == names[2::-1]
    back = client.get(url("campaigns:list", acme), {"before": second.context["page"].previous})
    assert [r.campaign.pk for r in back.context["rows"]] == [
        r.campaign.pk for r in first.context["rows"]
    ]


# --- The panel --------------------------------------------------------------------------------


def test_the_panel_shows_seven_buckets_that_link_to_their_rows(acme, alice, browser):
    campaign = filled(acme, sent=4, failed=1, queued=2)
    page = text(browser(alice).get(campaign.get_absolute_url()))
    assert "sums: OK" in page
    for bucket in CampaignCounts.BUCKETS:
        assert f"?state={bucket}" in page
    rows = text(browser(alice).get(campaign.get_absolute_url(), {"state": "failed"}))
    assert rows.count('<tr id="message-') == 1


def test_a_sum_that_is_wrong_is_shown_in_red(acme, alice, browser):
    campaign = filled(acme, sent=2)
    with scope.as_tenant(acme):
        CampaignCounts.objects.update(sent=1)
    assert "sums: wrong" in text(browser(alice).get(campaign.get_absolute_url()))


@pytest.mark.parametrize("state", Campaign.State.values)
def test_every_state_has_a_page_and_polls_only_while_it_moves(acme, alice, browser, state):
    campaign = filled(acme, state=state, queued=1)
    page = text(browser(alice).get(campaign.get_absolute_url()))
    assert ("every 3s" in page) == campaign.is_moving


@pytest.mark.parametrize("part", ["panel", "rows"])
def test_htmx_gets_the_part(acme, alice, browser, part):
    campaign = filled(acme, sent=1)
    response = browser(alice, htmx=part).get(campaign.get_absolute_url())
    assert text(response).lstrip().startswith(f'<div id="{part}"')
    assert "<html" not in text(response)
    assert "HX-Target" in response["Vary"]
    assert response["Cache-Control"] == "no-store"


def test_the_panel_costs_the_same_with_more_messages(acme, alice, browser):
    client = browser(alice)
    campaign = filled(acme, sent=2)
    few = queries(client, campaign.get_absolute_url())
    for _ in range(6):
        make_message(campaign, state="sent")
    assert queries(client, campaign.get_absolute_url()) == few <= 30


@pytest.mark.parametrize(("role", "sees"), [("reviewer", True), ("viewer", False)])
def test_message_texts_are_for_those_who_may_read_them(acme, person, role, sees):
    campaign = filled(acme, sent=1)
    page = text(person(role).get(campaign.get_absolute_url(), {"state": "sent"}))
    assert ("Oi, segredo!" in page) is sees


def test_a_strangers_text_is_only_ever_text(acme, alice, browser):
    lead = make_lead(acme, "ana", name="<script>alert(1)</script>")
    campaign = make_campaign(acme, state="running")
    make_message(campaign, lead, "failed", error="<img src=x>", text="<b>x</b>")
    page = text(browser(alice).get(campaign.get_absolute_url(), {"state": "failed"}))
    assert "<script>alert(1)" not in page
    assert "<img src=x>" not in page


def test_a_control_without_the_right_is_disabled_with_the_reason(acme, vera, browser):
    campaign = filled(acme, queued=1)
    page = text(browser(vera).get(campaign.get_absolute_url()))
    assert "It takes: Owner, Manager, Operator." in page
    assert url("campaigns:pause", acme, campaign.pk) not in page


def test_the_activity_is_shown_newest_first_in_words(acme, alice, browser):
    campaign = filled(acme, queued=1)
    with scope.as_tenant(acme):
        audit.record(campaign, "campaign.started", by=alice)
        audit.record(campaign, "campaign.blocked", by=None, code="session_invalid")
    page = text(browser(alice).get(campaign.get_absolute_url()))
    activity = page[page.index('class="timeline"') :]
    assert activity.index("Blocked") < activity.index("Started")
    assert "no longer accepts" in activity


# --- Drafts -----------------------------------------------------------------------------------


def form(account, **changed):
    values = {
        "name": "Outono",
        "kind": "filter",
        "bands": ["HOT", "WARM"],
        "min_score": "50",
        "limit": "100",
        "text": "Oi {first_name|você}!",
        "accounts": [account.pk],
        "days": ["0", "1"],
        "opens": "09:00",
        "closes": "18:00",
    }
    return values | changed


def test_a_draft_is_made_and_changed(acme, alice, browser):
    account, client = make_account(acme), browser(alice)
    response = client.post(url("campaigns:create", acme), form(account))
    with scope.as_tenant(acme):
        campaign = Campaign.objects.get()
        assert response["Location"] == campaign.get_absolute_url()
        assert campaign.audience == {"kind": "filter", "bands": ["HOT", "WARM"]}
        assert campaign.window == {"days": [0, 1], "from": "09:00", "to": "18:00"}
        assert campaign.steps.get().body == "Oi {first_name|você}!"
    edit = url("campaigns:update", acme, campaign.pk)
    assert "Outono" in text(client.get(edit))
    handles = form(account, kind="handles", handles="@Ana, ana rui.b", always="on", name="Inverno")
    assert client.post(edit, handles).status_code == 302
    campaign.refresh_from_db()
    assert campaign.audience == {"kind": "handles", "handles": ["ana", "rui.b"]}
    assert (campaign.name, campaign.window) == ("Inverno", {})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"text": "Oi {apelido}!"}, "There is no placeholder"),
        ({"bands": []}, "at least one band"),
        ({"kind": "handles", "handles": "not a handle!"}, "is not an Instagram handle"),
        ({"kind": "handles", "handles": ""}, "at least one handle"),
        ({"closes": "08:00"}, "end after it begins"),
        ({"days": []}, "at least one day"),
        ({"limit": "0"}, "greater than or equal to 1"),
    ],
)
def test_a_draft_that_cannot_work_comes_back_with_the_reason(acme, alice, browser, changed, says):
    response = browser(alice).post(
        url("campaigns:create", acme), form(make_account(acme), **changed)
    )
    assert response.status_code == 200
    assert says in text(response)
    with scope.as_tenant(acme):
        assert not Campaign.objects.exists()


def test_a_rivals_account_is_no_choice(acme, rival, alice, browser):
    theirs = make_account(rival)
    response = browser(alice).post(url("campaigns:create", acme), form(theirs))
    assert response.status_code == 200
    assert theirs.handle not in text(response)


def test_a_started_campaign_is_not_edited(acme, alice, browser):
    campaign = make_campaign(acme, state="running")
    response = browser(alice).get(url("campaigns:update", acme, campaign.pk))
    assert response["Location"] == campaign.get_absolute_url()


def test_the_preview_shows_real_leads_and_stores_nothing(acme, alice, browser):
    make_lead(acme, "ana", name="Ana Lima")
    client = browser(alice, htmx="preview")
    part = text(client.post(url("campaigns:preview", acme), {"text": "Oi {first_name|você}!"}))
    assert "Oi Ana!" in part
    assert "<html" not in part
    part = text(client.post(url("campaigns:preview", acme), {"text": "Oi {nome}!"}))
    assert "There is no placeholder" in part


# --- Acts -------------------------------------------------------------------------------------


def test_the_launch_card_says_who_what_from_whom_and_when(acme, alice, browser):
    make_lead(acme, "ana", score=90, name="Ana Lima")
    make_lead(acme, "bia", score=60)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    part = text(browser(alice, htmx="dialog-body").get(url("campaigns:start", acme, campaign.pk)))
    assert "1 person" in part
    assert "Oi Ana!" in part
    assert acme.name in part
    assert "<html" not in part


def test_the_launch_card_counts_whom_the_gates_would_skip_of_a_list_of_handles(
    acme, alice, browser
):
    make_lead(acme, handle="ana", score=90)
    make_lead(acme, handle="bia", score=80, first_touch_at=timezone.now())
    audience = {"kind": "handles", "handles": ["ana", "bia", "nobody.yet"]}
    campaign = make_campaign(acme, audience=audience)
    page = text(browser(alice).get(url("campaigns:start", acme, campaign.pk)))
    assert "<b>1 person</b>" in page
    assert '<b>1</b> · <span class="quiet">This person had a first message' in page
    assert '<b>1</b> · <span class="quiet">This lead has no score yet.' in page


def test_the_rows_of_a_draft_wait_for_its_start(acme, alice, browser):
    page = text(browser(alice).get(make_campaign(acme).get_absolute_url()))
    rows = page[page.index('id="rows"') :]
    assert 'hx-trigger="campaign-changed from:body"' in rows


def test_a_start_without_htmx_redirects(acme, alice, browser, rung):
    make_lead(acme, score=90)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    response = browser(alice).post(url("campaigns:start", acme, campaign.pk))
    assert response["Location"] == campaign.get_absolute_url()
    campaign.refresh_from_db()
    assert campaign.state == "preparing"
    assert rung


def test_a_large_start_needs_the_number_typed(acme, alice, browser, monkeypatch):
    from campaigns.views import acts

    monkeypatch.setattr(acts, "CONFIRM_ABOVE", 1)
    for _ in range(2):
        make_lead(acme, score=90)
    campaign = make_campaign(acme, audience={"kind": "filter", "bands": ["HOT"]})
    address = url("campaigns:start", acme, campaign.pk)
    client = browser(alice, htmx="panel")
    assert 'data-confirm="2"' in text(browser(alice, htmx="dialog-body").get(address))
    refused = client.post(address, {"confirm": "3"})
    assert refused["HX-Retarget"] == "#dialog-body"
    assert "Type 2" in text(refused)
    campaign.refresh_from_db()
    assert campaign.state == "draft"
    client.post(address, {"confirm": "2"})
    campaign.refresh_from_db()
    assert campaign.state == "preparing"


def test_a_second_start_is_refused_in_a_sentence(acme, alice, browser):
    make_lead(acme, score=90)
    campaign = make_campaign(acme, state="running", audience={"kind": "filter"})
    response = browser(alice).post(url("campaigns:start", acme, campaign.pk), follow=True)
    assert "already been started" in text(response)


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "running"),
        ("stop", "running", "cancelled"),
    ],
)
def test_the_state_changes_by_dialog_and_by_plain_form(acme, alice, browser, verb, before, after):
    asked = text(
        browser(alice, htmx="dialog-body").get(
            url(f"campaigns:{verb}", acme, filled(acme, state=before, queued=2).pk)
        )
    )
    assert "2 queued messages" in asked
    assert acme.name in asked
    for client in (browser(alice), browser(alice, htmx="panel")):
        campaign = filled(acme, state=before, queued=2)
        response = client.post(url(f"campaigns:{verb}", acme, campaign.pk))
        campaign.refresh_from_db()
        assert campaign.state == after
        if response.status_code == 302:
            assert response["Location"] == campaign.get_absolute_url()
        else:
            assert text(response).lstrip().startswith('<div id="panel"')
            assert 'hx-swap-oob="beforeend"' in text(response)
            assert "campaign-changed" in response["HX-Trigger"]


def test_asking_changes_nothing(acme, alice, browser):
    campaign = filled(acme, queued=1)
    for verb in ("pause", "stop", "retry"):
        assert browser(alice).get(url(f"campaigns:{verb}", acme, campaign.pk)).status_code == 200
    assert browser(alice).get(url("tenant-stop", acme)).status_code == 200
    campaign.refresh_from_db()
    acme.refresh_from_db()
    assert (campaign.state, acme.stopped_at) == ("running", None)


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "stop", "retry"])
def test_a_viewer_may_not(acme, vera, browser, verb):
    campaign = filled(acme, queued=1)
    response = browser(vera).post(url(f"campaigns:{verb}", acme, campaign.pk))
    assert response.status_code == 403
    assert "It takes:" in text(response)


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "stop", "retry", "update", "detail"])
def test_a_rivals_campaign_is_404(acme, rival, alice, browser, verb):
    theirs = make_campaign(rival, state="running")
    assert browser(alice).get(url(f"campaigns:{verb}", acme, theirs.pk)).status_code == 404


def test_failed_messages_are_retried_one_and_all(acme, alice, browser):
    campaign = filled(acme, failed=3)
    with scope.as_tenant(acme):
        one = Message.objects.filter(campaign=campaign).first()
    client = browser(alice, htmx="panel")
    client.post(url("campaigns:message-retry", acme, campaign.pk, one.pk))
    one.refresh_from_db()
    assert one.state == "queued"
    client.post(url("campaigns:retry", acme, campaign.pk))
    with scope.as_tenant(acme):
        assert set(Message.objects.values_list("state", flat=True)) == {"queued"}


@pytest.mark.parametrize(
    ("outcome", "state"), [("sent", "sent"), ("send_again", "queued"), ("skip", "skipped")]
)
def test_an_unknown_outcome_is_decided_by_a_person(acme, alice, browser, outcome, state):
    campaign = filled(acme, unknown=1)
    with scope.as_tenant(acme):
        message = Message.objects.get()
    address = url("campaigns:message-resolve", acme, campaign.pk, message.pk)
    assert "What became of this message?" in text(browser(alice, htmx="dialog-body").get(address))
    assert browser(alice).post(address, {"outcome": outcome}).status_code == 302
    message.refresh_from_db()
    assert message.state == state


def test_no_outcome_asks_again(acme, alice, browser):
    campaign = filled(acme, unknown=1)
    with scope.as_tenant(acme):
        message = Message.objects.get()
    address = url("campaigns:message-resolve", acme, campaign.pk, message.pk)
    response = browser(alice, htmx="panel").post(address, {"outcome": "maybe"})
    assert response["HX-Retarget"] == "#dialog-body"
    assert "Choose one of the three." in text(response)


def test_an_account_is_blocked_and_unblocked(acme, alice, browser):
    account = make_account(acme)
    client = browser(alice, htmx="dialog-body")
    for verb, state in (("block", "blocked"), ("unblock", "active")):
        address = url(f"campaigns:account-{verb}", acme, account.pk)
        assert f"@{account.handle}" in text(client.get(address))
        response = client.post(address)
        assert "campaign-changed" in response["HX-Trigger"]
        account.refresh_from_db()
        assert account.state == state


def test_the_tenant_stop_is_asked_set_shown_and_lifted(acme, alice, browser):
    filled(acme, queued=2)
    client = browser(alice)
    asked = text(client.get(url("tenant-stop", acme)))
    assert "Stop all sending of Acme?" in asked
    assert "1 running campaign of Acme" in asked
    page = client.post(url("tenant-stop", acme), follow=True)
    assert "has been stopped since" in text(page)
    with scope.as_tenant(acme):
        assert AuditEntry.objects.filter(action="tenant.stopped").exists()
    client.post(url("tenant-lift", acme))
    assert Tenant.objects.get(pk=acme.pk).stopped_at is None


def test_an_operator_may_stop_but_not_lift(acme, person):
    client = person("operator")
    assert client.post(url("tenant-stop", acme)).status_code == 302
    assert client.post(url("tenant-lift", acme)).status_code == 403


def test_a_tenant_without_an_icp_has_its_pages_too(acme, alice, browser):
    campaign = make_campaign(acme)
    assert "Nobody matches" in text(browser(alice).get(url("campaigns:start", acme, campaign.pk)))
    make_icp(acme)
    assert browser(alice).get(campaign.get_absolute_url()).status_code == 200
