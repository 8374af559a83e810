"""One connection to a provider: a request goes out, its answer comes in, within one deadline.

It knows whether bytes have left, so that a call without an answer can be proven not to have been
made. Answers are taken apart by httptools: httpx's own way, through httpcore and h11, needs three
times as long for a call, and all threads of a worker share one interpreter.
"""

import math
import select
import socket
import ssl
import threading
import time
from typing import Final, NamedTuple, Self

import httptools
import httpx

from integrations.addresses import addresses_of

MAX_BODY: Final = 2 * 1024 * 1024
MAX_HEAD: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}


class Call(threading.local):
    """The call this thread is in: when it must end, and whether bytes have left.

    `written` stays None under a transport that is not ours: then nothing can be proven.
    """

    at: float = math.inf
    written: bool | None = None


this_call = Call()


class Origin(NamedTuple):
    """Whom a connection leads to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Self:
        """Raises httpx.UnsupportedProtocol for anything but http and https."""
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(url.scheme)
        return cls(url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])


class Answer(NamedTuple):
    """An answer as it came, and whether the connection can take another request."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    kept: bool


class Connection:
    """A socket whose every wait ends with the call's deadline. Used by one thread at a time."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext, timeout: float) -> None:
        """Connect to a checked address. Raises httpx.ConnectError, ConnectTimeout, Rejected."""
        end = time.monotonic() + _left(httpx.ConnectTimeout, timeout)
        self._sock = _connect(origin, end)
        self.idle_since = math.inf
        if origin.scheme == "https":
            plain = self._sock
            try:
                plain.settimeout(_until(end))
                self._sock = tls.wrap_socket(plain, server_hostname=origin.host)
            except (TimeoutError, httpx.ConnectTimeout):
                plain.close()
                raise httpx.ConnectTimeout("TLS") from None
            except OSError as exc:
                plain.close()
                raise httpx.ConnectError(type(exc).__name__) from None

    def exchange(self, request: bytes) -> Answer:
        """Send a request and read the whole answer. Raises httpx.TransportError, DecodingError."""
        self._send(request)
        with _Reading() as reading:
            room = MAX_HEAD + MAX_BODY
            while not reading.complete:
                data = self._receive()
                if not data and reading.ends_with_connection:
                    break
                if not data:
                    raise httpx.RemoteProtocolError("the answer was cut")
                room -= len(data)
                if room < 0:
                    raise httpx.DecodingError("too large")
                reading.feed(data)
            return reading.answer()

    def is_over(self) -> bool:
        """Whether an idle connection has something to read, which means that it was closed."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self._sock.close()

    def _send(self, buffer: bytes) -> None:
        while buffer:
            left = _left(httpx.WriteTimeout)
            # Said before the bytes go: from here on nobody can prove that none arrived.
            this_call.written = True
            try:
                self._sock.settimeout(left)
                buffer = buffer[self._sock.send(buffer) :]
            except TimeoutError:
                raise httpx.WriteTimeout("deadline") from None
            except OSError as exc:
                raise httpx.WriteError(type(exc).__name__) from None

    def _receive(self) -> bytes:
        left = _left(httpx.ReadTimeout)
        try:
            self._sock.settimeout(left)
            return self._sock.recv(65536)
        except TimeoutError:
            raise httpx.ReadTimeout("deadline") from None
        except OSError as exc:
            raise httpx.ReadError(type(exc).__name__) from None


class _Reading:
    """An answer as far as it has come. What is before it (103) or after it is no part of it.

    The methods that begin with `on_` are httptools', and must not raise.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._status = 0
        self._head = False
        self._kept = False
        self.complete = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._parser  # the two hold each other, and would wait for the collector

    def feed(self, data: bytes) -> None:
        """Take what came next. Raises httpx.RemoteProtocolError."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not self.complete:
                raise httpx.RemoteProtocolError(type(exc).__name__) from None
            self._kept = False

    @property
    def ends_with_connection(self) -> bool:
        """Whether the head is over and says nothing of where the body ends."""
        framing = {b"content-length", b"transfer-encoding"}
        return self._head and not any(name.lower() in framing for name, _ in self._headers)

    def answer(self) -> Answer:
        return Answer(self._status, self._headers, b"".join(self._body), self._kept)

    def on_message_begin(self) -> None:
        if self.complete:
            self._kept = False  # an answer to no request

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if not self.complete:
            self._head = True
            self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self._status < 200:
            self._headers.clear()
            self._head = False
            return
        self.complete = True
        self._kept = self._parser.should_keep_alive()


def _connect(origin: Origin, end: float) -> socket.socket:
    failure: Exception = httpx.ConnectError("no address")
    for address in addresses_of(origin.host, origin.port, end - time.monotonic()):
        left = _until(end)
        try:
            sock = socket.create_connection((address, origin.port), left)
        except TimeoutError:
            failure = httpx.ConnectTimeout("deadline")
        except OSError as exc:
            failure = httpx.ConnectError(type(exc).__name__)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise failure


def _until(end: float) -> float:
    """Seconds that are left to connect in; raises httpx.ConnectTimeout when none are."""
    left = end - time.monotonic()
    if left <= 0:
        raise httpx.ConnectTimeout("deadline")
    return left


def _left(expired: type[httpx.TimeoutException], timeout: float = math.inf) -> float:
    """Seconds this thread's call still has, at most `timeout`; raises `expired` when none."""
    left = this_call.at - time.monotonic()
    if left <= 0:
        raise expired("deadline")
    return min(left, timeout)
