"""The client of Google Cloud Storage: how long it waits and tries, and who it says it is."""

from dataclasses import dataclass
from typing import Any

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

_SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write"]
# Objects are asked for by bucket; the library wants a project all the same, and would look for one over the network.
_PROJECT = "fntx"
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Bounds of every request: seconds for one answer, seconds of trying again, bytes above which pieces are sent."""

    timeout_s: float = 10.0
    retry_s: float = 30.0
    resumable_bytes: int = 8_000_000

    @property
    def request(self) -> dict[str, Any]:
        """What every call of the library is given."""
        retry = DEFAULT_RETRY.with_delay(_FIRST_DELAY_S, _LONGEST_DELAY_S, 2.0).with_timeout(self.retry_s)
        return {"timeout": (self.timeout_s, self.timeout_s), "retry": retry if self.retry_s else None}


def build_bucket(name: str, emulator: str | None) -> storage.Bucket:
    """Return a bucket by name, without asking for it; emulator: the address of a server that wants no credentials.

    Raises google.auth's errors when there are no credentials.
    """
    if emulator:
        endpoint = emulator if "://" in emulator else f"http://{emulator}"
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        options = {"api_endpoint": endpoint.rstrip("/")}
        client = storage.Client(project=_PROJECT, credentials=anonymous, client_options=options)
    else:
        credentials, _ = google.auth.default(scopes=_SCOPES)
        client = storage.Client(project=_PROJECT, credentials=credentials)
    return client.bucket(name)
