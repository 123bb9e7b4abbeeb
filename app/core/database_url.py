"""The URL of a database: libpq reads it, and both drivers connect by what libpq has read.

SQLAlchemy's own URLs differ from libpq's: they write a space as `+`, which libpq takes for a plus,
and spell several hosts in another way for each driver.
"""

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

# Values by libpq keyword: https://www.postgresql.org/docs/current/libpq-connect.html
Options = Mapping[str, str]

FORMAT = (
    "write it as postgresql://user:password@host:5432/database, with %40, %2F, %3A and %25 for "
    "@ / : and % in a name or a password"
)

# SQLAlchemy's spelling, with a driver's name, is accepted and means the same.
SCHEME = re.compile(r"postgres(ql)?(\+\w+)?://")

# libpq wants these characters encoded in a name or a password. SQLAlchemy does not, and URLs that
# worked with it keep working.
LOGIN = re.compile(r"[^:@/?#]*:[^@]*@")
BARE = re.compile(r"/|%(?![0-9A-Fa-f]{2})")

# An option's name may be shown; anything else might be a piece of a password.
NAME = re.compile(r"[a-z_]+")

# Options with a place before the question mark; a URL may have them after it instead.
WHERE_AND_WHO = ("host", "port", "dbname", "user", "password", "passfile")

# Both drivers accept these; asyncpg only in a DSN.
TLS = (
    "sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
)  # fmt: skip

# Sent to the server when a session starts.
START_UP = ("application_name", "options")

# Only for connections of workers and the controller. asyncpg has no such options and needs none:
# each of its statements has a timeout.
KEEPALIVES = (
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
)  # fmt: skip

# Options limited to values that both drivers understand alike and that Heavylift can work with.
LIMITED = {
    "target_session_attrs": ("any", "read-write", "primary"),
    "client_encoding": ("utf8", "utf-8"),
    "channel_binding": ("prefer", "disable"),
    "gssencmode": ("prefer", "disable"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
}
NUMBERS = ("connect_timeout", *KEEPALIVES)

# libpq's integers have 32 bits.
MAX_NUMBER = 2**31 - 1

# libpq accepts these in any case, asyncpg only in this one. Neither accepts SSLv3.
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

# The minimum of both drivers.
MIN_TLS_VERSION = "TLSv1.2"

# libpq's name for the system's certificate authorities, in the place of a file; it implies
# sslmode=verify-full.
SYSTEM = ("sslrootcert", "system")

# The values of sslmode with which both drivers negotiate TLS directly.
DIRECT = ("require", "verify-ca", "verify-full")

KNOWN = frozenset({*WHERE_AND_WHO, *TLS, *START_UP, *LIMITED, *NUMBERS})


def parse(url: str) -> Options:
    """Parse a URL. Raises `ValueError`, which says what is wrong and quotes no password."""
    scheme = SCHEME.match(url)
    if scheme is None:
        raise ValueError(FORMAT)
    _refuse_unknown(_query_names(url))
    try:
        read = conninfo_to_dict(f"postgresql://{_encoded_login(url[scheme.end() :])}")
    except (psycopg.Error, UnicodeError):
        # Its message may quote the password.
        raise ValueError(FORMAT) from None
    options = {name: str(value) for name, value in read.items()}
    _refuse_unknown(options)
    _normalize(options)
    for name in NUMBERS:
        number = options.get(name, "0")
        if not (number.isascii() and number.isdecimal() and int(number) <= MAX_NUMBER):
            raise ValueError(f"{name} must be a whole number, at most {MAX_NUMBER}")
    _check_tls(options)
    hosts(options)
    return options


def _normalize(options: dict[str, str]) -> None:
    """Write names of values as both drivers accept them. Raises `ValueError`."""
    versions = dict.fromkeys(("ssl_min_protocol_version", "ssl_max_protocol_version"), TLS_VERSIONS)
    for name, values in {**LIMITED, **versions}.items():
        if name in options:
            accepted = {value.lower(): value for value in values}
            if options[name].lower() not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(values)}")
            options[name] = accepted[options[name].lower()]


def _sslmode(options: Options) -> str:
    return options.get("sslmode", "verify-full" if SYSTEM in options.items() else "prefer")


