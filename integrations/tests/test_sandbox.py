"""The sandbox through the real adapters: one port, real HTTP, and a witness that counts."""

import json

import httpx
import pytest

from integrations import http
from integrations.errors import ProviderError, Rejected, TryLater, Unsure
from integrations.ghl.client import FIELDS, GoHighLevel
from integrations.instagram.client import InstagramGraph
from integrations.ports import Contact, Created, DirectMessage
from integrations.tests.live import LiveSandbox

ANA = Contact(
    key="lead:1",
    handle="ana",
    first_name="Ana",
    email="ana@clinic.example",
    tags=("Prospectado",),
    fields={"outreach_sent_at": "2026-03-04", "source_channel": "outbound_instagram_dm"},
)


def instagram(sandbox, *, token="t", deadline_s=5.0) -> InstagramGraph:
    return InstagramGraph(
        http.pool(),
        base_url=sandbox.instagram_url,
        account_id="acc",
        token=token,
        deadline_s=deadline_s,
    )


def ghl(sandbox, *, token="t", location="LOC", ready=True) -> GoHighLevel:
    crm = GoHighLevel(
        http.pool(),
        base_url=sandbox.ghl_url,
        location_id=location,
        token=token,
        deadline_s=5,
        field_ids={},
    )
    if ready:
        crm.ensure_fields(FIELDS)
    return crm


def message(key: str = "k1", text: str = "Oi") -> DirectMessage:
    return DirectMessage(to_id="178", to_handle="ana", text=text, key=key)


def error_of(do) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        do()
    return caught.value


def test_it_witnesses_every_delivery_and_names_the_doubled_keys(sandbox):
    channel = instagram(sandbox)
    ids = {channel.send(message(key)).provider_id for key in ("k1", "k2", "k1")}
    assert len(ids) == 3
    state = sandbox.state()
    assert [(d["key"], d["n"], d["account"]) for d in state["deliveries"]] == [
        ("k1", 1, "acc"),
        ("k2", 1, "acc"),
        ("k1", 2, "acc"),
    ]
    assert state["duplicates"] == ["k1"]
    assert sandbox.state(summary=True) == {"counts": state["counts"]}
    assert state["counts"]["deliveries"] == 3
    assert channel.check() == "sandbox.acc"


def test_the_whole_life_of_a_contact(sandbox):
    crm = ghl(sandbox)
    made = crm.create(ANA)
    assert made.new
    assert crm.create(ANA) == Created(made.external_id, new=False)
    crm.add_tags(made.external_id, ("outbound-instagram", "prospectado"))
    crm.update(made.external_id, Contact("lead:1", "ana", fields={"outreach_sent_at": "later"}))
    kept = crm.read(made.external_id)
    assert kept.tags == {"prospectado", "outbound-instagram"}
    assert kept.fields == {
        "instagram_username": "ana",
        "outreach_sent_at": "later",
        "source_channel": "outbound_instagram_dm",
    }
    assert crm.find("ana") == made.external_id
    assert crm.find("an") is None
    (shown,) = sandbox.state()["contacts"]
    assert shown["customFields"] == kept.fields
    assert (shown["firstName"], shown["locationId"]) == ("Ana", "LOC")
    assert crm.check() == "Location LOC"
    assert crm.ensure_fields(FIELDS) == crm.field_ids, "a second time finds them"


def test_locations_do_not_see_each_other(sandbox):
    ghl(sandbox).create(ANA)
    other = ghl(sandbox, location="ELSE")
    assert other.find("ana") is None
    assert other.create(ANA).new


def test_a_deleted_contact_is_gone(sandbox):
    crm = ghl(sandbox)
    made = crm.create(ANA)
    headers = {"Authorization": "Bearer t", "Version": "2021-07-28"}
    httpx.delete(f"{sandbox.ghl_url}/contacts/{made.external_id}", headers=headers)
    for do in (lambda: crm.read(made.external_id), lambda: crm.update(made.external_id, ANA)):
        assert error_of(do).code == "contact_gone"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("expired", "session_invalid"),
        ("agency", "agency_token"),
        ("pit@ELSE", "location_refused"),
    ],
)
def test_ghl_tokens_that_are_refused(sandbox, token, code):
    assert error_of(lambda: ghl(sandbox, token=token)).code == code
    assert ghl(sandbox, token="pit@LOC").check()


