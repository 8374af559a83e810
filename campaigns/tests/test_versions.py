"""Another text while a campaign runs: who gets it, who never does, and what the pages say."""

from __future__ import annotations

from collections import Counter

import pytest

from agenticos import scope
from agenticos.errors import Refused
from agenticos.tests.factories import make_account, make_campaign, make_lead, make_message
from campaigns import ledger, versions
from campaigns.models import Campaign, Message, Step
from campaigns.tests.pages import filled, queries, row_count, text, url
from campaigns.tests.wires import Wire, work
from campaigns.wording import differences
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
NEW = "Bom dia {first_name|você}!"


@pytest.fixture(autouse=True)
def _inside(acme, in_tenant, rung):
    in_tenant(acme)


def mixed(acme, state="running"):
    """A campaign with a message of every fate; two people were not written to yet."""
    campaign = filled(acme, state=state, sent=1, failed=1, unknown=1, skipped=1, claimed=1)
    make_message(campaign, state="queued", text="Oi, guardado!")  # written once, queued again
    for _ in range(2):
        make_message(campaign, state="queued")
    return campaign


def change(campaign, now, *, move=True, body=NEW):
    return versions.change_text(campaign, 1, text=body, move=move, by=None, now=now)


def by_version(campaign):
    rows = Message.objects.filter(campaign=campaign)
    return Counter(rows.values_list("step_version", "state"))


@pytest.mark.parametrize("state", ["running", "paused", "blocked"])
def test_only_who_was_not_written_to_moves(acme, clock, state):
    campaign = mixed(acme, state)
    texts = dict(Message.objects.values_list("pk", "text"))
    assert change(campaign, clock.now()) == 2
    assert by_version(campaign) == {
        (1, "sent"): 1,
        (1, "failed"): 1,
        (1, "unknown"): 1,
        (1, "skipped"): 1,
        (1, "claimed"): 1,
        (1, "queued"): 1,
        (2, "queued"): 2,
    }
    assert dict(Message.objects.values_list("pk", "text")) == texts
    data = AuditEntry.objects.get(action="campaign.text_changed").data
    assert data == {"step": 1, "version": 2, "moved": 2}


def test_nobody_moves_without_the_choice_and_all_may_later(acme, clock):
    campaign = mixed(acme)
    assert change(campaign, clock.now(), move=False) == 0
    assert {version for version, _ in by_version(campaign)} == {1}
    assert versions.move_people(campaign, 1, by=None, now=clock.now()) == 2
    assert versions.move_people(campaign, 1, by=None, now=clock.now()) == 0
    assert AuditEntry.objects.filter(action="campaign.people_moved").count() == 1


def test_the_engine_says_each_person_the_text_of_their_version_and_once(acme, clock):
    campaign = make_campaign(acme, state="running", accounts=[make_account(acme)])
    for handle in ("um", "dois", "tres"):
        make_message(campaign, make_lead(acme, handle, name="Ana Lima"), due_at=clock.now())
    first = Message.objects.order_by("pk").first()
    Message.objects.filter(pk=first.pk).update(text="Oi, guardado!")
    change(campaign, clock.now())
    ledger.wake([campaign.pk], clock.now())
    work(clock, Wire())
    rows = Message.objects.order_by("pk")
    assert [row.text for row in rows] == ["Oi, guardado!", "Bom dia Ana!", "Bom dia Ana!"]
    assert {row.state for row in rows} == {"sent"}


@pytest.mark.parametrize(
    "state", ["draft", "scheduled", "preparing", "finished", "cancelled", "failed"]
)
def test_a_campaign_that_is_not_at_work_keeps_its_text(acme, clock, state):
    campaign = make_campaign(acme, state=state)
    for act in (
        lambda: change(campaign, clock.now()),
        lambda: versions.move_people(campaign, 1, by=None, now=clock.now()),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "wrong_state"
    assert Step.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "code"), [("Oi {first_name|você}!", "same_text"), ("Oi {first_name", "bad_template")]
)
def test_a_text_that_is_none_changes_nothing(acme, clock, body, code):
    campaign = mixed(acme)
    with pytest.raises(Refused) as refused:
        change(campaign, clock.now(), body=body)
    assert refused.value.code == code
    assert Step.objects.count() == 1


def test_differences_give_both_texts_back():
    old, new = "Oi Ana, tudo bem com você?", "Bom dia Ana,\ntudo bem?"
    pieces = differences(old, new)
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == old
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == new


