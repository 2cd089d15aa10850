"""`fntx flower`: Flower with the Sessions pages, in the foreground, on the desk that runs here or is configured."""

import importlib.util
import os
import socket
import sys
from typing import Annotated

import typer

from fntx_sessions.cli.beside import settings_here
from fntx_sessions.exceptions import InvalidArgument, StackError, Unavailable

Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="FNTX_FLOWER_PORT's without it.")]
Address = Annotated[str, typer.Option("--address", help="Where it listens; only loopback is safe without a proxy.")]
Prefix = Annotated[str, typer.Option("--url-prefix", help="The path under which a proxy shows it.")]
More = Annotated[list[str] | None, typer.Argument(help="More options of Flower's own, after `--`.")]


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command()(flower)


def flower(port: Port = None, address: Address = "127.0.0.1", url_prefix: Prefix = "", more: More = None) -> None:
    """Run Flower with the Sessions pages. `fntx up` runs one already; this is for one more, or a desk elsewhere."""
    settings = settings_here()
    if settings.redis_url is None:
        raise Unavailable("the desk", f"no stack runs in {settings.home}", "Start it with `fntx up`.")
    chosen = port or settings.flower_port
    _must_be_free(address, chosen)
    given = [f"--conf={_configuration()}", f"--port={chosen}", f"--address={address}"]
    given += [f"--url_prefix={url_prefix.strip('/')}"] if url_prefix.strip("/") else []
    typer.echo(f"http://{address}:{chosen}/{url_prefix.strip('/')}  Ctrl-C ends it.", err=True)
    command = [sys.executable, "-m", "celery", "-A", "tasks", "flower", *given, *(more or [])]
    os.execv(sys.executable, command)  # noqa: S606 -- it becomes Flower, so that signals reach that one


def _must_be_free(address: str, port: int) -> None:
    try:
        with socket.create_server((address, port)):
            return
    except OSError as error:
        fix = "Choose another with --port; `fntx status` says whether the stack's own runs there."
        raise InvalidArgument("port", f"{address}:{port} cannot be listened on ({error.strerror})", fix) from None


def _configuration() -> str:
    found = importlib.util.find_spec("flowerconfig")
    if found is None or found.origin is None:
        raise StackError("flowerconfig.py is not installed", "Install fntx-sessions again.")
    return found.origin
