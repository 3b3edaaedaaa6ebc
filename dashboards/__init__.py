"""What people see: Grafana dashboards, Prometheus rules and alerts, and their runbooks."""
