"""GoHighLevel's adapter: the bodies it sends, and what each answer means."""

import json
from datetime import timedelta

import httpx
import pytest

from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure
from integrations.ghl.client import FIELDS, GoHighLevel
from integrations.ports import Contact, Created, Crm

IDS = {"instagram_username": "f1", "outreach_sent_at": "f2", "source_channel": "f3"}
ANA = Contact(
    key="lead:1",
    handle="ana.silva",
    first_name="Ana",
    email="ana@clinic.example",
    tags=("prospectado", "outbound-instagram"),
    fields={"outreach_sent_at": "2026-03-04T12:00:00-03:00", "source_channel": ""},
)


class Ghl:
    """Answers in turn (the last one for ever) and keeps the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.crm = GoHighLevel(
            httpx.MockTransport(self.answer),
            base_url="https://ghl.example/",
            location_id="LOC",
            token="pit-secret",
            deadline_s=5,
            field_ids=IDS,
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def body(self, at: int = 0):
        return json.loads(self.requests[at].content)

    def line(self, at: int = 0) -> str:
        return f"{self.requests[at].method} {self.requests[at].url.path}"


def says(status: int, message: object = "Bad", headers=None, **more) -> httpx.Response:
    body = {"statusCode": status, "message": message, **more}
    return httpx.Response(status, json=body, headers=headers)


CREATED = httpx.Response(201, json={"contact": {"id": "c1"}})
TWIN = says(
    400,
    "This location does not allow duplicated contacts.",
    meta={"contactId": "c9", "matchingField": "email"},
)


def error_of(do) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        do()
    return caught.value


def test_create_sends_what_the_schema_knows_and_nothing_else():
    ghl = Ghl(CREATED)
    crm: Crm = ghl.crm
    assert crm.create(ANA) == Created("c1", new=True)
    assert ghl.line() == "POST /contacts/"
    assert ghl.requests[0].headers["authorization"] == "Bearer pit-secret"
    assert ghl.requests[0].headers["version"] == "2021-07-28"
    assert ghl.body() == {
        "locationId": "LOC",
        "firstName": "Ana",
        "email": "ana@clinic.example",
        "tags": ["prospectado", "outbound-instagram"],
        "customFields": [
            {"id": "f2", "field_value": "2026-03-04T12:00:00-03:00"},
            {"id": "f1", "field_value": "ana.silva"},
        ],
    }


def test_the_version_is_a_setting(settings):
    settings.GHL_API_VERSION = "v3"
    ghl = Ghl(CREATED)
    ghl.crm.create(ANA)
    assert ghl.requests[0].headers["version"] == "v3"


def test_a_nameless_contact_is_found_by_its_handle():
    ghl = Ghl(CREATED)
    ghl.crm.create(Contact(key="lead:2", handle="bia"))
    assert ghl.body()["firstName"] == "bia"


def test_a_duplicate_that_is_named_is_adopted():
    assert Ghl(TWIN).crm.create(ANA) == Created("c9", new=False)


def test_a_duplicate_without_a_name_is_rejected():
    error = error_of(lambda: Ghl(says(400, "does not allow duplicated contacts")).crm.create(ANA))
    assert isinstance(error, Rejected)
    assert error.code == "contact_duplicate"


def test_a_created_contact_without_an_id_is_unsure():
    assert type(error_of(lambda: Ghl(httpx.Response(201)).crm.create(ANA))) is Unsure


def test_a_success_with_an_error_inside_is_a_refusal():
    answer = httpx.Response(200, json={"error": "no"})
    assert type(error_of(lambda: Ghl(answer).crm.create(ANA))) is Rejected


def test_a_field_without_an_id_stops_the_call():
    ghl = Ghl(CREATED)
    error = error_of(lambda: ghl.crm.create(Contact("lead:3", "bia", fields={"icp": "1"})))
    assert (error.code, error.fault, ghl.requests) == ("field_missing", Fault.ACCOUNT, [])


def test_update_leaves_tags_and_location_alone():
    ghl = Ghl(httpx.Response(200, json={"succeded": True}))
    ghl.crm.update("c1", ANA)
    assert ghl.line() == "PUT /contacts/c1"
    assert set(ghl.body()) == {"firstName", "email", "customFields"}


def test_update_drops_the_value_that_is_another_contacts_once():
    ghl = Ghl(TWIN, httpx.Response(200, json={"succeded": True}))
    ghl.crm.update("c1", ANA)
    assert "email" not in ghl.body(1)
    always = Ghl(TWIN)
    assert error_of(lambda: always.crm.update("c1", ANA)).code == "contact_duplicate"
    assert len(always.requests) == 2


def test_tags_are_added():
    ghl = Ghl(httpx.Response(201, json={"tags": ["a", "b"]}))
    ghl.crm.add_tags("c1", ("a", "b"))
    ghl.crm.add_tags("c1", ())
    assert (ghl.line(), ghl.body(), len(ghl.requests)) == (
        "POST /contacts/c1/tags",
        {"tags": ["a", "b"]},
        1,
    )


def test_read_turns_ids_into_keys():
    ghl = Ghl(
        httpx.Response(
            200,
            json={
                "contact": {
                    "id": "c1",
                    "tags": ["Prospectado"],
                    "customFields": [
                        {"id": "f1", "value": "ana.silva"},
                        {"id": "f3", "value": ["a", "b"]},
                        {"id": "other", "value": "x"},
                    ],
                }
            },
        )
    )
    contact = ghl.crm.read("c1")
    assert contact.tags == {"prospectado"}
    assert contact.fields == {"instagram_username": "ana.silva", "source_channel": "a, b"}


def found(*rows: tuple[str, str]) -> httpx.Response:
    contacts = [{"id": i, "customFields": [{"id": "f1", "value": value}]} for i, value in rows]
    return httpx.Response(200, json={"contacts": contacts, "total": len(contacts)})


def test_find_compares_the_handle_exactly():
    ghl = Ghl(found(("c1", "ana.silva2"), ("c2", "@Ana.Silva"), ("c3", "ana.silva")))
    assert ghl.crm.find("ana.silva") == "c2"
    assert ghl.line() == "POST /contacts/search"
    assert ghl.body()["filters"] == [
        {"field": "customFields.f1", "operator": "eq", "value": "ana.silva"}
    ]
    assert Ghl(found(("c1", "ana.silva2"))).crm.find("ana.silva") is None
    assert Ghl(httpx.Response(200, json={})).crm.find("ana.silva") is None


def test_fields_are_mapped_and_missing_ones_created():
    ghl = Ghl(
        httpx.Response(
            200, json={"customFields": [{"id": "x1", "fieldKey": "contact.outreach_sent_at"}]}
        ),
        httpx.Response(201, json={"customField": {"id": "x2"}}),
        httpx.Response(201, json={"customField": {"id": "x3"}}),
        httpx.Response(201, json={"customField": {"id": "x4"}}),
    )
    ids = ghl.crm.ensure_fields(FIELDS)
    assert ids["outreach_sent_at"] == "x1"
    assert set(ids) == set(FIELDS)
    assert ghl.requests[0].url.query == b"model=contact"
    assert ghl.body(1) == {"name": "Instagram username", "dataType": "TEXT", "model": "contact"}
    assert ghl.crm.field_ids["instagram_username"] == ids["instagram_username"]


def test_check_names_the_location():
    assert Ghl(httpx.Response(200, json={"location": {"name": "Acme"}})).crm.check() == "Acme"


# The contract's table 2.8.
TABLE = [
    (says(404, "Contact not found"), Rejected, Fault.REQUEST, "contact_gone"),
    (says(400, "Contact with id c1 not found"), Rejected, Fault.REQUEST, "contact_gone"),
    (says(400, "Invalid phone number"), Rejected, Fault.REQUEST, "request_refused"),
    (says(401, "Invalid JWT"), Rejected, Fault.ACCOUNT, "session_invalid"),
    (says(401, "Invalid token: expired"), Rejected, Fault.ACCOUNT, "session_invalid"),
    (says(401, "not authorized for this scope."), Rejected, Fault.ACCOUNT, "scope_missing"),
    (says(401, "Token's user type mismatch!"), Rejected, Fault.ACCOUNT, "agency_token"),
    (says(403, "does not have access"), Rejected, Fault.ACCOUNT, "location_refused"),
    (
        says(422, ["property x should not exist", "y"]),
        Rejected,
        Fault.REQUEST,
        "fields_refused",
    ),
    (says(429, "slow"), TryLater, Fault.PROVIDER, "rate_limited"),
    (says(503, "down"), TryLater, Fault.PROVIDER, "provider_unavailable"),
    (httpx.Response(500, text="<html>"), TryLater, Fault.PROVIDER, "provider_fault"),
    (httpx.Response(502), TryLater, Fault.PROVIDER, "provider_fault"),
    (httpx.Response(504), TryLater, Fault.PROVIDER, "provider_fault"),
]


@pytest.mark.parametrize(("answer", "kind", "fault", "code"), TABLE)
def test_an_answer_to_a_harmless_call_is_sorted(answer, kind, fault, code):
    for do in (
        lambda crm: crm.update("c1", ANA),
        lambda crm: crm.add_tags("c1", ("a",)),
        lambda crm: crm.read("c1"),
    ):
        error = error_of(lambda do=do: do(Ghl(answer).crm))
        assert (type(error), error.fault, error.code) == (kind, fault, code)
        assert error.sentence.endswith(".")


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_fault_of_theirs_during_create_is_unsure(status):
    assert type(error_of(lambda: Ghl(httpx.Response(status)).crm.create(ANA))) is Unsure


def test_404_on_create_is_about_no_contact():
    assert error_of(lambda: Ghl(says(404)).crm.create(ANA)).code == "request_refused"


def test_messages_may_be_a_list():
    error = error_of(lambda: Ghl(says(422, ["a", "b"], traceId="T9")).crm.read("c1"))
    assert error.detail == "a; b (trace T9)"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 10),
        ({"X-RateLimit-Interval-Milliseconds": "10000"}, 10),
        ({"X-RateLimit-Interval-Milliseconds": "2500"}, 2.5),
        ({"Retry-After": "7", "X-RateLimit-Interval-Milliseconds": "10000"}, 7),
    ],
)
def test_a_429_waits_one_interval(headers, seconds):
    error = error_of(lambda: Ghl(says(429, headers=headers)).crm.read("c1"))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=seconds)


def test_a_used_up_day_waits_for_the_next():
    answer = says(429, headers={"X-RateLimit-Daily-Remaining": "0", "Retry-After": "1"})
    error = error_of(lambda: Ghl(answer).crm.read("c1"))
    assert isinstance(error, TryLater)
    assert error.after is not None
    assert timedelta(0) < error.after <= timedelta(days=1)
    assert error.after != timedelta(seconds=1)


def test_the_token_is_not_kept():
    error = error_of(lambda: Ghl(says(400, "pit-secret is bad")).crm.read("c1"))
    assert "pit-secret" not in error.detail
