"""`call()` against real sockets: what broke, and whether it can have been done."""

import gzip
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings as hypothesis, strategies as st

from integrations import addresses, http, transport
from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure, words
from integrations.http import Answer, call, retry_after

KEPT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3\r\n{"a\r\n5\r\n": 1}\r\n0\r\nX-Trailer: 1\r\n\r\n'
)
OK = KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class RawServer:
    """Takes connections, reads one request from each, and hands the socket to `act`."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.act = act
        self.requests: list[bytes] = []
        self.read_first = True
        self.taken = 0
        self.over = threading.Event()
        self.closed = threading.Semaphore(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            try:
                if self.read_first:
                    self.requests.append(sock.recv(65536))
                self.act(sock)
            except OSError:
                pass
        self.closed.release()

    def stop(self) -> None:
        self.over.set()
        self.listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], RawServer]]:
    servers: list[RawServer] = []

    def start(act: Callable[[socket.socket], None]) -> RawServer:
        servers.append(RawServer(act))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def serve_all() -> Iterator[RawServer]:
    """One server for all examples; each sets what it does."""
    server = RawServer(answer_all)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _loopback(settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True


def post(url: str, *, effect: bool = True, deadline_s: float = 5.0, **more) -> Answer:
    return call(
        http.pool(), "POST", url, json={"n": 1}, effect=effect, deadline_s=deadline_s, **more
    )


def error_of(url: str, **more) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        post(url, **more)
    return caught.value


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


def answer_all(sock: socket.socket) -> None:
    """Answer every request of a kept connection."""
    sock.sendall(KEPT)
    while sock.recv(65536):
        sock.sendall(KEPT)


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


def test_gzip_is_read(serve):
    packed = gzip.compress(b'{"a": 2}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    server = serve(lambda sock: sock.sendall(head + packed))
    assert post(server.url).body == {"a": 2}


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED,
        b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}',  # ends with the connection
        b'HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}',
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + KEPT,
        b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED,
        KEPT.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2,h2c\r\n\r\n"),
        KEPT + KEPT.replace(b"1}", b"2}").replace(b"200 OK", b"500 No"),
        KEPT + b"\r\n<<<",
        OK + b"<<<",
    ],
)
def test_an_answer_is_read_to_its_end_and_no_further(serve, answer):
    server = serve(lambda sock: sock.sendall(answer))
    for _ in range(2):
        got = post(server.url)
        assert (got.status, got.body) == (200, {"a": 1})
        assert "x-trailer" not in got.headers
        assert server.closed.acquire(timeout=5)
    assert len(server.requests) == 2


def test_it_does_not_matter_where_packets_end(serve):
    for answer in (KEPT, CHUNKED):
        for end in range(1, len(answer)):

            def in_two(sock: socket.socket) -> None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(answer[:end])  # noqa: B023  # is over before the next
                sock.sendall(answer[end:])  # noqa: B023  # as above

            server = serve(in_two)
            assert post(server.url).body == {"a": 1}


@hypothesis(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.sampled_from([KEPT, CHUNKED, KEPT[:40], CHUNKED[50:], b"\r\n", b"HTTP/1.1 ", b"0\r\n"])
        | st.binary(max_size=20),
        max_size=4,
    ).map(b"".join)
)
def test_whatever_comes_back_is_an_answer_or_sorted(serve_all, sent):
    """A stranger's bytes raise nothing but our own errors, and none that says "surely not"."""
    serve_all.act = lambda sock: sock.sendall(sent)
    try:
        found: object = post(serve_all.url)
    except ProviderError as error:
        found = error
    assert isinstance(found, Answer | Unsure)


def test_a_connection_that_was_idle_for_long_is_not_used_again(serve):
    server = serve(answer_all)
    with transport.Transport() as wire:
        for age in (0, 0, transport.KEEPALIVE_S):
            for _, connection in wire._idle:
                connection.idle_since -= age
            assert call(wire, "POST", server.url, effect=True, deadline_s=5).status == 200
    assert server.taken == 2


