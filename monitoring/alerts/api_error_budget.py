"""Requests are answered with 5xx, faster than the objective allows."""

from monitoring.burn import budget_rules
from monitoring.model import Alert, Case, Fired
from monitoring.objectives import API_AVAILABILITY

_WORST = """\
 Most of them in the last 10 minutes: \
{{ range $i, $route := printf `sort_desc(topk(3, sum by (http_request_method, http_route, \
http_response_status_code) (increase(http_server_request_duration_seconds_count{\
http_response_status_code=~"5..",namespace=%q,release=%q}[10m])) > 0))` \
$labels.namespace $labels.release | query }}{{ if $i }}, {{ end }}\
{{ .Labels.http_request_method }} {{ .Labels.http_route }} with \
{{ .Labels.http_response_status_code }}{{ else }}none{{ end }}."""

_API = 'heavylift_build_info{component="api",instance="api"}'
_REQUESTS = (
    'http_server_request_duration_seconds_count{instance="api",http_request_method="%s",'
    'http_route="/api/v1/%s",http_response_status_code="%s"}'
)

ALERT = Alert(
    name="HeavyliftApiErrorBudget",
    says="too many requests are answered with a 5xx",
    area="api",
    dashboard="api",
    rules=budget_rules(
        API_AVAILABILITY, summary="The API answers too many requests with 5xx", more=_WORST
    ),
    cases=[
        Case(
            name="5% of the requests fail for 10 minutes",
            series={
                _API: "1x20",
                _REQUESTS % ("GET", "items", "200"): "0+190x20",
                _REQUESTS % ("GET", "items", "503"): "0+8x20",
                _REQUESTS % ("POST", "jobs/image.transform", "500"): "0+2x20",
            },
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"slo": "api-availability", "window": "1h"},
                    summary="The API answers too many requests with 5xx",
                    description="5% of the requests were answered with a 5xx in the last hour. The "
                    "error budget burns at more than 14.4 times the rate that would use it up in "
                    "30 days. Most of them in the last 10 minutes: GET /api/v1/items with 503, "
                    "POST /api/v1/jobs/image.transform with 500.",
                )
            ],
        ),
        Case(
            name="0.4% of the requests fail for 80 minutes",
            series={
                _API: "1x160",
                _REQUESTS % ("GET", "items", "200"): "0+996x160",
                _REQUESTS % ("GET", "items", "500"): "0+4x160",
            },
            at="80m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"slo": "api-availability", "window": window},
                    summary="The API answers too many requests with 5xx",
                    description=f"0.4% of the requests were answered with a 5xx in the last "
                    f"{spelled}. The error budget burns at more than {factor}the rate that would "
                    "use it up in 30 days. Most of them in the last 10 minutes: "
                    "GET /api/v1/items with 500.",
                )
                for window, spelled, factor in (("1d", "day", "3 times "), ("3d", "3 days", ""))
            ],
        ),
        Case(
            name="0.8% of the requests fail for 25 minutes",
            series={
                _API: "1x60",
                _REQUESTS % ("GET", "items", "200"): "0+992x60",
                _REQUESTS % ("GET", "items", "500"): "0+8x60",
            },
            at="25m",
            fires=[
                Fired(
                    severity="page",
                    labels={"slo": "api-availability", "window": "6h"},
                    summary="The API answers too many requests with 5xx",
                    description="0.8% of the requests were answered with a 5xx in the last 6 "
                    "hours. The error budget burns at more than 6 times the rate that would use it "
                    "up in 30 days. Most of them in the last 10 minutes: GET /api/v1/items with "
                    "500.",
                )
            ],
        ),
        *(
            Case(
                name=f"three of four requests at night fail, {at} after it began",
                series={
                    _API: "1x160",
                    _REQUESTS % ("GET", "items", "200"): "0x10 1x150",
                    _REQUESTS % ("GET", "items", "500"): "0x10 1 2 3x148",
                },
                at=at,
            )
            # Each time another window would alert if it needed no number of errors.
            for at in ("9m", "25m", "75m")
        ),
        Case(
            name="half of the requests failed for 10 minutes, 2 hours ago",
            series={
                _API: "1x280",
                _REQUESTS % ("GET", "items", "200"): "0+100x20 2000+200x260",
                _REQUESTS % ("GET", "items", "500"): "0+100x20 2000x260",
            },
            at="140m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"slo": "api-availability", "window": "3d"},
                    summary="The API answers too many requests with 5xx",
                    description="3.643% of the requests were answered with a 5xx in the last 3 "
                    "days. The error budget burns at more than the rate that would use it up in 30 "
                    "days. Most of them in the last 10 minutes: none.",
                )
            ],
        ),
        Case(
            name="half of the requests failed for 10 minutes, 45 minutes ago",
            series={
                _API: "1x110",
                _REQUESTS % ("GET", "items", "200"): "0+100x20 2000+200x90",
                _REQUESTS % ("GET", "items", "500"): "0+100x20 2000x90",
            },
            at="55m",
        ),
        Case(
            name="another program with metrics of the same name fails",
            series={
                _API: "1x40",
                _REQUESTS % ("GET", "items", "200"): "0+100x40",
                'http_server_request_duration_seconds_count{namespace="shop",release="cart",'
                'instance="cart",http_response_status_code="500"}': "0+100x40",
            },
            at="20m",
        ),
    ],
)
