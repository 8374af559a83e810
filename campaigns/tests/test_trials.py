"""Test messages: one call each, within cap and pause, to nobody but the team's own."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from agenticos import scope
from agenticos.clock import OVERDUE
from agenticos.errors import Refused
from agenticos.leasing import new_token
from agenticos.tests.factories import (
    make_account,
    make_campaign,
    make_lead,
    make_member,
    make_message,
)
from campaigns import tasks, trials
from campaigns.models import AccountUsage, Campaign, SendingAccount, Template, TestSend
from campaigns.tests.wires import Wire, work
from integrations.errors import Fault, Rejected, TryLater, Unsure
from leads.models import Suppression
from leads.suppression import digest_for
from tenants.models import AuditEntry

pytestmark = pytest.mark.django_db
SENTENCE = "A sentence."


@pytest.fixture
def wire(monkeypatch):
    made = Wire()
    monkeypatch.setattr(
        trials, "channel_for", lambda connection: made.of(connection.sending_account)
    )
    return made


@pytest.fixture
def account(acme, in_tenant):
    in_tenant(acme)
    return make_account(acme, "ourshop", test_recipient="ourboss", gap_min_s=60, gap_max_s=60)


def ask(account, clock, text="Hello", key=""):
    return trials.ask_for_test(account, text, key=key or new_token(), by=None, now=clock.now())


def used(account):
    return sorted(AccountUsage.objects.filter(account=account).values_list("used", flat=True))


def test_a_test_is_sent_once_and_counts_as_a_message(account, wire, clock, rung):
    test = ask(account, clock)
    assert rung == [(trials.TASK, ())]
    trials.work(test.pk, clock)
    trials.work(test.pk, clock)
    test.refresh_from_db()
    account.refresh_from_db()
    assert [(m.to_handle, m.text, m.key) for m in wire.sent] == [("ourboss", "Hello", test.key)]
    assert (test.state, test.provider_id, test.text) == ("sent", "mid.1", "")
    assert used(account) == [1, 1]
    assert account.lease_until is None
    assert account.free_at == clock.now() + timedelta(seconds=60)


def test_the_same_key_is_the_same_test(account, wire, clock, rung):
    key = new_token()
    first = ask(account, clock, key=key)
    assert ask(account, clock, key=key) == first
    trials.work(first.pk, clock)
    assert ask(account, clock, key=key) == first
    assert len(wire.sent) == 1
    assert used(account) == [1, 1]


def test_one_test_of_an_account_is_open_at_a_time(account, wire, clock, rung):
    ask(account, clock)
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "test_under_way"
    assert used(account) == [1, 1]
    row = TestSend.objects.get()
    row.pk, row.key = None, "0" * 32
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)


def test_the_pause_holds_for_tests_and_says_until_when(account, wire, clock, rung):
    trials.work(ask(account, clock).pk, clock)
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "minimum_gap"
    assert "12:01:00" in str(refused.value)
    clock.move(60)
    trials.work(ask(account, clock).pk, clock)
    assert len(wire.sent) == 2


def test_the_caps_hold_for_tests(account, wire, clock, rung):
    SendingAccount.objects.update(hour_cap=1, gap_min_s=0, gap_max_s=0)
    trials.work(ask(account, clock).pk, clock)
    clock.move(1)
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "account_hourly_cap"
    assert "13:00:00" in str(refused.value)
    assert used(account) == [1, 1]


@pytest.mark.parametrize(
    ("error", "state", "left"),
    [
        (TryLater("rate_limited", SENTENCE), "later", [0, 0]),
        (Rejected("message_refused", SENTENCE, fault=Fault.REQUEST), "failed", [0, 0]),
        (Rejected("person_not_found", SENTENCE, fault=Fault.LEAD), "failed", [0, 0]),
        (Unsure("provider_fault", SENTENCE, fault=Fault.PROVIDER), "unknown", [1, 1]),
    ],
)
def test_the_three_failures_are_told_in_words(account, wire, clock, rung, error, state, left):
    wire.answers["ourboss"] = [error]
    test = ask(account, clock)
    trials.work(test.pk, clock)
    trials.work(test.pk, clock)
    test.refresh_from_db()
    account.refresh_from_db()
    assert (test.state, test.reason, test.why) == (state, error.code, SENTENCE)
    assert used(account) == left
    assert account.state == "active"
    assert account.lease_until is None
    assert wire.sent == []
    assert account.later_in_row == (state == "later")


def test_a_refused_account_is_blocked_as_by_any_message(account, wire, clock, rung):
    wire.answers["ourboss"] = [Rejected("session_invalid", SENTENCE, fault=Fault.ACCOUNT)]
    test = ask(account, clock)
    trials.work(test.pk, clock)
    test.refresh_from_db()
    account.refresh_from_db()
    assert test.state == "failed"
    assert (account.state, account.block_code) == ("blocked", "session_invalid")
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "session_invalid"


def test_a_worker_lost_before_the_call_leaves_a_failed_test(account, wire, clock, rung, settings):
    test = ask(account, clock)
    assert tasks.next_test_at() == OVERDUE
    clock.move(settings.LEASE_S + 1)
    trials.work(test.pk, clock)
    test.refresh_from_db()
    assert (test.state, test.reason) == ("failed", "test_not_taken")
    assert used(account) == [0, 0]
    assert wire.sent == []
    assert tasks.next_test_at() is None


def test_a_worker_lost_in_the_call_leaves_an_unknown_test(account, wire, clock, rung, settings):
    test = ask(account, clock)
    assert trials._begin(test.pk, clock.now()) is not None
    assert trials._begin(test.pk, clock.now()) is None
    test.refresh_from_db()
    assert tasks.next_test_at() == test.lease_until
    clock.move(settings.LEASE_S + 1)
    trials.work(test.pk, clock)
    test.refresh_from_db()
    assert (test.state, test.reason) == ("unknown", "test_unknown")
    assert used(account) == [1, 1]
    assert wire.sent == []


def test_a_late_answer_changes_nothing(account, wire, clock, rung, settings):
    test = ask(account, clock)
    token = test.claim_token
    trials._begin(test.pk, clock.now())
    clock.move(settings.LEASE_S + 1)
    trials.work(test.pk, clock)
    trials._settle(test.pk, token, clock.now(), "sent", provider_id="mid.late")
    test.refresh_from_db()
    assert (test.state, test.provider_id) == ("unknown", "")


def test_a_stop_that_comes_between_keeps_it_from_leaving(acme, account, wire, clock, rung):
    test = ask(account, clock)
    acme.stopped_at = clock.now()
    acme.save()
    trials.work(test.pk, clock)
    test.refresh_from_db()
    assert (test.state, test.reason) == ("failed", "tenant_stop")
    assert wire.sent == []
    assert used(account) == [0, 0]
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "tenant_stop"


def test_a_campaign_waits_while_a_test_holds_the_account(acme, account, wire, clock, rung):
    SendingAccount.objects.update(gap_min_s=0, gap_max_s=0)
    campaign = make_campaign(acme, accounts=[account], state="running")
    make_message(campaign, make_lead(acme, "ana"), due_at=clock.now())
    SendingAccount.objects.update(next_at=clock.now())
    test = ask(account, clock)
    work(clock, wire, budget_s=0.5)
    assert wire.sent == []
    trials.work(test.pk, clock)
    work(clock, wire)
    assert wire.handles == ["ourboss", "ana"]
    assert wire.doubled() == []


def test_a_busy_account_refuses_a_test(account, wire, clock, rung):
    until = clock.now() + timedelta(seconds=30)
    SendingAccount.objects.update(claim_token="t", lease_until=until)
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "account_busy"
    assert not TestSend.objects.exists()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("ourshop", "recipient_is_account"),
        ("@OurShop", "recipient_is_account"),
        ("othershop", "recipient_is_account"),
        ("ana", "recipient_is_lead"),
        ("17841400000000001", "recipient_is_lead"),
        ("gone", "suppressed"),
        ("not a handle!", "bad_recipient"),
        ("x" * 31, "bad_recipient"),
    ],
)
def test_who_is_no_recipient(acme, account, given, code):
    make_account(acme, "othershop")
    make_lead(acme, "ana", instagram_scoped_id="17841400000000001")
    digest = digest_for(acme.pk)("handle", "gone")
    Suppression.objects.create(tenant=acme, kind="handle", digest=digest, reason="test")
    with pytest.raises(Refused) as refused:
        trials.set_recipient(account, given, by=None)
    assert refused.value.code == code
    account.refresh_from_db()
    assert account.test_recipient == "ourboss"


def test_a_recipient_who_became_a_lead_gets_no_test(acme, account, wire, clock, rung):
    make_lead(acme, "ourboss")
    with pytest.raises(Refused) as refused:
        ask(account, clock)
    assert refused.value.code == "recipient_is_lead"


def test_a_scoped_id_goes_out_as_one(account, wire, clock, rung):
    trials.set_recipient(account, " 17841400000000009 ", by=None)
    trials.work(ask(account, clock).pk, clock)
    assert [(m.to_id, m.to_handle) for m in wire.sent] == [("17841400000000009", "")]


def test_the_trail_holds_no_text_and_no_handle(account, wire, clock, rung):
    trials.set_recipient(account, "somebody", by=None)
    trials.work(ask(account, clock, "A secret text").pk, clock)
    entries = list(AuditEntry.objects.values_list("action", "data"))
    assert ("account.test_recipient_changed", {"is_set": True}) in entries
    assert "secret" not in str(entries)
    assert "somebody" not in str(entries)


# --- The pages --------------------------------------------------------------------------------

PAGE = "/t/acme/accounts/test-message/"


def form_of(of, person, **changes):
    values = {"text": "Oi {first_name}!", "account": of.pk, "lead": person.pk}
    return {**values, "key": "a" * 32, "do": "send", **changes}


def test_the_page_sends_what_it_shows(acme, alice, account, wire, clock, rung, browser):
    lead = make_lead(acme, "ana", name="Ana Lima")
    page = browser(alice)
    assert "ourshop → ourboss" in page.get(PAGE).content.decode()
    shown = browser(alice, htmx="said").post(PAGE, form_of(account, lead, do="show"))
    assert "Oi Ana!" in shown.content.decode()
    assert "<html" not in shown.content.decode()
    assert not TestSend.objects.exists()
    for _click in range(2):
        assert page.post(PAGE, form_of(account, lead)).status_code == 302
    test = TestSend.objects.get()
    assert (test.text, test.created_by) == ("Oi Ana!", alice)
    part = browser(alice, htmx="tests").get(PAGE).content.decode()
    assert "every 2s" in part
    tasks.send_tests()
    part = browser(alice, htmx="tests").get(PAGE).content.decode()
    assert "every 2s" not in part
    assert [m.to_handle for m in wire.sent] == ["ourboss"]
    assert "ourboss" in page.get(f"/t/acme/accounts/{account.pk}/").content.decode()


def test_a_missing_value_is_said_and_nothing_sent(acme, alice, account, rung, browser):
    lead = make_lead(acme, "ana", name="Ana Lima", city="")
    answer = browser(alice).post(PAGE, form_of(account, lead, text="Oi de {city}"))
    assert answer.status_code == 200
    assert "city" in answer.content.decode()
    assert not TestSend.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [{"key": "x"}, {"account": "999999"}, {"lead": "999999"}, {"text": ""}, {"text": "{nope}"},
     {"account": "\x00"}, {"lead": "-1"}],
)  # fmt: skip
def test_garbage_sends_nothing(acme, alice, account, rung, browser, changes):
    lead = make_lead(acme, "ana")
    assert browser(alice).post(PAGE, form_of(account, lead, **changes)).status_code == 200
    assert not TestSend.objects.exists()


def test_another_tenants_rows_cannot_be_used(acme, rival, alice, account, rung, browser):
    theirs = make_account(rival, "theirs", test_recipient="theirboss")
    stranger = make_lead(rival, "stranger", name="Sig Stranger")
    query = f"?account={theirs.pk}&campaign={make_campaign(rival).pk}"
    page = browser(alice).get(PAGE + query).content.decode()
    assert "theirs" not in page
    assert "Stranger" not in page
    with scope.as_tenant(acme):
        lead = make_lead(acme, "ana")
    for changes in ({"account": theirs.pk}, {"lead": stranger.pk}):
        browser(alice).post(PAGE, form_of(account, lead, **changes))
    with scope.as_system("test"):
        assert not TestSend.objects.exists()


@pytest.mark.parametrize(("role", "status"), [("operator", 302), ("reviewer", 403)])
def test_operators_send_tests_and_managers_say_to_whom(acme, account, rung, browser, role, status):
    client = browser(make_member(acme, role).user)
    lead = make_lead(acme, "ana")
    assert client.post(PAGE, form_of(account, lead)).status_code == status
    address = f"/t/acme/accounts/{account.pk}/recipient/"
    assert client.post(address, {"recipient": "me"}).status_code == 403


def test_the_recipient_is_set_on_its_page(acme, alice, account, browser):
    address = f"/t/acme/accounts/{account.pk}/recipient/"
    assert "ourboss" in browser(alice).get(address).content.decode()
    assert browser(alice).post(address, {"recipient": "@New.Boss"}).status_code == 302
    account.refresh_from_db()
    assert account.test_recipient == "new.boss"
    refused = browser(alice).post(address, {"recipient": "x" * 65}, follow=True)
    assert "Give an Instagram handle" in refused.content.decode()
    account.refresh_from_db()
    assert account.test_recipient == "new.boss"


def test_the_draft_and_the_template_lead_there(acme, alice, account, browser):
    campaign = make_campaign(acme, accounts=[account], body="Draft text")
    template = Template.objects.create(tenant=acme, name="First", body="Library text")
    page = browser(alice)
    link = f"{PAGE}?template={template.pk}"
    assert link in page.get(f"/t/acme/templates/{template.pk}/").content.decode()
    assert "Library text" in page.get(link).content.decode()
    answer = page.post(
        f"/t/acme/campaigns/{campaign.pk}/message/",
        {"text": "Another text", "accounts": account.pk, "always": "on", "then": "test"},
    )
    assert answer["Location"] == f"{PAGE}?campaign={campaign.pk}"
    assert "Another text" in page.get(answer["Location"]).content.decode()
    assert Campaign.objects.get().state == "draft"


def test_the_setup_step_is_proved_by_a_test_that_was_sent(
    acme, alice, account, wire, clock, rung, browser
):
    def done():
        steps = browser(alice).get("/t/acme/").context["setup"]
        return {str(step.label): step.done for step in steps}["Send yourself a test message"]

    assert not done()
    test = ask(account, clock)
    assert not done()
    trials.work(test.pk, clock)
    assert done()


# --- Races ------------------------------------------------------------------------------------


def at_once(act, times=8):
    """Run `act(number)` in threads at one instant; the exceptions they ended with."""
    start, errors = threading.Barrier(times), []

    def one(number):
        try:
            start.wait()
            act(number)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_of_many_at_one_instant_one_is_sent(acme, wire, clock, rung):
    account = make_account(acme, "ourshop", test_recipient="ourboss")

    def press(number):
        with scope.as_tenant(acme):
            ask(account, clock, key=f"{number % 2:032x}")

    errors = at_once(press)
    assert {getattr(error, "code", error) for error in errors} == {"test_under_way"}
    with scope.as_tenant(acme):
        test = TestSend.objects.get()

        def call(number):
            with scope.as_tenant(acme):
                trials.work(test.pk, clock)

        assert at_once(call) == []
        assert len(wire.sent) == 1
        assert used(account) == [1, 1]
