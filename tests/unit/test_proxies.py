"""Which address a request comes from, by what its proxies say."""

import pytest

from app.core.proxies import TrustedProxies

CLIENT, PROXY, CDN = "203.0.113.9", "10.0.0.7", "198.51.100.1"


def client(trusted: str, peer: str | None, forwarded: str) -> str | None:
    proxies = TrustedProxies.parse(trusted)
    return proxies.client(forwarded) if proxies.trusts(peer) else None


@pytest.mark.parametrize(
    ("trusted", "forwarded", "found"),
    [
        ("10.0.0.0/8", CLIENT, CLIENT),
        # What the client itself sent stands in front, whoever it names.
        ("10.0.0.0/8", f"192.0.2.1, 127.0.0.1,{CLIENT}", CLIENT),
        ("10.0.0.0/8", f"192.0.2.1, {CLIENT}, 10.9.9.9", CLIENT),
        (f"10.0.0.0/8,{CDN}", f"192.0.2.1, {CLIENT}, {CDN}", CLIENT),
        # A client inside the trusted networks.
        ("10.0.0.0/8", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("1", f"192.0.2.1, {CLIENT}", CLIENT),
        ("2", f"192.0.2.1, {CLIENT}, {CDN}", CLIENT),
        # Fewer than there should be: the first.
        ("3", f"{CLIENT}, {CDN}", CLIENT),
        ("*", CLIENT, CLIENT),
        # Not overwritten, after all: what the client sent is not believed.
        ("*", f"192.0.2.1, {CLIENT}", CLIENT),
    ],
)
def test_the_client_is_the_first_that_is_not_trusted(
    trusted: str, forwarded: str, found: str
) -> None:
    assert client(trusted, PROXY, forwarded) == found


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "10.0.0.7", "1", "*"])
@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (f"{CLIENT}:4711", CLIENT),
        (f"  {CLIENT}\t", CLIENT),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.9", CLIENT),
        ("[::ffff:203.0.113.9]:443", CLIENT),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25en1]:80", "fe80::1"),
    ],
)
def test_an_address_is_known_in_each_of_its_spellings(trusted: str, entry: str, found: str) -> None:
    assert client(trusted, PROXY, entry) == found


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "1", "*"])
@pytest.mark.parametrize(
    "entry",
    [
        "unknown", "_hidden", "localhost", "example.com:80", "1", "2130706433",
        "0x7f.1", "203.0.113.256", "203.0.113", "203.0.113.9:port", "203.0.113.9:80:80",
        "203.0.113.09", "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]x", "[]", "[203.0.113.9", "%",
        "fe80::1::2", '"203.0.113.9"', "for=203.0.113.9", "203.0.113.9/32", "x" * 5000,
        "203.0.113.9\x00", "\xb2\xb3.1.1.1",
    ],
)  # fmt: skip
def test_anything_but_an_address_leaves_the_peer(trusted: str, entry: str) -> None:
    assert client(trusted, PROXY, entry) is None
    assert client(trusted, PROXY, f"{CLIENT}, {entry}") is None


@pytest.mark.parametrize("trusted", ["10.0.0.0/8", "1", "*"])
@pytest.mark.parametrize("entry", ["", ",", " , ", "\t,,"])
def test_an_empty_entry_is_skipped(trusted: str, entry: str) -> None:
    """RFC 9110, section 5.6.1.2."""
    assert client(trusted, PROXY, entry) is None
    assert client(trusted, PROXY, f"{CLIENT}, {entry}") == CLIENT
    assert client(trusted, PROXY, f"192.0.2.1,{entry},{CLIENT},{entry}") == CLIENT


@pytest.mark.parametrize(
    ("trusted", "forwarded", "found"),
    [
        ("10.0.0.0/8", f"{CLIENT},,10.0.0.1", CLIENT),
        ("10.0.0.0/8", "unknown, 10.0.0.1", "10.0.0.1"),
        ("10.0.0.0/8", "192.0.2.1, unknown, 10.0.0.2, 10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/8", f"192.0.2.1, x, {CLIENT}, 10.0.0.1", CLIENT),
        ("10.0.0.0/8", "10.0.0.2, unknown", None),
        ("2", f"192.0.2.1,, {CLIENT},, {CDN},", CLIENT),
        ("2", f"192.0.2.1, unknown, {CDN}", CDN),
        ("3", f"192.0.2.1, unknown, x, {CDN}", CDN),
        ("2", f"{CLIENT}, unknown", CLIENT),
        ("2", "192.0.2.1, unknown, x", None),
    ],
)
def test_a_proxy_that_names_no_address_hides_only_what_is_behind_it(
    trusted: str, forwarded: str, found: str | None
) -> None:
    assert client(trusted, PROXY, forwarded) == found


@pytest.mark.parametrize("trusted", ["::ffff:10.0.0.0/104", "::ffff:a00:7,::ffff:10.0.0.0/105"])
def test_a_mapped_network_is_its_ipv4_network(trusted: str) -> None:
    for peer in (PROXY, f"::ffff:{PROXY}"):
        assert client(trusted, peer, f"192.0.2.1, {CLIENT}, 10.0.0.1") == CLIENT
    assert client(trusted, "11.0.0.1", CLIENT) is None
    # Wider than the mapped addresses: IPv6.
    assert client("::/80", PROXY, CLIENT) is None


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ("10.0.0.0/8", PROXY, True),
        ("10.0.0.0/8", "::ffff:10.0.0.7", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", None, False),
        ("10.0.0.0/8", "", False),
        ("2001:db8::/32, 10.0.0.7", "2001:db8::7", True),
        ("2001:db8::/32, 10.0.0.7", PROXY, True),
        ("0", PROXY, False),
        ("1", "192.0.2.1", True),
        # A Unix socket has no address, and only the proxy can open it.
        ("1", None, True),
        ("*", None, True),
    ],
)
def test_only_trusted_peers_are_believed(trusted: str, peer: str | None, believed: bool) -> None:
    assert TrustedProxies.parse(trusted).trusts(peer) is believed


@pytest.mark.parametrize(
    "text", ["", ",", "10.0.0.0/33", "10.0.0.1/8", "proxy", "-1", "100", "*,10.0.0.7", "1,10.0.0.7"]
)
def test_a_setting_that_names_no_proxies_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        TrustedProxies.parse(text)
