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
        return cls(None, tuple(ip_network(network.strip()) for network in text.split(",")))

    def trusts(self, peer: str | None) -> bool:
        """Whether the headers of a request from this peer are believed."""
        if self.hops is not None:
            return self.hops > 0
        ip = None if peer is None else _address(peer)
        return ip is not None and self._contain(ip)

    def _contain(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self.networks)

    def client(self, forwarded: str) -> str | None:
        """The client's IP address in a trusted peer's header; None if it has no valid one."""
        entries = forwarded.split(",")
        if self.hops is not None:
            entries = entries[-self.hops :][:1]
        ip = None
        for entry in reversed(entries):
            ip = _address(entry)
            if ip is None or not self._contain(ip):
                break
        return None if ip is None else str(ip)
