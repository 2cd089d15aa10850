"""Who may do what: keys, tokens, roles, and the audit's chain."""
