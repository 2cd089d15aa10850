"""Health: what is looked at each minute, what a failure does, and how a session is healed."""
