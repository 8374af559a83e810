"""The only door to the outside: every outbound call of the product goes through `call()`.

It keeps a deadline over the whole call (`connection.py`; httpx has none), connects to public
addresses only (`addresses.py`), and sorts what went wrong into surely not done, never, perhaps
done.
"""

import json as jsonlib
import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from agenticos import meters
from integrations.connection import MAX_BODY, this_call
from integrations.errors import Fault, ProviderError, Rejected, TryLater, Unsure
from integrations.transport import Transport

logger = logging.getLogger(__name__)

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
_NOT_STARTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_UNSPEAKABLE = (
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    ValueError,
    TypeError,
)
_CUT = (httpx.TransportError, httpx.DecodingError, OSError)


def call(
    wire: httpx.BaseTransport,
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
    this_call.at = time.monotonic() + (
        settings.HTTP_TIMEOUT_S if deadline_s is None else deadline_s
    )
    this_call.written = None
    began = time.perf_counter()
    try:
        request = _request(method, url, json, params, headers)
        status, answer_headers, raw = _exchange(wire, request)
    except (*_UNSPEAKABLE, *_CUT) as exc:
        error: ProviderError = _broken(exc, effect)
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


def pool() -> httpx.BaseTransport:
    """This process's connections, made on first use: sockets must not live through a fork.

    A transport and no `httpx.Client`: all that a client adds, such as cookies, redirects and
    defaults, must not happen here, and costs a fifth of a call.
    """
    return _pool_of(os.getpid())


@lru_cache(maxsize=1)
def _pool_of(pid: int) -> httpx.BaseTransport:
    return Transport()


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
    body = b""
    if json is not None:
        text = jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        body = text.encode()
        sent["content-type"] = "application/json"
    target = _url(url) if params is None else _url(url).copy_merge_params(params)
    if not target.host:
        raise httpx.InvalidURL("no host")
    # Given a stream httpx adds no headers; adding these two it would build all of them anew.
    sent["host"] = target.netloc.decode("ascii")
    if body or method != "GET":
        sent["content-length"] = str(len(body))
    return httpx.Request(method, target, headers=sent, stream=httpx.ByteStream(body))


@lru_cache(maxsize=1024)
def _url(url: str) -> httpx.URL:
    """Parsing costs more than a look-up, and senders call the same few addresses."""
    return httpx.URL(url)


def _exchange(wire: httpx.BaseTransport, request: httpx.Request) -> tuple[int, Headers, bytes]:
    """Send, and read the whole answer. Raises what httpx raises."""
    response = wire.handle_request(request)
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
    if isinstance(exc, _UNSPEAKABLE) and not this_call.written:
        return _unspeakable(exc)
    # `written is False` is proof: our own stream has not handed a byte to the socket. A reused
    # connection that the provider closed meanwhile usually takes the first bytes, so that is not.
    if isinstance(exc, _NOT_STARTED) or this_call.written is False:
        return TryLater("connect_failed", _CONNECT_FAILED, detail=detail)
    if isinstance(exc, httpx.TimeoutException):
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
