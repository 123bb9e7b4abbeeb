"""Connections to PostgreSQL run out: on the server, or in the API's own pools."""

from monitoring.model import Alert, Case, Fired, Rule


def _pool(pending: str, timeouts: str) -> dict[str, str]:
    labels = '{instance="api",db_client_connection_pool_name="api"}'
    return {
        'heavylift_build_info{component="api",instance="api"}': "1x40",
        f"db_client_connection_max{labels}": "10x40",
        f"db_client_connection_pending_requests{labels}": pending,
        f"db_client_connection_timeouts_total{labels}": timeouts,
    }


def _server(sessions: str) -> dict[str, str]:
    return {
        "heavylift_database_connections": sessions,
        "heavylift_database_connections_max": "97x40",
    }


ALERT = Alert(
    name="HeavyliftDatabaseConnectionsShort",
    says="connections to PostgreSQL run out",
    area="database",
    dashboard="api",
    rules=[
        Rule(
            severity="ticket",
            expr="""\
max by (namespace, release) (heavylift_database_connections)
/ max by (namespace, release) (heavylift_database_connections_max)
> ${database_sessions_ratio}""",
            holds="5m",
            labels={"limit": "server"},
            summary="PostgreSQL is running out of sessions",
            description="{{ $value | humanizePercentage }} of the sessions that PostgreSQL allows "
            "are in use, by all its clients together. Beyond 100% new processes cannot connect.",
        ),
        Rule(
            severity="ticket",
            # The name of these metrics is OpenTelemetry's: other programs may have it, too.
            expr="""\
sum by (namespace, release) (
  avg_over_time(db_client_connection_pending_requests{db_client_connection_pool_name="api"}[5m])
)
/ sum by (namespace, release) (db_client_connection_max{db_client_connection_pool_name="api"})
> ${database_waiting_ratio}
and on (namespace, release) last_over_time(heavylift_build_info{component="api"}[5m])""",
            holds="5m",
            labels={"limit": "pool"},
            summary="Requests wait for database connections",
            description='{{ printf "%.2f" $value }} requests wait for each connection of '
            "the API's pools, on average over 5 minutes.",
        ),
        Rule(
            severity="ticket",
            expr="""\
sum by (namespace, release) (
  increase(db_client_connection_timeouts_total{db_client_connection_pool_name="api"}[5m])
) >= ${database_pool_timeouts}
and on (namespace, release) last_over_time(heavylift_build_info{component="api"}[5m])""",
            holds="1m",
            labels={"limit": "timeouts"},
            summary="Requests fail because no database connection is free",
            description='{{ printf "%.0f" $value }} requests in 5 minutes got no database '
            "connection in time and were answered with a 503.",
        ),
    ],
    cases=[
        Case(
            name="90 of 97 sessions are in use",
            series={**_server("90x40"), **_pool("0x40", "0x40")},
            at="10m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"limit": "server"},
                    summary="PostgreSQL is running out of sessions",
                    description="92.78% of the sessions that PostgreSQL allows are in use, by all "
                    "its clients together. Beyond 100% new processes cannot connect.",
                )
            ],
        ),
        Case(
            name="12 requests wait for 10 connections, and some in vain",
            series={**_server("20x40"), **_pool("12x40", "0+2x40")},
            at="15m",
            fires=[
                Fired(
                    severity="ticket",
                    labels={"limit": "pool"},
                    summary="Requests wait for database connections",
                    description="1.20 requests wait for each connection of the API's pools, on "
                    "average over 5 minutes.",
                ),
                Fired(
                    severity="ticket",
                    labels={"limit": "timeouts"},
                    summary="Requests fail because no database connection is free",
                    description="20 requests in 5 minutes got no database connection in time and "
                    "were answered with a 503.",
                ),
            ],
        ),
        Case(
            name="requests wait for a moment",
            series={**_server("60x40"), **_pool("0x10 30 0x28", "3x10 4x29")},
            at="15m",
        ),
        Case(
            name="another program runs out of connections",
            series={
                **_server("20x40"),
                'db_client_connection_max{namespace="shop",release="cart",'
                'db_client_connection_pool_name="api"}': "10x40",
                'db_client_connection_pending_requests{namespace="shop",release="cart",'
                'db_client_connection_pool_name="api"}': "50x40",
                'db_client_connection_timeouts_total{namespace="shop",release="cart",'
                'db_client_connection_pool_name="api"}': "0+5x40",
            },
            at="15m",
        ),
    ],
)
