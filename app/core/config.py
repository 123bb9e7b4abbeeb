"""Settings: all of them from the environment, `HEAVYLIFT_<GROUP>_<NAME>`, secrets also from files.

`HEAVYLIFT_DATABASE_URL_FILE=/run/secrets/db` reads `HEAVYLIFT_DATABASE_URL` from that file, for
every setting.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from limits import parse
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from typing_extensions import override

from app.core import database_url, redis_url
from app.core.domains import ascii_domain
from app.core.environment import CLIENT_VARIABLES
from app.core.mendable import Mendable
from app.core.proxies import TrustedProxies
from app.core.secret_file import SecretFile
from app.core.text import is_unicode

PREFIX = "HEAVYLIFT_"

# Good for a laptop only, and public: production refuses to start with it.
SAMPLE_SIGNING_KEY = "sample:not-a-secret-set-HEAVYLIFT_AUTH_SIGNING_KEYS"

# With a host after its two slashes, or a query, it would be another folder than it seems.
FOLDER = re.compile(r"file:///[^?#]*", re.IGNORECASE)


class ConfigurationError(Mendable):
    """One line that names the variable at fault and the fix."""


# As `limits` reads it, which takes several, too, but enforces only the first here.
RATE = re.compile(r"[0-9]+\s*(?:/|per)\s*(?P<multiple>[0-9]+)?\s*[a-z]+", re.IGNORECASE | re.ASCII)

# Redis counts in Lua, exactly up to 2**53; all networks together have ten times the limit.
MOST_ATTEMPTS = 10**12

# Seconds of a year: Redis's key lives as long.
LONGEST_WINDOW = 366 * 86400


def _postgresql(url: SecretStr) -> SecretStr:
    database_url.parse(url.get_secret_value())
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_postgresql)]

# Read anew for each connection, where they are files: passwords change while processes run.
FOLLOWED = frozenset({("database", "url"), ("database", "direct_url")})


# A week. PostgreSQL's timeouts are milliseconds in an int32, which end after 24 days.
LONGEST_TIMEOUT = 7 * 86400

# 100 years, before or after today: a date for Python and for PostgreSQL.
LONGEST_TTL = 100 * 365 * 86400

# Threads, processes or connections: Linux has no more processes by default (kernel.pid_max).
MOST_AT_ONCE = 32_768

# PostgreSQL's integer.
MOST = 2**31 - 1

# 1 PiB: sizes are a bigint in PostgreSQL, and no store takes so large an object.
MOST_BYTES = 1 << 50

# Seconds. PostgreSQL and most timers count milliseconds: anything shorter would be none.
Timeout = Annotated[float, Field(ge=0.001, le=LONGEST_TIMEOUT)]
Delay = Annotated[float, Field(ge=0, le=LONGEST_TIMEOUT)]
Ttl = Annotated[int, Field(gt=0, le=LONGEST_TTL)]

AtOnce = Annotated[int, Field(gt=0, le=MOST_AT_ONCE)]
Count = Annotated[int, Field(gt=0, le=MOST)]
Bytes = Annotated[int, Field(gt=0, le=MOST_BYTES)]


def _rate(rate: str) -> str:
    match = RATE.fullmatch(rate.strip())
    try:
        if match is None:
            raise ValueError
        item = parse(rate)
        multiple = int(match["multiple"] or 1)
    except ValueError:
        raise ValueError("write it as 10/minute or 10/5 minutes, one limit alone") from None
    if not 0 < item.amount <= MOST_ATTEMPTS:
        raise ValueError(f"the limit must be from 1 to {MOST_ATTEMPTS}; 0 would refuse everybody")
    if multiple == 0 or item.get_expiry() > LONGEST_WINDOW:
        raise ValueError("the time must be longer than 0 and at most a year")
    return rate


Rate = Annotated[str, AfterValidator(_rate)]


def _proxies(text: str) -> str:
    try:
        TrustedProxies.parse(text)
    except ValueError:
        raise ValueError("write it as 10.0.0.7,10.1.0.0/16, as a number of proxies, or *") from None
    return text


def checked_host(text: str) -> str:
    """The text, if a socket can look it up. Raises `ValueError`."""
    try:
        # As sockets do.
        encoded = text.encode("idna").decode()
    except UnicodeError:
        encoded = "\0"
    if not encoded.isprintable() or " " in encoded:
        raise ValueError("write it as a host name or an address")
    return text


Host = Annotated[str, AfterValidator(checked_host)]


# A scheme, a host, which browsers write in lower-case ASCII, and a port.
ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?", re.ASCII)

DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origin(text: str) -> str:
    """The origin as browsers send it: without the scheme's default port."""
    match = ORIGIN.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError("write it as https://app.example.com,https://host:8443: no paths, no *")
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" if port in (None, DEFAULT_PORTS[scheme]) else text.strip().lower()


class Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Group):
    url: DatabaseUrl = Field(
        SecretStr("postgresql://heavylift@localhost:5432/heavylift"),
        description="PostgreSQL, or a PgBouncer in transaction mode in front of it, as libpq "
        "writes it: several hosts are tried in turn (postgresql://user:password@one:5432,two:5432/"
        "database?target_session_attrs=read-write follows a switchover).",
    )
    direct_url: DatabaseUrl | None = Field(
        None, description="Bypasses a connection pooler; migrations use it. Default: the same."
    )
    pool_size: AtOnce = Field(10, description="Connections that one API process keeps.")
    pool_timeout: Timeout = Field(5, description="Seconds a request waits for a connection.")
    statement_timeout: Timeout = Field(10, description="Seconds, of one request's statement.")

    def require_files(self) -> None:
        """Raise `ConfigurationError` for a file of the URL's options that can't be read."""
        for variable, url in (("URL", self.url), ("DIRECT_URL", self.direct_url)):
            options = database_url.parse(url.get_secret_value()) if url else {}
            for name, path in database_url.files(options).items():
                if not os.access(path, os.R_OK):
                    raise ConfigurationError(
                        f"{PREFIX}DATABASE_{variable}: can't read {name}, {path}"
                    )


class Redis(Group):
    url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="redis://:password@host:6379/0, rediss://… (TLS, verified) or "
        "unix:///path?db=0. Options in its query: db, username, password, client_name, protocol, "
        "health_check_interval, socket_keepalive and, for TLS, ssl_ca_certs, ssl_certfile, "
        "ssl_keyfile, ssl_cert_reqs, ssl_check_hostname and others.",
    )
    timeout: Timeout = Field(2, description="Seconds for a connect, a read or a write.")

    @field_validator("url")
    @classmethod
    def _one_reading(cls, url: SecretStr) -> SecretStr:
        redis_url.parse(url.get_secret_value())
        return url

    def require_files(self) -> None:
        """Raise `ConfigurationError` for a file of the URL's options that can't be read."""
        options = redis_url.parse(self.url.get_secret_value()).options
        for name in redis_url.PATHS:
            path = options.get(name)
            if path is not None and not os.access(str(path), os.R_OK):
                raise ConfigurationError(f"{PREFIX}REDIS_URL: can't read {name}, {path}")


class Storage(Group):
    url: str = Field(
        "file:///var/lib/heavylift/files",
        description="file:///folder, s3://bucket/prefix, gs://… or az://…; credentials are the "
        "store's own variables (AWS_ACCESS_KEY_ID and so on).",
    )

    @field_validator("url")
    @classmethod
    def _whole_path(cls, url: str) -> str:
        if url.lower().startswith("file:") and FOLDER.fullmatch(url) is None:
            raise ValueError(
                "write it as file:///folder, a whole path, with %3F for ? and %23 for #"
            )
        return url


