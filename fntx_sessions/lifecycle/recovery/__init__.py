"""Recovery: what a session's memory could be put back from, tried newest first, step by step, until one holds."""
