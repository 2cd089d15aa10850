"""How a session's state is kept: live in Redis, saved every few seconds, checkpointed, and read back verified."""
