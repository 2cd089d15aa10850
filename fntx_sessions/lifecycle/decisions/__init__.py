"""What each command decides about a locked row: pure functions from (row, ask) to changes.

A decision raises Rejected to refuse. It never looks anything up: the facts come with the row.
"""
