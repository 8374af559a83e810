"""Erasing and exporting a person from the page and from a program."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agenticos import scope
from agenticos.tests import factories
from leads.models import Lead
from tenants.models import IdempotencyRecord

pytestmark = pytest.mark.django_db


def read(lead: Lead) -> Lead:
    with scope.as_tenant(lead.tenant_id):
        return Lead.objects.get(pk=lead.pk)


def test_the_question_names_the_consequences(acme: Any, alice: Any, browser: Any) -> None:
    lead = factories.make_lead(acme, "ana", email="a@example.com", ghl_id="contact9")
    factories.make_lead(acme, "twin", email="a@example.com")
    campaign = factories.make_campaign(acme)
    factories.make_message(campaign, lead)
    factories.make_message(factories.make_campaign(acme), lead, "sent")
    page = browser(alice).get(f"/t/acme/leads/{lead.pk}/erase/").content.decode()
    for said in (
        "1 message that waits for its turn is not sent.",
        "1 message stays in the counts",
        "1 other lead with the same e-mail",
        "contact9",
        "cannot be undone",
    ):
        assert said in page
    assert read(lead).handle == "ana"


@pytest.mark.parametrize("typed", ["", "anna", "erased-1"])
def test_a_wrong_handle_erases_nobody(acme: Any, alice: Any, browser: Any, typed: str) -> None:
    lead = factories.make_lead(acme, "ana")
    for htmx in ("", "dialog-body"):
        answer = browser(alice, htmx=htmx).post(
            f"/t/acme/leads/{lead.pk}/erase/", {"handle": typed}
        )
        assert answer.status_code == 200
    assert read(lead).handle == "ana"


def test_the_handle_typed_erases(acme: Any, alice: Any, browser: Any) -> None:
    lead = factories.make_lead(acme, "ana", name="Ana Lima")
    knocks = browser(alice)
    address = f"/t/acme/leads/{lead.pk}/"
    answer = knocks.post(f"{address}erase/", {"handle": "@Ana"})
    assert (answer.status_code, answer["Location"]) == (302, address)
    page = knocks.get(address).content.decode()
    assert "This person was erased." in page
    assert "Ana Lima" not in page
    assert knocks.get(f"{address}erase/").status_code == 302
    assert knocks.get("/t/acme/leads/").status_code == 200


def test_a_message_in_flight_is_said_on_the_page(acme: Any, alice: Any, browser: Any) -> None:
    lead = factories.make_lead(acme, "ana")
    message = factories.make_message(factories.make_campaign(acme, state="running"), lead)
    with scope.as_tenant(acme):
        type(message).objects.filter(pk=message.pk).update(
            state="claimed", claim_token="t", lease_until=message.created_at,
            dispatched_at=message.created_at,
        )  # fmt: skip
    answer = browser(alice).post(f"/t/acme/leads/{lead.pk}/erase/", {"handle": "ana"})
    assert "is under way" in answer.content.decode()
    assert read(lead).handle == "ana"


def test_an_operator_erases_nobody_and_exports_nobody(acme: Any, browser: Any) -> None:
    lead = factories.make_lead(acme, "ana")
    knocks = browser(factories.make_member(acme, "operator").user)
    for name in ("erase", "subject-export"):
        assert knocks.get(f"/t/acme/leads/{lead.pk}/{name}/").status_code == 403


def test_the_page_exports_a_file(acme: Any, alice: Any, browser: Any) -> None:
    lead = factories.make_lead(acme, "ana", city="São Paulo")
    answer = browser(alice).get(f"/t/acme/leads/{lead.pk}/subject-export/")
    assert answer["Content-Disposition"] == f'attachment; filename="person-{lead.pk}.json"'
    assert json.loads(answer.content)["profile"]["city"] == "São Paulo"


def test_a_program_erases_once_per_key(acme: Any) -> None:
    lead = factories.make_lead(acme, "ana", email="ana@example.com", ghl_id="contact9")
    client = factories.api_client(factories.make_key(acme), **{"Idempotency-Key": "one"})
    path = f"/api/v1/leads/{lead.pk}/erase"
    answers = [client.post(path, {}, "application/json") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["suppressed"] == ["handle", "email"]
    with scope.as_tenant(acme):
        kept = IdempotencyRecord.objects.get().answer
    assert "contact9" not in kept
    again = factories.api_client(factories.make_key(acme)).post(path, {}, "application/json")
    assert (again.status_code, again.json()["code"]) == (409, "erased")


def test_an_answer_that_named_them_is_not_given_again(acme: Any) -> None:
    client = factories.api_client(factories.make_key(acme), **{"Idempotency-Key": "add"})
    body = {"handle": "ana", "email": "ana@example.com"}
    made = client.post("/api/v1/leads", body, "application/json")
    other = factories.api_client(factories.make_key(acme))
    assert (
        other.post(f"/api/v1/leads/{made.json()['id']}/erase", {}, "application/json").status_code
        == 200
    )
    again = client.post("/api/v1/leads", body, "application/json")
    assert (again.status_code, again.content) == (201, b"")


def test_a_program_exports(acme: Any) -> None:
    lead = factories.make_lead(acme, "ana", phone="+5511988887777")
    factories.make_message(factories.make_campaign(acme), lead, "sent", text="Oi Ana!")
    answer = factories.api_client(factories.make_key(acme)).get(
        f"/api/v1/leads/{lead.pk}/subject-export"
    )
    assert answer.json()["profile"]["phone"] == "+5511988887777"
    assert answer.json()["messages"][0]["text"] == "Oi Ana!"
