"""The only door to the outside: every outbound call of the product goes through `call()`.

It keeps a deadline over the whole call (httpx has none), connects to public addresses only, and
sorts what went wrong into surely not done, never, perhaps done.
"""

import ipaddress
import json as jsonlib
import logging
import math
import os
import queue
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar
from typing import Any, Final, NamedTuple

import httpcore
import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from agenticos import meters
from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure

logger = logging.getLogger(__name__)
# httpx logs whole URLs at INFO, httpcore requests with their headers at DEBUG.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

CONNECT_S: Final = 3.0
KEEPALIVE_S: Final = 5.0  # shorter than the providers' own, so that it is we who close
POOL_SIZE: Final = 64
MAX_BODY: Final = 2 * 1024 * 1024
MAX_AFTER: Final = timedelta(days=1)

Headers = Mapping[str, str]
Classify = Callable[[int, Headers, Any], ProviderError | None]


class Answer(NamedTuple):
    """A successful answer. `body` is the parsed JSON, None when the provider sent nothing."""

    status: int
    headers: Headers
    body: Any

    def at(self, *path: str) -> Any:
        """What stands at a path of keys in the body, None where the path ends early.

        >>> Answer(200, {}, {"contact": {"id": "c1"}}).at("contact", "id")
        'c1'
        """
        found = self.body
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found


# What the sentence says depends on whether a repeat is harmless: (perhaps done, later).
_BROKEN = {
    "no_answer": (
        _(
            "The provider did not answer in time, so nobody knows whether this was done. "
            "Look at the provider's side before you repeat it."
        ),
        _("The provider did not answer in time. It will be tried again by itself."),
    ),
    "connection_cut": (
        _(
            "The connection broke before the provider's answer came, so nobody knows whether "
            "this was done. Look at the provider's side before you repeat it."
        ),
        _("The connection to the provider broke. It will be tried again by itself."),
    ),
    "garbage_answer": (
        _(
            "The provider's answer could not be read, so nobody knows whether this was done. "
            "Look at the provider's side before you repeat it."
        ),
        _("The provider's answer could not be read. It will be tried again by itself."),
    ),
    "provider_fault": (
        _(
            "The provider reported a fault of its own, so nobody knows whether this was done. "
            "Look at the provider's side before you repeat it."
        ),
        _("The provider reported a fault of its own. It will be tried again by itself."),
    ),
}
_CONNECT_FAILED = _(
    "The provider could not be reached; nothing was sent. It will be tried again by itself. "
    "If this stays, check the provider's address and this machine's network."
)
_NOT_STARTED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
)
_UNSPEAKABLE = (
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.LocalProtocolError,
)
_UNBUILDABLE = (httpx.InvalidURL, ValueError, TypeError)
_TIMED_OUT = (httpx.TimeoutException, httpcore.TimeoutException)
_CUT = (
    httpx.TransportError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ConnectionNotAvailable,
    httpx.DecodingError,
    OSError,
)


def call(
    client: httpx.Client,
    method: str,
    url: str,
    *,
    json: object = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    deadline_s: float | None = None,
    effect: bool,
    classify: Classify | None = None,
) -> Answer:
    """Make one HTTP call, at most once, and return its JSON answer.

    `effect` says that a repeat would do harm: what may have been done is then Unsure, else
    TryLater. `deadline_s` (default `settings.HTTP_TIMEOUT_S`) bounds the call from start to the
    last byte. `classify` sorts an answer that came; None from it means "nothing special", and the
    status decides. Raises TryLater, Rejected, Unsure.
    """
    _call.at = time.monotonic() + (settings.HTTP_TIMEOUT_S if deadline_s is None else deadline_s)
    _call.written = None
    began = time.perf_counter()
    try:
        request = _request(method, url, json, params, headers)
        status, answer_headers, raw = _exchange(client, request)
    except _UNBUILDABLE as exc:
        error: ProviderError = _unspeakable(exc)
    except (*_UNSPEAKABLE, *_TIMED_OUT, *_CUT) as exc:
        error = _broken(exc, effect)
    else:
        body, readable = _parse(raw)
        found = _sort(status, answer_headers, body, readable, classify)
        if found is None:
            _time(url, "ok", began)
            return Answer(status, answer_headers, body)
        error = _harmless(found) if isinstance(found, Unsure) and not effect else found
    # Raised out here, so that no library exception, whose request carries the token, hangs on it.
    _time(url, _kind(error), began)
    logger.info("provider.failed", extra={"code": error.code, "status": error.status})
    raise error