@pytest.mark.parametrize(
    ("token", "code"), [("expired", "session_invalid"), ("challenge", "challenge")]
)
def test_instagram_tokens_that_are_refused(sandbox, token, code):
    assert error_of(lambda: instagram(sandbox, token=token).send(message())).code == code
    foreign = instagram(sandbox, token="t@someone")
    assert error_of(lambda: foreign.send(message())).code == "account_not_found"
    assert sandbox.state(summary=True)["counts"]["deliveries"] == 0


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/contacts/", {"Authorization": ""}, {"locationId": "L"}, 401),
        ("POST", "/contacts/", {"Version": "2021-04-15"}, {"locationId": "L"}, 400),
        ("POST", "/contacts/", {}, {"locationId": "L", "foo": 1}, 422),
        ("POST", "/contacts/", {}, {"firstName": "A"}, 422),
        ("POST", "/contacts/", {}, {"locationId": "L", "email": ""}, 422),
        ("POST", "/contacts/", {}, {"locationId": "L", "phone": "no"}, 400),
        ("POST", "/contacts/", {}, {"locationId": "L", "tags": "a"}, 422),
        ("POST", "/contacts/", {}, {"locationId": "L", "customFields": [{"x": 1}]}, 422),
        ("POST", "/contacts/", {}, ["no object"], 400),
        ("PUT", "/contacts/none", {}, {}, 404),
        ("POST", "/contacts/search", {}, {"page": 1}, 422),
        ("POST", "/locations/L/customFields", {}, {"name": "A", "dataType": "WORD"}, 422),
        ("GET", "/nothing", {}, None, 404),
    ],
)
def test_ghl_refuses_what_the_live_service_refuses(sandbox, method, path, headers, body, status):
    right = {"Authorization": "Bearer t", "Version": "2021-07-28"}
    answer = httpx.request(method, sandbox.ghl_url + path, headers={**right, **headers}, json=body)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert answer.headers["x-ratelimit-max"] == "100"


def test_put_with_a_location_is_refused_and_with_tags_replaces_them(sandbox):
    made = ghl(sandbox).create(ANA)
    url = f"{sandbox.ghl_url}/contacts/{made.external_id}"
    headers = {"Authorization": "Bearer t", "Version": "2021-07-28"}
    assert httpx.put(url, headers=headers, json={"locationId": "LOC"}).status_code == 422
    body = {"tags": ["New"], "customFields": [{"id": "x", "value": "does nothing"}]}
    contact = httpx.put(url, headers=headers, json=body).json()["contact"]
    assert contact["tags"] == ["new"]
    assert "does nothing" not in json.dumps(contact)
    gone = httpx.request("DELETE", f"{url}/tags", headers=headers, json={"tags": ["new"]})
    assert gone.json()["tags"] == []
    place = f"{sandbox.ghl_url}/locations/LOC/tags"
    assert httpx.post(place, headers=headers, json={"name": "Hot"}).json()["tag"]["name"] == "hot"
    names = {tag["name"] for tag in httpx.get(place, headers=headers).json()["tags"]}
    assert names == {"prospectado", "new", "hot"}


@pytest.mark.parametrize(
    "body",
    [
        {"message": {"text": "a"}},
        {"recipient": {"id": ""}, "message": {"text": "a"}},
        {"recipient": {"id": "1"}},
        {"recipient": {"id": "1"}, "message": {"text": "é" * 501}},
        [],
    ],
)
def test_instagram_refuses_what_the_live_service_refuses(sandbox, body):
    url = f"{sandbox.instagram_url}/acc/messages"
    answer = httpx.post(url, headers={"Authorization": "Bearer t"}, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)
    assert httpx.post(url, json=body).json()["error"]["code"] == 190


# What a rule does: the error at our side, and how many deliveries were truly made.
FAULTS = [
    ({"status": 429}, TryLater, 0),
    ({"status": 429, "retry_after": 30}, TryLater, 0),
    ({"status": 500}, Unsure, 0),
    ({"status": 500, "accept": True}, Unsure, 1),
    ({"status": 503}, TryLater, 0),
    ({"status": 400, "body": {"error": {"code": 368}}}, Rejected, 0),
    ({"cut": "before"}, Unsure, 0),
    ({"cut": "after"}, Unsure, 1),
    ({"garbage": True}, Unsure, 1),
    ({"expired_token": True}, Rejected, 0),
    ({"challenge": True}, Rejected, 0),
]


