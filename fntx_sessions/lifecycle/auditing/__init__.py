"""The audit seen as a whole: where its chains ended is told outside Postgres, and what is there is held against it."""
