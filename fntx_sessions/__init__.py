"""Lifecycle management for trading sessions: stateful, recoverable, automated."""
