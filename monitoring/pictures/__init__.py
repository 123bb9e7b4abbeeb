"""Pictures of the dashboards from live data, drawn by Grafana's own panel components."""
