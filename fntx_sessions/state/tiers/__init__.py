"""Where a session's latest save can be read: worker memory, Redis hot, Postgres warm."""
