"""Questions about sessions, answered from what is committed: read-only, one SELECT each."""
