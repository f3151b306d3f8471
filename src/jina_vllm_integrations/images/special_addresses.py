"""Addresses that are not reached through the Internet, however old the Python is that knows of them.

The blocks of IANA's special-purpose address registries that are not globally reachable, as of their latest update,
2025-10-09, and those that are but serve no web page:
https://www.iana.org/assignments/iana-ipv4-special-registry and
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link local
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # protocol assignments; clouds answer their own machines there
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4 and 6a44
        "192.168.0.0/16",  # private use
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "::/128",  # unspecified
        "::1/128",  # loopback
        "::ffff:0:0/96",  # IPv4 in IPv6
        "64:ff9b:1::/48",  # translation of IPv4, local
        "100::/64",  # discarded
        "100:0:0:1::/64",  # dummy prefix, RFC 9780
        "2001::/23",  # protocol assignments
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fc00::/7",  # unique local
        "fe80::/10",  # link local
    )
)


def is_special(address: IPv4Address | IPv6Address) -> bool:
    """Whether a registry says of an address that the Internet does not lead there. What it carries does not count."""
    blocks = _IPV4 if isinstance(address, IPv4Address) else _IPV6
    return any(address in block for block in blocks)
