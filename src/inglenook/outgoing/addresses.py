# SPDX-License-Identifier: Apache-2.0
"""Which addresses are of the public internet. Pure.

Python's `is_global` knows the registries of IANA; what is added here are the ways in which an IPv6 address
carries an IPv4 one (which is what would be reached), and addresses that are public on paper only.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")  # SIIT, RFC 2765: IPv4 in another place of the bits
_RELAYS = ipaddress.ip_network("192.88.99.0/24")  # 6to4 relays, given up by RFC 7526
_PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")  # of the IETF's own
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")
)
"""Where clouds answer their own machines, with credentials. One of them is a public address on paper."""


def refusal(address: Address) -> str | None:
    """What kind of address it is, in words, where it is not one of the public internet; None where it is."""
    if address in _METADATA:
        return "the metadata service of a cloud"
    if isinstance(address, ipaddress.IPv6Address):
        return _refusal_6(address)
    return _refusal_4(address)


def _refusal_4(address: ipaddress.IPv4Address) -> str | None:
    if address in _RELAYS or address in _PROTOCOLS:
        return "an address of no single machine"
    return _kind(address)


def _refusal_6(address: ipaddress.IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "an address of one network card"
    if address in _NAT64 or address in _NAT64_LOCAL:
        return "an IPv4 address behind NAT64"
    if address in _TRANSLATED or address.ipv4_mapped is not None:
        return "an IPv4 address in an IPv6 one"
    if address.sixtofour is not None or address.teredo is not None:
        return "a tunnel to an IPv4 address"
    if address in _SITE_LOCAL:
        return "a private address"
    return _kind(address)


def _kind(address: Address) -> str | None:
    for true, words in (
        (address.is_unspecified, "no address of a machine"),
        (address.is_loopback, "this machine itself"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address.is_private, "a private address"),
        (address.is_reserved, "a reserved address"),
        (not address.is_global, "not an address of the public internet"),
    ):
        if true:
            return words
    return None
