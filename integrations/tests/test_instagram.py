"""Instagram's adapter: what it sends, and what each of Meta's errors means to the ledger."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure
from integrations.instagram import client as instagram
from integrations.instagram.client import InstagramGraph
from integrations.ports import Channel, DirectMessage

ACCOUNT, LEAD, REQUEST, PROVIDER = Fault.ACCOUNT, Fault.LEAD, Fault.REQUEST, Fault.PROVIDER
MESSAGE = DirectMessage(to_id="178", to_handle="ana", text="Oi Ana", key="m-1")


def adapter(answer) -> InstagramGraph:
    """The adapter on a transport that answers with a response, or with what a function returns."""
    give = answer if callable(answer) else lambda request: answer
    return InstagramGraph(
        httpx.MockTransport(give),
        base_url="https://graph.example/v25.0/",
        account_id="acc-1",
        token="token-of-acme",
        deadline_s=5,
    )


def refused(code=None, subcode=None, status=400, headers=None, **more) -> httpx.Response:
    error = {"message": "Said by Meta", "type": "OAuthException", "code": code, **more}
    if subcode is not None:
        error["error_subcode"] = subcode
    return httpx.Response(status, json={"error": error}, headers=headers)


def error_of(answer, message=MESSAGE) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        adapter(answer).send(message)
    return caught.value


def test_it_is_a_channel_that_cannot_open_a_conversation():
    channel: Channel = adapter(httpx.Response(200))
    assert (channel.rules.opens_conversation, channel.rules.max_bytes) == (False, 1000)


def test_a_message_is_one_post_with_its_key():
    seen = []

    def answer(request):
        seen.append(request)
        return httpx.Response(200, json={"recipient_id": "178", "message_id": "mid.7"})

    assert adapter(answer).send(MESSAGE).provider_id == "mid.7"
    (request,) = seen
    assert (request.method, str(request.url)) == (
        "POST",
        "https://graph.example/v25.0/acc-1/messages",
    )
    assert request.headers["authorization"] == "Bearer token-of-acme"
    assert request.headers["idempotency-key"] == "m-1"
    assert json.loads(request.content) == {
        "recipient": {"id": "178"},
        "message": {"text": "Oi Ana"},
    }


def test_without_an_id_it_goes_to_the_handle():
    seen = []

    def answer(request):
        seen.append(json.loads(request.content)["recipient"]["id"])
        return httpx.Response(200, json={"message_id": "mid.8"})

    adapter(answer).send(DirectMessage("", "ana", "Oi", "m-2"))
    assert seen == ["ana"]


def test_text_is_measured_in_bytes_and_refused_before_the_call():
    def answer(request):
        raise AssertionError("nothing may be sent")

    error = error_of(answer, DirectMessage("178", "ana", "é" * 501, "m-3"))
    assert (type(error), error.fault, error.code) == (Rejected, REQUEST, "text_too_long")
    error = error_of(answer, DirectMessage("", "", "Oi", "m-3"))
    assert (type(error), error.fault) == (Rejected, LEAD)


def test_check_reads_the_account():
    def answer(request):
        assert request.url.path == "/v25.0/acc-1"
        return httpx.Response(200, json={"id": "acc-1", "username": "acme.clinic"})

    assert adapter(answer).check() == "acme.clinic"


# One line per row of the contract's table 3.4: (code, subcode) → kind, fault, our code.
TABLE = [
    *((code, None, TryLater, PROVIDER, "provider_temporary") for code in (1, 2, 1200)),
    *((code, None, TryLater, PROVIDER, "rate_limited") for code in (4, 17, 32, 341, 613)),
    *((code, None, TryLater, PROVIDER, "rate_limited") for code in (80001, 80007, 80014)),
    (613, 2534040, TryLater, PROVIDER, "rate_limited"),
    (613, 2018338, Rejected, ACCOUNT, "behaviour_flagged"),
    *((10, sub, Rejected, LEAD, "window_closed") for sub in (2534022, 2018278, 2018065)),
    (10, 2018108, Rejected, LEAD, "person_unavailable"),
    (551, None, Rejected, LEAD, "person_unavailable"),
    (551, 1545041, Rejected, LEAD, "person_unavailable"),
    (200, 1545041, Rejected, LEAD, "person_unavailable"),
    (10, 1893063, Rejected, ACCOUNT, "action_blocked"),
    (368, None, Rejected, ACCOUNT, "action_blocked"),
    (2022, None, Rejected, ACCOUNT, "action_blocked"),
    (100, 2534029, Rejected, ACCOUNT, "action_blocked"),
    (10, 2534077, Rejected, ACCOUNT, "account_not_linked"),
    (100, 2534013, Rejected, ACCOUNT, "account_not_linked"),
    *((code, None, Rejected, ACCOUNT, "permission_missing") for code in (10, 3, 200, 299)),
    (200, 2018028, Rejected, ACCOUNT, "permission_missing"),
    (200, 2534041, Rejected, ACCOUNT, "message_access_off"),
    *((100, sub, Rejected, LEAD, "person_not_found") for sub in (2018001, 2534014, 33)),
    *(
        (100, sub, Rejected, REQUEST, "message_refused")
        for sub in (2534015, 2018109, 2018047, 2018008, None, 424242)
    ),
    (100, 2534025, Rejected, LEAD, "private_reply_used"),
    (10903, None, Rejected, LEAD, "private_reply_used"),
    (100, 2534037, TryLater, LEAD, "thread_taken"),
    (2018300, None, TryLater, LEAD, "thread_taken"),
    (2018321, None, TryLater, LEAD, "thread_taken"),
    (102, None, Rejected, ACCOUNT, "session_invalid"),
    *((190, sub, Rejected, ACCOUNT, "session_invalid") for sub in (None, 458, 460, 463, 464, 467)),
    (190, 459, Rejected, ACCOUNT, "challenge"),
    (230, None, Rejected, LEAD, "consent_missing"),
    (110, 2207013, Rejected, LEAD, "profile_not_visible"),
    (987, None, Rejected, REQUEST, "request_refused"),
]


@pytest.mark.parametrize(("code", "subcode", "kind", "fault", "ours"), TABLE)
@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_the_code_decides_not_the_status(code, subcode, kind, fault, ours, status):
    error = error_of(refused(code, subcode, status))
    if code == 987 and status == 500:
        assert type(error) is Unsure
        return
    if code == 987 and status != 400:
        assert (type(error), error.fault) == (Rejected, ACCOUNT)
        return
    assert (type(error), error.fault, error.code) == (kind, fault, ours)
    assert error.status == status
    assert error.sentence.endswith(".")


def test_every_code_has_a_sentence_of_its_own():
    rows = {row for row in vars(instagram).values() if isinstance(row, instagram.Row)}
    assert len({row.code for row in rows}) == len({row.sentence for row in rows}) == len(rows)


def test_a_transient_error_is_tried_later_whatever_its_code():
    assert type(error_of(refused(987, is_transient=True))) is TryLater


def test_our_own_account_unknown_to_meta_burns_no_lead():
    said = "Object with ID 'acc-1' does not exist"
    error = error_of(refused(100, 33, message=said))
    assert (error.fault, error.code) == (ACCOUNT, "account_not_found")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, Unsure), (502, Unsure), (504, Unsure), (408, Unsure), (503, TryLater), (429, TryLater)],
)
def test_without_an_error_object_the_status_decides(status, kind):
    assert type(error_of(httpx.Response(status, text="<html>Sorry</html>"))) is kind


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"recipient_id": "178"}),
        httpx.Response(200, json={"message_id": ""}),
        httpx.Response(200, json=["mid"]),
        httpx.Response(200),
        httpx.Response(200, text='<<<{"message_id":'),
    ],
)
def test_a_yes_without_a_message_id_is_unsure(answer):
    assert type(error_of(answer)) is Unsure


def test_a_rate_limit_waits_as_long_as_it_is_told():
    error = error_of(refused(4, status=429, headers={"Retry-After": "90"}))
    assert isinstance(error, TryLater)
    assert error.after == timedelta(seconds=90)
    later = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    error = error_of(httpx.Response(429, headers={"Retry-After": later}))
    assert isinstance(error, TryLater)
    assert error.after is not None
    assert error.after > timedelta(minutes=5)
    assert error_of(refused(4, status=429)).after is None


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("x"), TryLater),
        (httpx.ConnectTimeout("x"), TryLater),
        (httpx.PoolTimeout("x"), TryLater),
        (httpx.ReadTimeout("x"), Unsure),
        (httpx.WriteTimeout("x"), Unsure),
        (httpx.ReadError("x"), Unsure),
        (httpx.RemoteProtocolError("x"), Unsure),
    ],
)
def test_what_the_transport_raises_is_sorted(raised, kind):
    def answer(request):
        raise raised

    assert type(error_of(answer)) is kind


def test_neither_token_nor_text_is_kept():
    error = error_of(refused(100, message="token-of-acme said 'Oi Ana'", fbtrace_id="F1"))
    assert "token-of-acme" not in error.detail
    assert "Oi Ana" not in error.detail
    assert "F1" in error.detail


def test_a_foreign_id_cannot_leave_its_segment_of_the_path():
    seen = []

    def answer(request):
        seen.append(request.url.raw_path)
        return httpx.Response(200, json={"username": "x"})

    channel = adapter(answer)
    InstagramGraph(
        channel.wire,
        base_url="https://graph.example/v25.0",
        account_id="../me?x=",
        token="t",
        deadline_s=5,
    ).check()
    assert seen[0].startswith(b"/v25.0/..%2Fme%3Fx%3D")