@pytest.mark.parametrize(("rule", "kind", "delivered"), FAULTS)
def test_a_fault_rule_is_seen_as_what_it_is(sandbox, rule, kind, delivered):
    sandbox.faults([{"provider": "instagram", "next": 1, **rule}])
    error = error_of(lambda: instagram(sandbox).send(message()))
    assert type(error) is kind
    if isinstance(error, TryLater) and "retry_after" in rule:
        assert error.after is not None
        assert error.after.total_seconds() == 30
    assert sandbox.state(summary=True)["counts"]["deliveries"] == delivered
    instagram(sandbox).send(message("k2"))


def test_a_late_answer_is_unsure_and_arrives_all_the_same(sandbox):
    sandbox.faults([{"path": "/messages$", "next": 1, "delay_ms": 400}])
    error = error_of(lambda: instagram(sandbox, deadline_s=0.2).send(message()))
    assert type(error) is Unsure
    sandbox.faults([{"path": "/messages$", "next": 1, "delay_ms": 500}])
    instagram(sandbox).send(message("k2"))
    assert sandbox.state(summary=True)["counts"]["deliveries"] == 2


def test_rules_choose_by_provider_path_method_account_and_count(sandbox):
    sandbox.faults(
        [
            {"provider": "ghl", "account": "OTHER", "status": 500},
            {"provider": "ghl", "path": "/contacts/", "method": "POST", "next": 2, "status": 503},
            {"provider": "instagram", "probability": 0, "status": 500},
        ]
    )
    crm = ghl(sandbox)
    for _ in range(2):
        assert type(error_of(lambda: crm.create(ANA))) is TryLater
    assert crm.create(ANA).new
    instagram(sandbox).send(message())
    rules = httpx.get(f"{sandbox.url}/_sandbox/faults").json()["rules"]
    assert [(rule.get("next"), rule["hits"]) for rule in rules] == [(None, 0), (0, 2), (None, 0)]
    sandbox.clear()
    assert httpx.get(f"{sandbox.url}/_sandbox/faults").json()["rules"] == []


@pytest.mark.parametrize(
    "rules",
    [
        {"no": "list"},
        [1],
        [{"provider": "x"}],
        [{"stauts": 1}],
        [{"path": "("}],
        [{"status": "500"}],
        [{"probability": 2}],
        [{"cut": "maybe"}],
        [{"next": -1}],
    ],
)
def test_a_rule_that_is_none_is_refused_and_changes_nothing(sandbox, rules):
    sandbox.faults([{"status": 500}])
    answer = httpx.post(f"{sandbox.url}/_sandbox/faults", json=rules)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert len(httpx.get(f"{sandbox.url}/_sandbox/faults").json()["rules"]) == 1


def test_the_journal_survives_a_kill_and_a_torn_line(tmp_path, settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True
    journal = tmp_path / "sandbox.jsonl"
    first = LiveSandbox(state_file=journal)
    instagram(first).send(message())
    made = ghl(first).create(ANA)
    before = first.state()
    first.kill()
    with journal.open("ab") as file:
        file.write(b'{"e":"deliv')
    with LiveSandbox(state_file=journal) as second:
        after = second.state()
        for part in ("contacts", "deliveries", "duplicates"):
            assert after[part] == before[part]
        instagram(second).send(message())
        assert ghl(second).find("ana") == made.external_id
    with LiveSandbox(state_file=journal) as third:
        assert third.state()["duplicates"] == ["k1"]
        third.reset()
    assert journal.read_bytes() == b""


def test_the_limit_is_enforced_on_request(settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True
    with LiveSandbox(limits=True) as sandbox:
        crm = ghl(sandbox, ready=False)
        seen = set()
        for _ in range(205):
            try:
                crm.check()
            except TryLater as error:
                seen.add(error.code)
                break
        assert seen == {"rate_limited"}


def test_it_is_well(sandbox):
    assert httpx.get(f"{sandbox.url}/_sandbox/health").json() == {"status": "ok"}
