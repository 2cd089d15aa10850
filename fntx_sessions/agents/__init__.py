"""Agents: the hosted ones that come with the package, and how others are found."""
