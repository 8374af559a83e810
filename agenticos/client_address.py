"""Who is at the other end of the line: the one helper for every limit and log by address.

What a client writes into X-Forwarded-For is worth nothing. Each proxy of ours adds the address it
was called from at the right end, so with `TRUSTED_PROXIES` of them the client's is that many
places from the right, whatever stands before it.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from django.conf import settings
from django.http import HttpRequest

# A client has a whole /64 to choose from, so an IPv6 address alone limits nobody.
IPV6_PREFIX: Final = 64


def client_address(request: HttpRequest) -> str:
    """The address of the request's client, in its plain form; "" when the server knows none."""
    meta = request.META
    return pick(
        meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""), settings.TRUSTED_PROXIES
    )


def client_network(request: HttpRequest) -> str:
    """What a limit by address counts: the IPv4 address, or the /64 of an IPv6 one."""
    return network(client_address(request))


def pick(remote: str, forwarded: str, proxies: int) -> str:
    """The client's address behind `proxies` proxies of ours.

    Fewer entries than proxies: the request did not come through all of them, and only the address
    of the connection is sure.

    >>> pick("203.0.113.9", "1.2.3.4", 0)
    '203.0.113.9'
    >>> pick("10.0.0.1", "6.6.6.6, 203.0.113.9", 1), pick("10.0.0.1", "203.0.113.9, 10.0.0.2", 2)
    ('203.0.113.9', '203.0.113.9')
    >>> pick("10.0.0.1", "203.0.113.9", 2), pick("10.0.0.1", "nonsense", 1), pick("", "", 0)
    ('10.0.0.1', '10.0.0.1', '')
    """
    entries = [entry for entry in forwarded.split(",") if entry.strip()]
    if 0 < proxies <= len(entries) and (found := plain(entries[-proxies])):
        return found
    return plain(remote)


def plain(text: str) -> str:
    """An address without port, brackets and zone, an IPv4 one never as IPv6; "" if it is none.

    >>> plain(" 203.0.113.9:443"), plain("[2001:DB8::1]:443"), plain("::ffff:203.0.113.9")
    ('203.0.113.9', '2001:db8::1', '203.0.113.9')
    >>> plain("fe80::1%eth0"), plain("unix:"), plain("1.2.3")
    ('fe80::1', '', '')
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def network(address: str) -> str:
    """
    >>> network("203.0.113.9"), network("2001:db8:1:2:3:4:5:6"), network("")
    ('203.0.113.9', '2001:db8:1:2::/64', '')
    """
    if ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address}/{IPV6_PREFIX}", strict=False))
