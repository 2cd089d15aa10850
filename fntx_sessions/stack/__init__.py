"""The embedded stack behind `fntx up`: Postgres and Valkey from wheels, and this service's processes."""
