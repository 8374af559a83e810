"""Who is at the other end: nothing that a client writes moves its address."""

from __future__ import annotations

import ipaddress

from hypothesis import given, strategies as st

from agenticos import client_address

addresses = st.ip_addresses().map(str)
lies = st.text(max_size=60) | st.lists(addresses, max_size=5).map(", ".join)


@given(lies, addresses, st.lists(addresses, max_size=3))
def test_behind_proxies_the_address_that_the_first_of_them_saw_counts(lie, seen, others):
    header = ", ".join([lie, seen, *others])
    found = client_address.pick("192.0.2.1", header, 1 + len(others))
    assert found == client_address.plain(seen)


@given(lies)
def test_without_proxies_the_header_is_never_read(lie):
    assert client_address.pick("192.0.2.1", lie, 0) == "192.0.2.1"


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_none(text):
    found = client_address.plain(text)
    assert not found or str(ipaddress.ip_address(found)) == found
    network = client_address.network(found)
    assert len(network) <= 43  # what a limit's key has room for


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_network_of_64_bits_are_one(address, host):
    other = ipaddress.IPv6Address((int(address) >> 64 << 64) | host)
    one, two = (client_address.network(client_address.plain(str(a))) for a in (address, other))
    assert one == two or "." in one + two  # IPv4 in the coat of IPv6