def test_no_more_connections_are_kept_than_there_is_room_for(serve, monkeypatch):
    monkeypatch.setattr(transport, "POOL_SIZE", 2)
    servers = [serve(answer_all) for _ in range(4)]
    with transport.Transport() as wire:
        for server in servers:
            assert call(wire, "POST", server.url, effect=True, deadline_s=5).status == 200
        for server in servers[:2]:
            assert server.closed.acquire(timeout=5)
        assert call(wire, "POST", servers[3].url, effect=True, deadline_s=5).status == 200
    assert [server.taken for server in servers] == [1, 1, 1, 1]


def test_a_kept_connection_closed_by_the_provider_is_not_used_again(serve):
    server = serve(lambda sock: sock.sendall(KEPT))
    for _ in range(3):
        assert post(server.url).status == 200
        assert server.closed.acquire(timeout=5)
    assert len(server.requests) == 3


def test_of_kept_connections_that_are_all_closed_none_is_used(serve):
    together = threading.Barrier(4, timeout=5)

    def answer(sock: socket.socket) -> None:
        if len(server.requests) <= 4:
            together.wait()  # so that none takes the connection of another
        sock.sendall(KEPT)

    server = serve(answer)
    calls = [threading.Thread(target=post, args=(server.url,)) for _ in range(4)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
        assert server.closed.acquire(timeout=5)
    assert post(server.url).status == 200
    assert len(server.requests) == 5


def test_a_kept_connection_that_dies_under_the_request_is_unsure(serve):
    def once_then_die(sock: socket.socket) -> None:
        sock.sendall(KEPT)
        sock.recv(65536)

    server = serve(once_then_die)
    assert post(server.url).status == 200
    assert type(error_of(server.url)) is Unsure


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


def test_no_cookie_travels_from_one_call_to_the_next(serve):
    answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: who=acme; Path=/\r\n\r\n")
    server = serve(lambda sock: sock.sendall(answer))
    post(server.url)
    post(server.url)
    assert b"acme" not in b"".join(server.requests)


def test_eight_threads_share_the_connections(serve):
    server, got = serve(answer_all), []

    def work() -> None:
        got.extend(post(server.url).status for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [200] * 160


def test_a_fork_gets_connections_of_its_own(monkeypatch):
    mine = http.pool()
    assert http.pool() is mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert http.pool() is not mine


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


def certificate(name: str, folder) -> str:
    """A file with a key and a certificate for `name`, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return str(file)


def test_a_handshake_that_hangs_ends_with_the_time_to_connect(serve, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(transport, "CONNECT_S", 0.2)
    server = serve(lambda sock: over.wait(5))
    server.read_first = False
    error = error_of(server.url.replace("http:", "https:"), deadline_s=60)
    over.set()
    assert (type(error), error.code, error.detail) == (
        TryLater,
        "connect_failed",
        "ConnectTimeout",
    )


def test_tls_verifies_the_name_though_the_address_is_ours(serve, tmp_path, monkeypatch):
    pem = certificate("provider.example", tmp_path)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(pem)
    bodies: list[bytes] = []

    def speak_tls(plain: socket.socket) -> None:
        with server_side.wrap_socket(plain, server_side=True) as sock:
            bodies.append(sock.recv(65536))
            sock.sendall(OK)

    server = serve(speak_tls)
    server.read_first = False
    port = int(server.url.split(":")[2].split("/")[0])
    trusting = ssl.create_default_context(cafile=pem)
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusting)
    monkeypatch.setattr(addresses, "_resolve", lambda *_: ["127.0.0.1"])
    with transport.Transport() as wire:
        url = f"https://provider.example:{port}/"
        assert call(wire, "POST", url, json={}, effect=True, deadline_s=5).status == 200
        url = f"https://impostor.example:{port}/"
        with pytest.raises(TryLater) as caught:
            call(wire, "POST", url, json={}, effect=True, deadline_s=5)
    assert caught.value.code == "connect_failed"
    assert len(bodies) == 1
