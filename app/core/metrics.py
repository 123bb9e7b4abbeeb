"""What all processes' metrics have in common.

Names and labels are those of the OpenTelemetry semantic conventions where they have some, written
as Prometheus does (dots are underscores, units and `_total` are suffixes); what is Heavylift's own
begins with `heavylift_`. docs/signals.md lists all of them.
"""

# Seconds: the semantic conventions' own (http.server.request.duration), and 1.5, the objective of
# loadtests/slo.yaml.
REQUEST_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip

# Seconds: jobs wait and run for milliseconds or for hours.
JOB_BUCKETS = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
    3600.0, 4 * 3600.0,
)  # fmt: skip
