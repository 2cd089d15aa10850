"""Figures for Prometheus: counted by workers' processes, shown by each worker and by Flower. docs/monitoring.md."""