def _check_tls(options: Options) -> None:
    """Refuse TLS options that a driver refuses together. Raises `ValueError`."""
    sslmode = _sslmode(options)
    if SYSTEM in options.items() and sslmode != "verify-full":
        raise ValueError(f"sslrootcert=system needs sslmode=verify-full, not {sslmode}")
    if options.get("sslnegotiation") == "direct" and sslmode not in DIRECT:
        raise ValueError(f"sslnegotiation=direct needs sslmode={', '.join(DIRECT)}, not {sslmode}")
    lowest = options.get("ssl_min_protocol_version", MIN_TLS_VERSION)
    highest = options.get("ssl_max_protocol_version", TLS_VERSIONS[-1])
    if TLS_VERSIONS.index(lowest) > TLS_VERSIONS.index(highest):
        raise ValueError(
            f"ssl_max_protocol_version={highest} is below ssl_min_protocol_version={lowest}"
        )


def _encoded_login(rest: str) -> str:
    login = LOGIN.match(rest)
    if login is None:
        return rest
    return BARE.sub(lambda bare: quote(bare[0], safe=""), login[0]) + rest[login.end() :]


def _query_names(url: str) -> list[str]:
    # A question mark before the first @ belongs to the password.
    _, at, rest = url.partition("@")
    _, _, query = (rest if at else url).partition("?")
    return [unquote(pair.partition("=")[0]) for pair in query.split("&") if pair]


def _refuse_unknown(names: Iterable[str]) -> None:
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(FORMAT)
        if name not in KNOWN:
            raise ValueError(f"unknown option {name}; there are {', '.join(sorted(KNOWN))}")


def hosts(options: Options) -> list[tuple[str | None, int]]:
    """The servers in the order in which they are tried; None is the driver's default socket."""
    names = options.get("host", "").split(",")
    ports = options.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise ValueError(f"{len(ports)} ports for {len(names)} hosts: write host:port,host:port")
    if not all(port == "" or (port.isdecimal() and 0 < int(port) < 65536) for port in ports):
        raise ValueError(FORMAT)
    return [(name or None, int(port or 5432)) for name, port in zip(names, ports, strict=True)]


def files(options: Options) -> dict[str, str]:
    """The files that both drivers read for TLS, by option."""
    sslmode = _sslmode(options)
    names = ["sslcert", "sslkey"] if "sslcert" in options and sslmode != "disable" else []
    if sslmode in DIRECT:
        names += ["sslrootcert", "sslcrl"]
    found = {name: options[name] for name in names if name in options}
    return {name: file for name, file in found.items() if (name, file) != SYSTEM}


def render(options: Options) -> str:
    """A URL that `parse`, libpq and SQLAlchemy read in the same way."""
    user, password = (quote(options.get(name, ""), safe="") for name in ("user", "password"))
    login = f"{user}{':' if password else ''}{password}{'@' if user else ''}"
    apart = ("user", "password", "dbname")
    query = urlencode(
        {name: value for name, value in options.items() if name not in apart}, quote_via=quote
    )
    return f"postgresql://{login}/{quote(options.get('dbname', ''), safe='')}?{query}".rstrip("?")


def for_asyncpg(options: Options) -> dict[str, Any]:
    """`asyncpg.connect`'s arguments, without a host and a port."""
    tls: dict[str, Any] = {name: options[name] for name in TLS if name in options}
    trusted: dict[str, Any] = {}
    if SYSTEM in tls.items():
        trusted["ssl"] = _system_context(tls)
        tls = {name: tls[name] for name in ("sslnegotiation",) if name in tls}
    return {
        "dsn": f"postgresql://?{urlencode(tls, quote_via=quote)}",
        "user": options.get("user"),
        "password": options.get("password"),
        "passfile": options.get("passfile"),
        "database": options.get("dbname"),
        "target_session_attrs": options.get("target_session_attrs"),
        "server_settings": {name: options[name] for name in START_UP if name in options},
        **trusted,
    }


def _system_context(tls: Options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Servers that negotiate TLS directly require it.
    context.set_alpn_protocols(["postgresql"])
    lowest = tls.get("ssl_min_protocol_version", MIN_TLS_VERSION)
    context.minimum_version = ssl.TLSVersion[lowest.replace(".", "_")]
    if "ssl_max_protocol_version" in tls:
        highest = tls["ssl_max_protocol_version"]
        context.maximum_version = ssl.TLSVersion[highest.replace(".", "_")]
    if "sslcrl" in tls:
        context.load_verify_locations(cafile=tls["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in tls:
        context.load_cert_chain(tls["sslcert"], tls.get("sslkey"), tls.get("sslpassword", ""))
    return context
