"""What stands below a call, against real sockets: answers read, connections kept, TLS."""

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
from integrations.errors import ProviderError, TryLater, Unsure
from integrations.http import Answer, call
from integrations.tests.raw_server import CHUNKED, KEPT, OK, RawServer, answer_all, error_of, post


@pytest.fixture(autouse=True)
def _loopback(settings):
    settings.OUTBOUND_ALLOW_PRIVATE = True


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


def in_two(first: bytes, then: bytes) -> Callable[[socket.socket], None]:
    def act(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(first)
        sock.sendall(then)

    return act


def test_it_does_not_matter_where_packets_end(serve):
    for answer in (KEPT, CHUNKED):
        for end in range(1, len(answer)):
            server = serve(in_two(answer[:end], answer[end:]))
            assert post(server.url).body == {"a": 1}


@pytest.fixture(scope="module")
def serve_all() -> Iterator[RawServer]:
    """One server for all examples; each sets what it does."""
    server = RawServer(answer_all)
    yield server
    server.stop()


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