# --- Pages ------------------------------------------------------------------------------------


def test_the_form_asks_who_gets_it_and_says_how_many(acme, alice, browser):
    campaign = mixed(acme)
    client, address = browser(alice), url("campaigns:text", acme, campaign.pk, 1)
    page = text(client.get(address))
    assert "Move 2 people who have not been written to yet" in page
    answer = client.post(address, {"text": NEW})
    assert answer.status_code == 200
    assert Step.objects.count() == 1, "the choice is nobody's but the person's"
    answer = client.post(address, {"text": NEW, "move": "yes"})
    assert answer["Location"] == url("campaigns:sequence", acme, campaign.pk)
    assert by_version(campaign)[2, "queued"] == 2


def test_a_text_that_cannot_be_rendered_comes_back_with_its_problem(acme, alice, browser):
    campaign = mixed(acme)
    address = url("campaigns:text", acme, campaign.pk, 1)
    answer = browser(alice).post(address, {"text": "Oi {first_name", "move": "no"})
    assert answer.context["form"].errors["text"]
    same = browser(alice).post(address, {"text": "Oi {first_name|você}!", "move": "no"})
    assert "The text is the same as before." in text(same)
    assert Step.objects.count() == 1


def test_every_number_of_a_version_is_the_rows_behind_its_link(acme, alice, browser, clock):
    campaign = mixed(acme)
    change(campaign, clock.now())
    client = browser(alice)
    page = text(client.get(url("campaigns:sequence", acme, campaign.pk)))
    rows = url("campaigns:audience", acme, campaign.pk)
    for (version, state), number in by_version(campaign).items():
        query = f"state={state}&step=1&version={version}"
        assert f"{rows}?{query.replace('&', '&amp;')}" in page
        assert row_count(text(client.get(f"{rows}?{query}"))) == number
    assert row_count(text(client.get(f"{rows}?step=1&version=1"))) == 6
    assert "<del>Oi</del>" in page
    assert "<ins>Bom" in page


def test_who_stayed_is_moved_after_a_question(acme, alice, browser, clock):
    campaign = mixed(acme)
    change(campaign, clock.now(), move=False)
    client, address = browser(alice), url("campaigns:text-move", acme, campaign.pk, 1)
    page = text(client.get(url("campaigns:sequence", acme, campaign.pk)))
    assert "Move 2 people who have not been written to yet" in page
    assert address in page
    assert "2 people who have not been written to yet get version 2." in text(client.get(address))
    assert (2, "queued") not in by_version(campaign)
    answer = browser(alice, htmx="toasts").post(address)
    assert answer["HX-Redirect"] == url("campaigns:sequence", acme, campaign.pk)
    assert by_version(campaign)[2, "queued"] == 2
    assert address not in text(client.get(url("campaigns:sequence", acme, campaign.pk)))


def test_who_may_not_read_texts_sees_no_differences(acme, vera, browser, clock):
    campaign = mixed(acme)
    change(campaign, clock.now())
    page = text(browser(vera).get(url("campaigns:sequence", acme, campaign.pk)))
    assert "Bom dia" not in page
    assert "version 2" in page


def test_another_tenants_text_and_a_step_that_is_none_are_not_found(
    acme, rival, alice, browser, clock
):
    with scope.as_tenant(rival):
        theirs = make_campaign(rival, state="running")
    client, mine = browser(alice), mixed(acme)
    for name in ("text", "text-move"):
        assert client.get(url(f"campaigns:{name}", acme, theirs.pk, 1)).status_code == 404
        assert client.get(url(f"campaigns:{name}", acme, mine.pk, 2)).status_code == 404


def test_a_campaign_that_ended_leads_back_to_its_texts(acme, alice, browser):
    campaign = make_campaign(acme, state="finished")
    answer = browser(alice).get(url("campaigns:text", acme, campaign.pk, 1))
    assert answer["Location"] == url("campaigns:sequence", acme, campaign.pk)
    assert Campaign.objects.get(pk=campaign.pk).state == "finished"


def test_the_tab_costs_the_same_for_many_messages(acme, alice, browser, clock):
    campaign = mixed(acme)
    change(campaign, clock.now(), move=False)
    client, address = browser(alice), url("campaigns:sequence", acme, campaign.pk)
    few = queries(client, address)
    for _ in range(10):
        make_message(campaign, state="queued")
    assert queries(client, address) == few
