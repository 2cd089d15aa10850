"""What a desk looks at: logs, metrics, pages."""
