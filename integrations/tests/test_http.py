"""`call()` against real sockets: what broke, and whether it can have been done."""

import gzip
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure, words
from integrations.http import call, retry_after
from integrations.tests.raw_server import CHUNKED, OK, error_of, post


@pytest.fixture(autouse=True)
def _loopback(settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_an_answer_comes_back_parsed(serve):
    server = serve(lambda sock: sock.sendall(OK))
    answer = post(server.url, headers={"Idempotency-Key": "k"}, params={"q": "a b"})
    assert (answer.status, answer.body, answer.at("a")) == (200, {"a": 1}, 1)
    head, body = server.requests[0].split(b"\r\n\r\n")
    assert head.startswith(b"POST /x?q=a%20b HTTP/1.1") or head.startswith(b"POST /x?q=a+b HTTP")
    assert b"dempotency-" in head
    assert body == b'{"n":1}'


def test_an_empty_success_is_an_answer_without_body(serve):
    server = serve(lambda sock: sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"))
    assert post(server.url).body is None


def test_a_refused_connection_was_surely_not_done():
    error = error_of(f"http://127.0.0.1:{closed_port()}/")
    assert isinstance(error, TryLater)
    assert (error.code, error.fault) == ("connect_failed", Fault.PROVIDER)


def test_an_unknown_host_was_surely_not_done(monkeypatch):
    def fail(*args, **kwargs):
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert isinstance(error_of("http://nowhere.example/"), TryLater)


def test_a_resolver_that_hangs_ends_with_the_deadline(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait(5) and [])
    error = error_of("http://slow.example/", deadline_s=0.2)
    over.set()
    assert isinstance(error, TryLater)
    assert error.code == "connect_failed"


def test_a_deadline_that_is_over_before_the_first_byte_is_proof(serve):
    server = serve(lambda sock: sock.sendall(OK))
    error = error_of(server.url, deadline_s=-1)
    assert isinstance(error, TryLater)
    assert server.requests in ([], [b""])


def drip(sock: socket.socket) -> None:
    """Feed header bytes for ever, each well within any read timeout."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not threading.Event().wait(0.02):
        sock.sendall(b"a")


BROKEN: dict[str, tuple[Callable[[socket.socket], object], str]] = {
    "never answers": (lambda sock: sock.recv(1), "no_answer"),
    "drips": (drip, "no_answer"),
    "cut before answering": (lambda sock: None, "connection_cut"),
    "cut in the head": (lambda sock: sock.sendall(b"HTTP/1.1 200 O"), "connection_cut"),
    "cut in the body": (lambda sock: sock.sendall(OK[:-3]), "connection_cut"),
    "not HTTP": (lambda sock: sock.sendall(b"<<<garbage>>>\r\n\r\n"), "connection_cut"),
    "not JSON": (lambda sock: sock.sendall(OK.replace(b"}", b"<")), "garbage_answer"),
    "too large": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b" " * 3_000_000
        ),
        "garbage_answer",
    ),
    "a bomb": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
            + gzip.compress(b" " * 50_000_000)
        ),
        "garbage_answer",
    ),
    "cut in a chunk": (
        lambda sock: sock.sendall(CHUNKED[:-9]),
        "connection_cut",
    ),
    "two lengths": (
        lambda sock: sock.sendall(OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n")),
        "connection_cut",
    ),
    "another protocol": (
        lambda sock: sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        ),
        "connection_cut",
    ),
    "a head without end": (
        lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-More: a\r\n" * 250_000),
        "garbage_answer",
    ),
    "an unknown coding": (
        lambda sock: sock.sendall(OK.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n")),
        "garbage_answer",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_broke_after_writing_is_perhaps_done_when_a_repeat_would_harm(serve, name):
    act, code = BROKEN[name]
    server = serve(act)
    short = {"deadline_s": 0.3} if code == "no_answer" else {}
    error = error_of(server.url, **short)
    assert (type(error), error.code) == (Unsure, code)
    again = error_of(server.url, effect=False, **short)
    assert (type(again), again.code) == (TryLater, code)
    assert error.sentence != again.sentence
    assert error.__context__ is None, "a library's exception carries the request and its token"


@pytest.mark.parametrize(
    ("status", "kind", "fault"),
    [
        (302, Rejected, Fault.REQUEST),
        (400, Rejected, Fault.REQUEST),
        (401, Rejected, Fault.ACCOUNT),
        (403, Rejected, Fault.ACCOUNT),
        (404, Rejected, Fault.REQUEST),
        (408, Unsure, Fault.PROVIDER),
        (429, TryLater, Fault.PROVIDER),
        (500, Unsure, Fault.PROVIDER),
        (502, Unsure, Fault.PROVIDER),
        (503, TryLater, Fault.PROVIDER),
        (504, Unsure, Fault.PROVIDER),
    ],
)
def test_a_status_alone_is_sorted(status, kind, fault):
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text="<html>", headers={"location": "/elsewhere"})

    wire = httpx.MockTransport(answer)
    with pytest.raises(ProviderError) as caught:
        call(wire, "POST", "https://p.example/", effect=True, deadline_s=1)
    assert (type(caught.value), caught.value.fault) == (kind, fault)
    assert caught.value.status == status
    if kind is Unsure:
        with pytest.raises(TryLater):
            call(wire, "POST", "https://p.example/", effect=False, deadline_s=1)


def test_the_adapter_sorts_first(serve):
    server = serve(lambda sock: sock.sendall(OK))

    def classify(status, headers, body):
        assert (status, body) == (200, {"a": 1})
        return Rejected("no", "No.", fault=Fault.LEAD, status=status)

    assert error_of(server.url, classify=classify).code == "no"


@pytest.mark.parametrize("url", ["http://localhost:1/", "http://127.0.0.1:1/", "http://[::1]:1/"])
def test_private_addresses_are_refused(settings, url):
    settings.OUTBOUND_ALLOW_PRIVATE = False
    error = error_of(url)
    assert (type(error), error.code) == (Rejected, "address_refused")


def test_one_private_address_among_public_ones_spoils_the_name(settings, monkeypatch):
    settings.OUTBOUND_ALLOW_PRIVATE = False
    rows = [(2, 1, 6, "", (address, 80)) for address in ("1.1.1.1", "10.0.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: rows)
    assert error_of("http://rebound.example/").code == "address_refused"


@pytest.mark.parametrize("token", ["new\nline", "naïve", "a\x00b"])
def test_a_token_that_cannot_be_a_header_is_refused_before_the_call(serve, token):
    server = serve(lambda sock: sock.sendall(OK))
    error = error_of(server.url, headers={"Authorization": f"Bearer {token}"})
    assert (type(error), error.code) == (Rejected, "request_invalid")
    assert token not in f"{error!r} {error.detail}"
    assert all(not request for request in server.requests)


@pytest.mark.parametrize("url", ["ftp://p.example/", "http://", "nonsense"])
def test_an_address_that_is_none_is_refused(url):
    assert type(error_of(url)) is Rejected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("1.5", 1.5),
        ("-4", 0),
        ("999999999", 86400),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0),
        ("inf", None),
        ("nan", None),
        ("tomorrow", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    wait = retry_after({"retry-after": value}, datetime(2026, 1, 1, tzinfo=UTC))
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_words_keep_no_secrets_and_no_walls_of_text():
    said = "Bad token Bearer abc.def\x00 for EAAB1234567890xyz and the text hello there"
    kept = words(said + " x" * 1000, "hello there")
    assert len(kept) == 300
    for secret in ("abc.def", "EAAB", "hello", "\x00"):
        assert secret not in kept