class Auth(Group):
    signing_keys: SecretStr = Field(
        SecretStr(SAMPLE_SIGNING_KEY),
        description="kid:secret[,kid:secret]: the first signs, all verify, so that keys rotate "
        "with an overlap. A secret has 32 characters or more.",
    )
    access_token_ttl: Ttl = Field(900, description="Seconds.")
    refresh_token_ttl: Ttl = Field(
        30 * 86400, description="Seconds; each refresh begins them anew."
    )
    session_ttl: Ttl = Field(
        90 * 86400, description="Seconds after a log-in until the next, whatever was refreshed."
    )
    logins_per_account: Rate = Field(
        "10/5 minutes",
        description="Wrong passwords for one account from one address, which a right one forgets; "
        "ten times as many from all addresses. For users who are logged in: password checks, "
        "right or wrong.",
    )
    logins_per_address: Rate = Field(
        "100/5 minutes", description="Attempts, right or wrong. An IPv6 address counts as its /64."
    )
    registrations_per_address: Rate = Field("20/hour", description="Attempts, as for log-ins.")
    hashing_threads: AtOnce = Field(
        2,
        description="Argon2id hashes at once in one API process, 19 MiB each; more wait. One more "
        "checks the passwords of users who are logged in.",
    )

    # All networks together have this many times the limit of one: by default 100 wrong passwords.
    # NIST SP 800-63B-4, section 3.2.2, allows no more in a row on one account. If one network could
    # reach the limit, a stranger could lock the owner out.
    networks: ClassVar[int] = 10

    @field_validator("signing_keys")
    @classmethod
    def _format(cls, keys: SecretStr) -> SecretStr:
        kids = []
        for entry in keys.get_secret_value().split(","):
            kid, colon, secret = entry.strip().partition(":")
            if not (kid and colon) or len(secret) < 32:
                raise ValueError("write it as kid:secret[,kid:secret], a secret of 32 characters")
            kids.append(kid)
        if len(set(kids)) != len(kids):
            raise ValueError("a kid stands twice")
        return keys

    @property
    def logins_per_account_anywhere(self) -> Rate:
        """The limit of an account over all networks together."""
        rate = parse(self.logins_per_account)
        return str(type(rate)(rate.amount * self.networks, rate.multiples))

    @property
    def keys(self) -> dict[str, str]:
        """Secrets by `kid`, the signing one first."""
        entries = (entry.strip() for entry in self.signing_keys.get_secret_value().split(","))
        return {kid: secret for kid, _, secret in (entry.partition(":") for entry in entries)}


class Files(Group):
    max_bytes: Bytes = Field(512 * 1024 * 1024, description="Of one upload.")
    ttl: Ttl = Field(7 * 86400, description="Seconds until a file expires.")
    pending_ttl: Ttl = Field(
        6 * 3600, description="Seconds an upload or an output may take before it is swept."
    )


