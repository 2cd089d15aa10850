"""What `make check` runs over the house itself; nothing of it is shipped."""
