"""`python -m fntx_sessions.stack.schema_check`: the migrations make exactly the tables of `database.models`."""

import os
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.util.exc import CommandError

from fntx_sessions.database.engine import alembic_config, migrate
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.postgres import Postgres


def main() -> int:
    """Migrate a database of its own and compare; return 1 and say what differs when they do not agree."""
    with tempfile.TemporaryDirectory(prefix="fntx-") as directory:
        home = Path(directory)
        home.chmod(0o711 if os.geteuid() == 0 else 0o700)
        folder = Folder(home)
        folder.prepare()
        return _compare(Postgres(folder), folder.logs / "postgres.log")


def _compare(server: Postgres, log: Path) -> int:
    server.prepare()
    process = server.start(log)
    try:
        server.wait_ready(log, lambda: process.poll() is None)
        server.ensure_database()
        migrate(server.url())
        command.check(alembic_config(server.url()))
    except CommandError as difference:
        sys.stderr.write(f"models and migrations differ: {difference}\nWrite a migration for it.\n")
        return 1
    finally:
        process.terminate()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
