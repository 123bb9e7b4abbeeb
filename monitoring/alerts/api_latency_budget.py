"""Requests take longer than users accept, more often than the objective allows."""

from monitoring.burn import budget_rules
from monitoring.model import Alert, Case, Fired
from monitoring.objectives import API_LATENCY, LATENCY, UNTIMED

_API = 'heavylift_build_info{component="api",instance="api"}'


def _requests(route: str, every: str, fast: str, status: str = "200") -> dict[str, str]:
    labels = f'instance="api",http_route="{route}",http_response_status_code="{status}"'
    name = "http_server_request_duration_seconds"
    return {
        f"{name}_count{{{labels}}}": every,
        f'{name}_bucket{{{labels},le="{LATENCY}"}}': fast,
        f'{name}_bucket{{{labels},le="+Inf"}}': every,
    }


ALERT = Alert(
    name="HeavyliftApiLatencyBudget",
    says=f"too many requests take longer than {LATENCY} s",
    area="api",
    dashboard="api",
    rules=budget_rules(API_LATENCY, summary=f"Too many requests take longer than {LATENCY} s"),
    cases=[
        Case(
            name="four of five requests are slow for 10 minutes",
            series={_API: "1x20", **_requests("/api/v1/items", "0+100x20", "0+20x20")},
            at="10m",
            fires=[
                Fired(
                    severity="page",
                    labels={"slo": "api-latency", "window": "1h"},
                    summary="Too many requests take longer than 1.5 s",
                    description="80% of the requests took longer than 1.5 s in the last hour. The "
                    "error budget burns at more than 14.4 times the rate that would use it up in "
                    "30 days.",
                )
            ],
        ),
        Case(
            name="uploads, downloads and event streams last for minutes, requests do not",
            series={
                _API: "1x20",
                **_requests("/api/v1/items", "0+100x20", "0+100x20"),
                **{
                    series: values
                    for route in UNTIMED
                    for series, values in _requests(route, "0+500x20", "0x20").items()
                },
            },
            at="10m",
        ),
        Case(
            name="slow requests fail, which the error budget counts",
            series={_API: "1x20", **_requests("/api/v1/items", "0+100x20", "0x20", "503")},
            at="10m",
        ),
        Case(
            name="the only two requests of a night are slow",
            series={_API: "1x20", **_requests("/api/v1/items", "0x5 1 2x14", "0x20")},
            at="6m",
        ),
    ],
)
