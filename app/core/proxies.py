"""Finds a request's client in the `X-Forwarded-For` of trusted proxies.

Each proxy appends its peer's address. The header is therefore read from its end, up to the first
address that is not a trusted proxy's: anything before that was sent by the client itself.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

# Some proxies add the port (Azure's, HAProxy's), and IPv6 addresses then have brackets. A zone has
# a meaning on one machine only, and could be any text.
ENTRY = re.compile(
    r"\[(?P<bracketed>[0-9A-Fa-f:.]+)(?:%[^\]]*)?\](?::\d{1,5})?"
    r"|(?P<ipv4>[0-9.]+)(?::\d{1,5})?"
    r"|(?P<ipv6>[0-9A-Fa-f:.]+)(?:%.*)?",
    re.ASCII,
)

# Bits of `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
MAPPED_PREFIX = 96

HOPS = re.compile(r"[0-9]{1,2}", re.ASCII)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    match = ENTRY.fullmatch(text.strip())
    if match is None:
        return None
    try:
        ip = ip_address(match["bracketed"] or match["ipv4"] or match["ipv6"])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def _network(text: str) -> IPv4Network | IPv6Network:
    """Raises `ValueError`. Mapped IPv4 addresses are compared as IPv4: so are their networks."""
    network = ip_network(text.strip())
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))


@dataclass(frozen=True)
class TrustedProxies:
    """Trusts `hops` proxies with any addresses or, if it is None, all proxies in `networks`."""

    hops: int | None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a number of proxies, addresses and networks, or `*`. Raises `ValueError`."""
        if text.strip() == "*":
            # A proxy that overwrites the header leaves one address in it.
            return cls(1)
        if HOPS.fullmatch(text.strip()):
            return cls(int(text))
        return cls(None, tuple(map(_network, text.split(","))))

    def trusts(self, peer: str | None) -> bool:
        """Whether the headers of a request from this peer are believed."""
        if self.hops is not None:
            return self.hops > 0
        ip = None if peer is None else _address(peer)
        return ip is not None and self._contain(ip)

    def _contain(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self.networks)

    def client(self, forwarded: str) -> str | None:
        """The client's IP address in a trusted peer's header; None if it has no valid one.

        If a proxy names no address, the client is the proxy itself: the next entry. Empty entries
        are skipped (RFC 9110, section 5.6.1.2).
        """
        entries = [entry for entry in forwarded.split(",") if entry.strip(" \t")]
        client = None
        if self.hops is not None:
            found = map(_address, entries[-self.hops :])
            client = next((ip for ip in found if ip is not None), None)
        else:
            for ip in map(_address, reversed(entries)):
                if ip is None:
                    break
                client = ip
                if not self._contain(ip):
                    break
        return None if client is None else str(client)
