"""What stands below httpx: connections with one deadline over a whole call, to public addresses.

A stream knows whether bytes have left, so that a call without an answer can be proven not to have
been made.
"""

import ipaddress
import math
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import httpcore
import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from integrations.errors import Fault, Rejected

KEEPALIVE_S: Final = 5.0  # shorter than the providers' own, so that it is we who close
POOL_SIZE: Final = 64


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address may be called: on the public internet, in every reading of it.

    >>> is_public(ipaddress.ip_address("1.1.1.1"))
    True
    >>> [is_public(ipaddress.ip_address(a)) for a in ("10.0.0.1", "::ffff:10.0.0.1", "fec0::1")]
    [False, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None and not is_public(address.sixtofour):
            return False
        if address.teredo is not None or address.is_site_local:
            return False
        if any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


class Call(threading.local):
    """The call this thread is in: when it must end, and whether bytes have left.

    `written` stays None under a transport that is not ours: then nothing can be proven.
    """

    at: float = math.inf
    written: bool | None = None


this_call = Call()


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


class Transport(httpx.BaseTransport):
    """httpx's own transport takes no network backend, so this one speaks to httpcore itself."""

    def __init__(self) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=POOL_SIZE,
            max_keepalive_connections=POOL_SIZE,
            keepalive_expiry=KEEPALIVE_S,
            retries=0,
            network_backend=_Backend(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        this_call.written = False
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        stream = response.stream
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(stream if isinstance(stream, Iterable) else ()),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Backend(httpcore.NetworkBackend):
    """Connects to a checked address within the call's deadline."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        end = time.monotonic() + _left(timeout, httpcore.ConnectTimeout)
        failure: Exception = httpcore.ConnectError("no address")
        for address in _addresses(host, port, end - time.monotonic()):
            left = end - time.monotonic()
            if left <= 0:
                raise httpcore.ConnectTimeout
            try:
                sock = socket.create_connection((address, port), left)
            except TimeoutError:
                failure = httpcore.ConnectTimeout()
            except OSError as exc:
                failure = httpcore.ConnectError(type(exc).__name__)
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Stream(sock)
        raise failure


def _addresses(host: str, port: int, timeout: float) -> list[str]:
    """Resolve, and check every address: one that is not public spoils the name."""
    found = _resolve(host, port, timeout)
    if not getattr(settings, "OUTBOUND_ALLOW_PRIVATE", False):
        for address in found:
            if not is_public(ipaddress.ip_address(address)):
                raise Rejected(
                    "address_refused",
                    _(
                        "This address leads into a private network and is not called. "
                        "Enter a public address."
                    ),
                    fault=Fault.REQUEST,
                )
    return found


def _resolve(host: str, port: int, timeout: float) -> list[str]:
    """The addresses of a name. In a thread of its own, since the system's resolver knows no
    deadline; connections are pooled, so this is rare."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    box: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            box.put(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except (OSError, UnicodeError):
            box.put(None)

    threading.Thread(target=work, name="resolve", daemon=True).start()
    try:
        found = box.get(timeout=max(timeout, 0.0))
    except queue.Empty:
        raise httpcore.ConnectTimeout("name resolution") from None
    if not found:
        raise httpcore.ConnectError("name resolution")
    return found


def _left(timeout: float | None, expired: type[Exception]) -> float:
    """Seconds this thread's call still has, at most `timeout`."""
    left = this_call.at - time.monotonic()
    if left <= 0:
        raise expired("deadline")
    return left if timeout is None or left < timeout else timeout


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait ends with the call's deadline, and which knows it was used.

    httpcore writes head and body apart; they are held back until it reads, so that a request
    leaves in one packet. It asks of every idle connection, at every call, whether the other end
    has closed it, under the lock of all: eight threads spend a quarter of their time with that.
    So only the one that is about to be used is looked at, as it begins a request.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held: list[bytes] = []
        self._used = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            self._flush(timeout)
        left = _left(timeout, httpcore.ReadTimeout)
        try:
            self._sock.settimeout(left)
            self._used = True
            return self._sock.recv(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        except OSError as exc:
            raise httpcore.ReadError(type(exc).__name__) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._used and not self._held and self._is_over():
            raise httpcore.ConnectionNotAvailable  # nothing has left: the pool takes another
        self._held.append(buffer)

    def _flush(self, timeout: float | None) -> None:
        buffer = b"".join(self._held)
        self._held.clear()
        while buffer:
            left = _left(timeout, httpcore.WriteTimeout)
            # Said before the bytes go: from here on nobody can prove that none arrived.
            this_call.written = True
            try:
                self._sock.settimeout(left)
                buffer = buffer[self._sock.send(buffer) :]
            except TimeoutError:
                raise httpcore.WriteTimeout from None
            except OSError as exc:
                raise httpcore.WriteError(type(exc).__name__) from None

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            self._sock.settimeout(_left(timeout, httpcore.ConnectTimeout))
            return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except TimeoutError:
            self.close()
            raise httpcore.ConnectTimeout from None
        except OSError as exc:
            self.close()
            raise httpcore.ConnectError(type(exc).__name__) from None

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return False  # `write` looks
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "socket":
            return self._sock
        if info == "server_addr":
            return self._sock.getpeername()
        if info == "client_addr":
            return self._sock.getsockname()
        return None

    def _is_over(self) -> bool:
        """Whether an idle connection has something to read, which means that it was closed."""
        if self._sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))
