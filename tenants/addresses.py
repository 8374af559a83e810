"""Whose request it is, by address: one answer for limits, lists of sessions and logs."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104 - nothing listens there: it stands for "nobody knows"
IPV6_PREFIX = 64  # a household has that many addresses of its own


def client_address(request: HttpRequest) -> str:
    """The client's IP address.

    Of X-Forwarded-For only what the TRUSTED_PROXIES in front have written counts, from the right:
    the rest is whatever the client says. A shorter list than there are proxies, or something that
    is no address, falls back to the neighbour's address.
    """
    proxies = settings.TRUSTED_PROXIES
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    wanted = forwarded[-proxies] if 0 < proxies <= len(forwarded) else ""
    for candidate in (wanted, request.META.get("REMOTE_ADDR", "")):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return UNKNOWN


def limited_by(address: str) -> str:
    """What a limit counts by: the address, of IPv6 its network."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return address