class Jobs(Group):
    pools: Annotated[tuple[str, ...], NoDecode] = Field(
        ("cpu", "io"), description="The worker pools there are, comma-separated."
    )
    result_ttl: Ttl = Field(7 * 86400, description="Seconds a finished job is kept.")
    idempotency_ttl: Ttl = Field(86400, description="Seconds an Idempotency-Key is kept.")
    wait_target: Timeout = Field(
        60,
        description="Seconds within which an attempt should start once it may, for kinds that "
        "declare no wait_target. Metrics and alerts measure against it.",
    )
    # An API process holds several copies of a result while it answers.
    max_result_bytes: Annotated[int, Field(gt=0, le=64 << 20)] = Field(
        1 << 20,
        description="Maximum size of a job's result in bytes of JSON. Kinds store larger data in "
        "output files.",
    )

    @field_validator("pools", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are handed in; TLS from the first byte, after STARTTLS, or not at all."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: bool
    starttls: bool


# RFC 6409 and RFC 8314: the ports for handing mails in.
SMTP_PORTS = {"smtp": 587, "smtps": 465}


def _smtp_server(url: str) -> SmtpServer:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    starttls = options.pop("starttls", "required")
    if (
        parts.scheme not in SMTP_PORTS
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.fragment
        or options
        or starttls not in ("required", "off")
    ):
        raise ValueError("not a mail server's URL")
    return SmtpServer(
        host=parts.hostname,
        port=parts.port or SMTP_PORTS[parts.scheme],
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        tls=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp" and starttls == "required",
    )


class Mail(Group):
    url: SecretStr | None = Field(
        None,
        description="smtp://user:password@host:587 (STARTTLS; with ?starttls=off none, for a relay "
        "nearby) or smtps://user:password@host:465 (TLS). Default: development prints mails to the "
        "log, with the links in them; production sends none and refuses what needs one.",
    )
    sender: str = Field(
        "Heavylift <heavylift@localhost>", description="The address that mails come from."
    )
    timeout: Timeout = Field(10, description="Seconds for one mail; then it is lost.")
    connections: AtOnce = Field(4, description="Mails sent at once by one API process.")

    @field_validator("url")
    @classmethod
    def _format(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                _smtp_server(url.get_secret_value())
        except ValueError:
            raise ValueError("write it as smtp://user:password@host:587 or smtps://…") from None
        return url

    @field_validator("sender")
    @classmethod
    def _one_address(cls, sender: str) -> str:
        message = EmailMessage()
        try:
            message["From"] = sender
            (address,) = message["From"].addresses
            ascii_domain(address.domain)
        except ValueError:
            address = None
        if address is None or not address.domain or message["From"].defects:
            raise ValueError("write it as Name <name@host>")
        return sender

    @property
    def server(self) -> SmtpServer | None:
        return None if self.url is None else _smtp_server(self.url.get_secret_value())


class Newsletter(Group):
    page_url: str = Field(
        "http://127.0.0.1:8000/newsletter",
        description="The page that mails link to, with #confirm=… or #unsubscribe=… behind it: the "
        "API's own, at /newsletter, as its readers reach it, or another that does the same.",
    )
    confirm_ttl: Ttl = Field(
        3 * 86400, description="Seconds to confirm in; then the address is forgotten."
    )
    mail_interval: Ttl = Field(
        15 * 60, description="Seconds until the same address gets another mail to confirm."
    )
    subscriptions_per_address: Rate = Field("20/hour", description="As for log-ins.")

    @field_validator("page_url")
    @classmethod
    def _page(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "#" in url or not url.isprintable():
            raise ValueError("write it as https://host/newsletter")
        return url


class Api(Group):
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    processes: AtOnce = Field(
        1, description="API processes in this container; replicas scale better (metrics, memory)."
    )
    forwarded_allow_ips: Annotated[str, AfterValidator(_proxies)] = Field(
        "127.0.0.1,::1",
        description="Proxies whose X-Forwarded-For says where a request comes from: addresses and "
        "networks, comma-separated; or, where nothing else can reach the API, the number of "
        "proxies in front. * is for a single one that overwrites the header.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose pages may use the API from a browser, comma-separated: "
        "https://app.example.com,http://localhost:5173. Default: none but the API's own.",
    )
    grace: Timeout = Field(20, description="Seconds that open requests have at shutdown.")
    shutdown_delay: Delay = Field(
        5, description="Seconds it still accepts at shutdown, unready: a load balancer is late."
    )
    termination_grace: Timeout = Field(
        35,
        validate_default=True,
        description="Seconds from SIGTERM to SIGKILL that whoever runs it gives (Kubernetes: "
        "terminationGracePeriodSeconds): the two above and 6 more, or more.",
    )

    # Seconds, after its open requests' time, for the end of what a process owns, and for its
    # arbiter to see that it has ended.
    lifespan_end: ClassVar[int] = 5
    reaping: ClassVar[int] = 1

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(_origin(origin) for origin in value.split(",") if origin.strip())
        return value

    @field_validator("termination_grace")
    @classmethod
    def _fits(cls, seconds: float, info: ValidationInfo) -> float:
        needed = {name: info.data.get(name, 0) for name in ("shutdown_delay", "grace")}
        least = sum(needed.values()) + cls.lifespan_end + cls.reaping
        if seconds < least:
            sizes = " and ".join(
                f"{PREFIX}API_{name.upper()} ({value:g})" for name, value in needed.items()
            )
            raise ValueError(
                f"{seconds:g} s end it before {sizes} do: make it {least:g} or more, or those less"
            )
        return seconds

    @property
    def proxies(self) -> TrustedProxies:
        return TrustedProxies.parse(self.forwarded_allow_ips)


class Log(Group):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] | None = Field(
        None, description="Default: text on a terminal, one JSON object a line anywhere else."
    )


class Signals(Group):
    host: Host = Field("127.0.0.1", description="Of the port below: never through ingress.")
    port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None,
        description="Of /metrics, and of a worker's and a controller's /livez and /readyz; 0: a "
        "free one. Default: none.",
    )
    revision: str = Field(
        "unknown", description="The commit that this was built from, for heavylift_build_info."
    )


class Worker(Group):
    concurrency: AtOnce = Field(2, description="Slots: jobs at once.")
    threads_per_slot: AtOnce = Field(1, description="Threads that one job's libraries take.")
    kinds: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None, description="Only these job kinds, comma-separated. Default: all that are installed."
    )
    version: str | None = Field(
        None, description="What this build calls itself to others. Default: the package's version."
    )
    memory_per_slot: Bytes | None = Field(
        None,
        description="Bytes of resident memory a job may take before it fails. Default: an equal "
        "share of the container's limit, or of the machine's memory where it has none.",
    )
    cancel_grace: Timeout = Field(
        5, description="Seconds a job has to notice a cancel or a timeout before it is killed."
    )
    drain: Timeout = Field(
        25,
        description="Seconds from SIGTERM to putting back what still runs; keep it below the "
        "container's grace period.",
    )
    jobs_per_child: Count | None = Field(
        None,
        description="Attempts after which a slot's process is replaced: some libraries leak. "
        "Default: never.",
    )
    scratch: Path | None = Field(None, description="Folder for jobs' files; default: TMPDIR.")

    @field_validator("kinds", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


class Controller(Group):
    window_per_slot: Count = Field(
        2, description="Messages in Redis per live slot: few, so that order is decided late."
    )
    poll: Timeout = Field(1, description="Seconds between turns when no hint comes.")
    demand_limit: Count = Field(
        10_000,
        description="Jobs that a pool's demand is counted up to: what it may ever have of slots.",
    )
    max_workers: Annotated[dict[str, Count], NoDecode] = Field(
        {},
        description="Workers that each pool is scaled out to at most, as pool=count,pool=count. "
        "Metrics show it beside the workers that there are; nothing is scaled by it.",
    )
    paused: bool = Field(
        False, description="Dispatch nothing; all else goes on. For while a database is restored."
    )
    mark_pods: bool = Field(
        False,
        description="Mark the workers' pods in this controller's Kubernetes namespace, so that "
        "scale-in takes idle ones first. Needs the extra `kubernetes`, and a role that may get and "
        "patch pods.",
    )

    @field_validator("max_workers", mode="before")
    @classmethod
    def _by_pool(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        counts: dict[str, str] = {}
        for entry in filter(None, (part.strip() for part in value.split(","))):
            pool, equals, count = entry.partition("=")
            if not (pool and equals) or pool in counts:
                raise ValueError("write it as pool=count,pool=count, each pool once")
            counts[pool] = count
        return counts


class _Variables(EnvSettingsSource):
    @override
    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The files' names are no settings: they would be refused.
        return {
            name: value
            for name, value in super()._load_env_vars().items()
            if not name.endswith("_file")
        }


class _SecretFiles(PydanticBaseSettingsSource):
    """`HEAVYLIFT_X_FILE` stands for `HEAVYLIFT_X` with what the file has, less a last newline."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pragma: no cover - the abstract method that __call__ replaces

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for variable, path in os.environ.items():
            if not (variable.startswith(PREFIX) and variable.endswith("_FILE")):
                continue
            group, _, name = (
                variable.removeprefix(PREFIX).removesuffix("_FILE").lower().partition("_")
            )
            content: str | SecretStr
            try:
                if (group, name) in FOLLOWED:
                    content = SecretFile(Path(path), _postgresql)
                else:
                    content = Path(path).read_text().rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not text"
                raise ConfigurationError(f"{variable}: can't read {path}: {reason}") from error
            if name:
                found.setdefault(group, {})[name] = content
            else:
                found[group] = content
        return found


class Settings(BaseSettings):
    """Resolved settings; unknown `HEAVYLIFT_*` variables are refused by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
    )

    environment: Literal["development", "production"] = "development"
    database: Database = Database()
    redis: Redis = Redis()
    storage: Storage = Storage()
    auth: Auth = Auth()
    files: Files = Files()
    jobs: Jobs = Jobs()
    mail: Mail = Mail()
    newsletter: Newsletter = Newsletter()
    api: Api = Api()
    log: Log = Log()
    signals: Signals = Signals()
    worker: Worker = Worker()
    controller: Controller = Controller()

    # What has no safe default in production, where it is used.
    required_in_production: ClassVar[tuple[tuple[str, str], ...]] = (
        ("auth", "signing_keys"),
        ("database", "url"),
        ("redis", "url"),
        ("storage", "url"),
    )

    def require(self, groups: Collection[str]) -> None:
        """Raise `ConfigurationError` for what these groups lack in production."""
        if self.environment != "production":
            return
        for group, name in self.required_in_production:
            variable = f"{PREFIX}{group}_{name}".upper()
            if group in groups and name not in getattr(self, group).model_fields_set:
                raise ConfigurationError(f"{variable} is not set, and production has no default")
        if "auth" in groups and SAMPLE_SIGNING_KEY.partition(":")[2] in self.auth.keys.values():
            raise ConfigurationError(
                "HEAVYLIFT_AUTH_SIGNING_KEYS is the public sample: set a secret of your own"
            )
        if "newsletter" in groups and self.mail.url is not None:
            if "page_url" not in self.newsletter.model_fields_set:
                raise ConfigurationError(
                    "HEAVYLIFT_NEWSLETTER_PAGE_URL is not set: links in mails would lead nowhere"
                )
            if "sender" not in self.mail.model_fields_set:
                raise ConfigurationError(
                    "HEAVYLIFT_MAIL_SENDER is not set: mail servers refuse mails from localhost"
                )

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Variables(settings_cls), _SecretFiles(settings_cls)


def variables() -> dict[str, str]:
    """Every variable that a setting has, with its description."""
    found = {f"{PREFIX}ENVIRONMENT": "development or production."}
    for group, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            for name, setting in field.annotation.model_fields.items():
                found[f"{PREFIX}{group}_{name}".upper()] = setting.description or ""
    return found


# What the API uses: only it signs, and only it mails.
API = ("auth", "database", "newsletter", "redis", "storage")


@lru_cache
def load_settings(used: tuple[str, ...] = API) -> Settings:
    """The process's settings; those of the `used` groups must be fit for production, if it is that.

    A secret need not be where nothing uses it.
    Raises `ConfigurationError`, one line that names the variable, for whatever is wrong with them.
    """
    known = variables()
    for variable in os.environ:
        if variable in CLIENT_VARIABLES:
            continue
        if variable.startswith(PREFIX) and variable.removesuffix("_FILE") not in known:
            raise ConfigurationError(f"{variable} is no setting: `heavylift config` lists them")
        if variable in known and not is_unicode(os.environ[variable]):
            raise ConfigurationError(f"{variable}: not UTF-8; convert it to UTF-8")
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        variable = (PREFIX + "_".join(map(str, first["loc"]))).upper()
        raise ConfigurationError(
            f"{variable}: {first['msg'].removeprefix('Value error, ')}"
        ) from None
    settings.require(used)
    if "database" in used:
        settings.database.require_files()
    if "redis" in used:
        settings.redis.require_files()
    return settings
