"""Grafana's dashboards: a module for each, written as JSON that Grafana can be provisioned with."""

from pathlib import Path

FOLDER = Path("helm/heavylift/monitoring/dashboards")


def files() -> dict[Path, str]:
    """Their texts by their paths."""
    from monitoring.dashboards import api, frame, jobs, ledger, load_test, pools, service

    pages = (module.PAGE for module in (service, api, jobs, pools, ledger, load_test))
    return {FOLDER / f"{page.name}.json": frame.text(page) for page in pages}