def _time(url: str, result: str, began: float) -> None:
    meters.PROVIDER.labels(_provider(url), result).observe(time.perf_counter() - began)


def _kind(error: ProviderError) -> str:
    """What came of a call in one word of six: a label of metrics."""
    if error.code in ("rate_limited", "connect_failed", "no_answer"):
        return error.code
    if isinstance(error, TryLater):
        return "later"
    return "refused" if isinstance(error, Rejected) else "unsure"


def _provider(url: str) -> str:
    """Whom an address belongs to, in one word: a label of metrics."""
    for name, base in (
        ("instagram", settings.INSTAGRAM_GRAPH_BASE_URL),
        ("ghl", settings.GHL_BASE_URL),
    ):
        if url.startswith(base):
            return name
    return "other"


def client() -> httpx.Client:
    """This process's pooled client, made on first use: sockets must not live through a fork."""
    return _client_of(os.getpid())


@lru_cache(maxsize=1)
def _client_of(pid: int) -> httpx.Client:
    return httpx.Client(
        transport=_Transport(),
        timeout=httpx.Timeout(120, connect=CONNECT_S, pool=CONNECT_S),
        follow_redirects=False,
        trust_env=False,
        cookies=_NoCookies(),
    )


def retry_after(headers: Headers, now: datetime) -> timedelta | None:
    """The wait that a Retry-After header asks for, in seconds or as a date; at most a day.

    >>> retry_after({"retry-after": "30"}, datetime(2026, 1, 1, tzinfo=UTC))
    datetime.timedelta(seconds=30)
    >>> retry_after({"retry-after": "soon"}, datetime(2026, 1, 1, tzinfo=UTC)) is None
    True
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return None
        # An HTTP date without a usable zone is GMT by definition.
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = (then - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(seconds, 0.0), MAX_AFTER.total_seconds()))


def by_status(status: int, headers: Headers) -> ProviderError | None:
    """Sort an answer by nothing but its status, for providers that say no more."""
    if status < 300:
        return None
    if status == 429:
        return TryLater(
            "rate_limited",
            _("The provider asks for a slower pace. It will be tried again by itself."),
            status=status,
            after=retry_after(headers, datetime.now(UTC)),
        )
    if status == 503:
        return TryLater(
            "provider_unavailable",
            _("The provider is not available right now. It will be tried again by itself."),
            status=status,
            after=retry_after(headers, datetime.now(UTC)),
        )
    if status in (401, 403):
        return Rejected(
            "credential_refused",
            _("The provider refused the credential. Enter a new one in the connection."),
            fault=Fault.ACCOUNT,
            status=status,
        )
    if status == 408 or status >= 500:
        return Unsure(
            "provider_fault", _BROKEN["provider_fault"][0], fault=Fault.PROVIDER, status=status
        )
    return Rejected(
        "request_refused",
        _("The provider refused the request. This needs a look by the system's operator."),
        fault=Fault.REQUEST,
        status=status,
    )


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


class _Call(threading.local):
    """The call this thread is in: when it must end, and whether bytes have left.

    `written` stays None under a transport that is not ours: then nothing can be proven.
    """

    at: float = math.inf
    written: bool | None = None


_call = _Call()


def _request(
    method: str,
    url: str,
    json: object,
    params: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
) -> httpx.Request:
    sent = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "AgenticOS"}
    if headers:
        sent.update(headers)
    content = None
    if json is not None:
        content = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        sent["content-type"] = "application/json"
    target = _url(url) if params is None else _url(url).copy_merge_params(params)
    if not target.host:
        raise httpx.InvalidURL("no host")
    return httpx.Request(method, target, headers=sent, content=content)


@lru_cache(maxsize=1024)
def _url(url: str) -> httpx.URL:
    """Parsing costs more than a look-up, and senders call the same few addresses."""
    return httpx.URL(url)


def _exchange(client: httpx.Client, request: httpx.Request) -> tuple[int, Headers, bytes]:
    """Send, and read the whole answer. Raises what httpx and httpcore raise."""
    response = client.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        return response.status_code, response.headers, _read(response)
    finally:
        response.close()


def _read(response: httpx.Response) -> bytes:
    """The decoded body. DecodingError when it is too large or not in a coding we accept."""
    coding = response.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip", "deflate"):
        raise httpx.DecodingError("content coding")
    unpack = None if coding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
    parts: list[bytes] = []
    room = MAX_BODY
    for part in response.stream if isinstance(response.stream, Iterable) else ():
        if unpack is not None:
            # Unpacked with a bound: a small bomb must not fill the memory first.
            try:
                part = unpack.decompress(part, room + 1)
            except zlib.error:
                raise httpx.DecodingError("content coding") from None
        room -= len(part)
        if room < 0:
            raise httpx.DecodingError("too large")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parse(raw: bytes) -> tuple[Any, bool]:
    """The JSON in a body and whether it could be read; no body at all reads as None."""
    if not raw.strip():
        return None, True
    try:
        return jsonlib.loads(raw), True
    except (ValueError, RecursionError):
        return None, False


def _sort(
    status: int, headers: Headers, body: Any, readable: bool, classify: Classify | None
) -> ProviderError | None:
    if status < 300 and not readable:
        return Unsure(
            "garbage_answer", _BROKEN["garbage_answer"][0], fault=Fault.PROVIDER, status=status
        )
    error = classify(status, headers, body) if classify else None
    return error or by_status(status, headers)


def _broken(exc: Exception, effect: bool) -> ProviderError:
    """Sort a call that brought no answer. Only the kind of the exception is kept."""
    detail = type(exc).__name__
    if isinstance(exc, _UNSPEAKABLE) and not _call.written:
        return _unspeakable(exc)
    # `written is False` is proof: our own stream has not handed a byte to the socket. A reused
    # connection that the provider closed meanwhile usually takes the first bytes, so that is not.
    if isinstance(exc, _NOT_STARTED) or _call.written is False:
        return TryLater("connect_failed", _CONNECT_FAILED, detail=detail)
    if isinstance(exc, _TIMED_OUT):
        code = "no_answer"
    else:
        code = "garbage_answer" if isinstance(exc, httpx.DecodingError) else "connection_cut"
    perhaps, later = _BROKEN[code]
    if effect:
        return Unsure(code, perhaps, fault=Fault.PROVIDER, detail=detail)
    return TryLater(code, later, detail=detail)


def _unspeakable(exc: Exception) -> Rejected:
    return Rejected(
        "request_invalid",
        _("The request could not be put on the wire. Check the address and the credential."),
        fault=Fault.REQUEST,
        detail=type(exc).__name__,
    )


def _harmless(error: Unsure) -> TryLater:
    """The same failure where a repeat does no harm."""
    later = _BROKEN.get(error.code, _BROKEN["provider_fault"])[1]
    return TryLater(error.code, later, detail=error.detail, status=error.status, fault=error.fault)


class _NoCookies(CookieJar):
    """One client serves all tenants: a cookie of one must not travel with another."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Keep nothing."""


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        if hasattr(self._stream, "close"):
            self._stream.close()


class _Transport(httpx.BaseTransport):
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
        _call.written = False
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
    left = _call.at - time.monotonic()
    if left <= 0:
        raise expired("deadline")
    return left if timeout is None or left < timeout else timeout


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait ends with the call's deadline, and which knows it was used.

    httpcore writes head and body apart; they are held back until it reads, so that a request
    leaves in one packet.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            self._flush(timeout)
        left = _left(timeout, httpcore.ReadTimeout)
        try:
            self._sock.settimeout(left)
            return self._sock.recv(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout from None
        except OSError as exc:
            raise httpcore.ReadError(type(exc).__name__) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._held.append(buffer)

    def _flush(self, timeout: float | None) -> None:
        buffer = b"".join(self._held)
        self._held.clear()
        while buffer:
            left = _left(timeout, httpcore.WriteTimeout)
            # Said before the bytes go: from here on nobody can prove that none arrived.
            _call.written = True
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
            return self._is_readable()
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if info == "socket":
            return self._sock
        if info == "server_addr":
            return self._sock.getpeername()
        if info == "client_addr":
            return self._sock.getsockname()
        return None

    def _is_readable(self) -> bool:
        """True when an idle connection has something to read, which means it was closed."""
        if self._sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))
