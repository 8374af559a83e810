"""What stands below httpx: requests as bytes, and connections that are kept for the next call."""

import re
import threading
import time
from typing import Final

import httpx

from integrations.connection import Connection, Origin, this_call

CONNECT_S: Final = 3.0
KEEPALIVE_S: Final = 5.0  # shorter than the providers' own, so that it is we who close
POOL_SIZE: Final = 64
# What would end a line, or is none of a header's characters.
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Transport(httpx.BaseTransport):
    """One request, one answer, read whole; no redirects, no cookies, no repeats."""

    def __init__(self) -> None:
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._idle: list[tuple[Origin, Connection]] = []  # the last used is the last
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        this_call.written = False
        origin = Origin.of(request.url)
        raw = _raw(request)
        connection = self._take(origin) or Connection(origin, self._tls, CONNECT_S)
        kept = False
        try:
            answer = connection.exchange(raw)
            kept = answer.kept
        finally:
            if kept:
                self._keep(origin, connection)
            else:
                connection.close()
        return httpx.Response(
            answer.status, headers=answer.headers, stream=httpx.ByteStream(answer.body)
        )

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    def _take(self, origin: Origin) -> Connection | None:
        """The connection that was used last, unless it is too old or its other end has gone."""
        while True:
            with self._lock:
                for place in range(len(self._idle) - 1, -1, -1):
                    if self._idle[place][0] == origin:
                        connection = self._idle.pop(place)[1]
                        break
                else:
                    return None
            if time.monotonic() - connection.idle_since < KEEPALIVE_S and not connection.is_over():
                return connection
            connection.close()

    def _keep(self, origin: Origin, connection: Connection) -> None:
        """Keep it for the next call, and let go of what nobody has used for long."""
        connection.idle_since = now = time.monotonic()
        over: list[Connection] = []
        with self._lock:
            self._idle.append((origin, connection))
            while len(self._idle) > POOL_SIZE or now - self._idle[0][1].idle_since > KEEPALIVE_S:
                over.append(self._idle.pop(0)[1])
        for one in over:
            one.close()


def _raw(request: httpx.Request) -> bytes:
    """A request as it goes out. Raises httpx.LocalProtocolError where a header cannot be one."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % pair for pair in request.headers.raw]
    if _CONTROL.search(b"".join(lines)):
        raise httpx.LocalProtocolError("a control character")
    return b"\r\n".join([*lines, b"", request.read()])
