"""Which addresses a name has, and whether all of them may be called."""

import ipaddress
import queue
import socket
import threading

import httpx
from django.conf import settings
from django.utils.translation import gettext_noop as _

from integrations.errors import Fault, Rejected


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


def addresses_of(host: str, port: int, timeout: float) -> list[str]:
    """Resolve, and check every address: one that is not public spoils the name.

    Raises Rejected for one that may not be called, httpx.ConnectError for a name without any, and
    httpx.ConnectTimeout after `timeout` seconds.
    """
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
        raise httpx.ConnectTimeout("name resolution") from None
    if not found:
        raise httpx.ConnectError("name resolution")
    return found
