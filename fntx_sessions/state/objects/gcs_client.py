"""The client of Google Cloud Storage: how long it waits and tries, and who it says it is."""

from typing import Any

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from fntx_sessions.state.objects.waits import Waits

_SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write"]
# Objects are asked for by bucket; the library wants a project all the same, and would look for one over the network.
_PROJECT = "fntx"
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0


def of_request(waits: Waits) -> dict[str, Any]:
    """Return what every call of the library is given, so that none waits longer than `waits`."""
    retry = DEFAULT_RETRY.with_delay(_FIRST_DELAY_S, _LONGEST_DELAY_S, 2.0).with_timeout(waits.retry_s)
    return {"timeout": (waits.timeout_s, waits.timeout_s), "retry": retry if waits.retry_s else None}


def build_bucket(name: str, emulator: str | None) -> storage.Bucket:
    """Return a bucket by name, without asking for it; emulator: the address of a server that wants no credentials.

    Raises google.auth's errors when there are no credentials.
    """
    if not emulator:
        return _client(_default_credentials(), {}).bucket(name)
    endpoint = emulator if "://" in emulator else f"http://{emulator}"
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return _client(anonymous, {"api_endpoint": endpoint.rstrip("/")}).bucket(name)


def _default_credentials() -> Credentials:
    credentials: Credentials = google.auth.default(scopes=_SCOPES)[0]
    return credentials


def _client(credentials: Credentials, options: dict[str, str]) -> storage.Client:
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    session.hooks["response"] = [_read_errors]
    return storage.Client(project=_PROJECT, credentials=credentials, client_options=options, _http=session)


def _read_errors(response: requests.Response, **_: Any) -> None:
    """Read an error to its end: unread, it would keep its connection until it is collected as garbage."""
    if not response.ok:
        response.content  # noqa: B018 - a property that reads
