"""What the API counts of its requests."""

from prometheus_client import Counter, Gauge, Histogram

from app.core.metrics import REQUEST_BUCKETS

REQUEST_DURATION = Histogram(
    "http_server_request_duration_seconds",
    "From a request's arrival until its response has been sent, a stream's to its end.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=REQUEST_BUCKETS,
)

ACTIVE_REQUESTS = Gauge(
    "http_server_active_requests",
    "Requests and streams that are open.",
    ["http_request_method"],
    multiprocess_mode="livesum",
)

AUTH_FAILURES = Counter(
    "heavylift_auth_failures",
    "Requests refused for who sent them, by the problem's type.",
    ["reason"],
)

CONNECTIONS_CLOSED = Counter(
    "heavylift_connections_closed",
    "Connections closed by the server, by reason: what was refused, too slow, or idle.",
    ["reason"],
)

ACCEPT_PAUSES = Counter(
    "heavylift_accept_pauses",
    "Times that no connection was accepted because few file descriptors were left.",
)
