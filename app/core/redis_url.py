"""Parses a Redis URL for redis-py and kombu alike.

Each of the two has its own parser. They accept different options, neither refuses an unknown one,
and kombu's verifies certificates only if the URL says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import TLSVersion
from types import MappingProxyType
from urllib.parse import parse_qsl, quote, unquote, urlsplit

Option = str | int | bool
Parser = Callable[[str], Option]

SCHEMES = ("redis", "rediss", "unix")

FORM = "write it as redis://:password@host:6379/0, with %2F, %3F, %23 for / ? # in the password"

WORDS = {"true": True, "yes": True, "on": True, "1": True}
WORDS |= {"false": False, "no": False, "off": False, "0": False}

# As redis-py spells them, and as kombu does.
VERIFICATION = {
    name: level for level in ("required", "optional", "none") for name in (level, f"cert_{level}")
}

TLS_VERSIONS = {"1.2": int(TLSVersion.TLSv1_2), "1.3": int(TLSVersion.TLSv1_3)}
TLS_VERSIONS |= {str(number): number for number in TLS_VERSIONS.values()}


def _text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _name(value: str) -> str:
    # CLIENT SETNAME accepts only printable characters without spaces.
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError
    return value


def _number(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise ValueError
    return int(value)


def _one_of(values: Mapping[str, Option]) -> Parser:
    def parse(value: str) -> Option:
        try:
            return values[value.lower()]
        except KeyError:
            raise ValueError from None

    return parse


# Timeouts, retries and the number of connections are not here: each client has its own.
OPTIONS: Mapping[str, Parser] = {
    "db": _number,
    "username": _text,
    "password": _text,
    "client_name": _name,
    "protocol": _one_of({"2": 2, "3": 3}),
    "health_check_interval": _number,
    "socket_keepalive": _one_of(WORDS),
}
TLS_OPTIONS: Mapping[str, Parser] = {
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_cert_reqs": _one_of(VERIFICATION),
    "ssl_check_hostname": _one_of(WORDS),
    "ssl_min_version": _one_of(TLS_VERSIONS),
    "ssl_ciphers": _text,
}
# Kombu's name for it.
ALIASES = {"virtual_host": "db"}

# The options that name a file or a folder.
PATHS = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL; `options` are arguments of redis-py's connections."""

    scheme: str
    options: Mapping[str, Option]

    @property
    def address(self) -> str:
        """The server's address for logs: without user, password and options."""
        if self.scheme == "unix":
            return f"unix://{quote(str(self.options['path']))}"
        host = str(self.options["host"])
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{host}:{self.options['port']}/{self.options.get('db', 0)}"


def parse(url: str) -> RedisUrl:
    """Parse a URL. Raises `ValueError` with what is wrong, never with a value of the URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
        user, password = (
            unquote(part or "", errors="strict") for part in (parts.username, parts.password)
        )
        host, path = (unquote(part or "", errors="strict") for part in (parts.hostname, parts.path))
    except ValueError:  # the port is the rest of a password that has / ? or #
        raise ValueError(FORM) from None
    if parts.scheme not in SCHEMES or port == 0 or parts.fragment:
        raise ValueError(FORM)
    options: dict[str, Option] = {}
    if user:
        options["username"] = user
    if password:
        options["password"] = password
    if parts.scheme == "unix":
        if host or not path.strip("/"):
            raise ValueError("write it as unix:///path/of/redis.sock?db=0")
        options["path"] = path
    else:
        options["host"] = host or "localhost"
        options["port"] = port or 6379
        if database := path.strip("/"):
            options["db"] = _parsed("the database in its path", _number, database)
    return RedisUrl(
        parts.scheme, MappingProxyType(options | _query(parts.query, tls=parts.scheme == "rediss"))
    )


def _query(query: str, *, tls: bool) -> dict[str, Option]:
    """The options in a URL's query, which override the rest of the URL."""
    found: dict[str, Option] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        option = ALIASES.get(name, name)
        parser = OPTIONS.get(option) or TLS_OPTIONS.get(option)
        if parser is None:
            known = ", ".join((*OPTIONS, *(TLS_OPTIONS if tls else ())))
            raise ValueError(f"unknown option {name!r}; the options are {known}")
        if option in TLS_OPTIONS and not tls:
            raise ValueError(f"the option {name!r} needs rediss://")
        if option in found:
            raise ValueError(f"the option {name!r} is set twice")
        found[option] = _parsed(f"the option {name!r}", parser, value)
    return found


def _parsed(what: str, parser: Parser, value: str) -> Option:
    try:
        return parser(value)
    except ValueError:
        raise ValueError(f"{what} has no valid value") from None
