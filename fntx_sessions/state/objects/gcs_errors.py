"""What goes wrong between us and a bucket, translated once: each says what it is and what to run."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.objects.base import COLD_STORE

FOREIGN = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    DataCorruption,
    InvalidResponse,
)
_LONGEST = 300

_CREATE = "Make it: gcloud storage buckets create gs://{bucket} --uniform-bucket-level-access --soft-delete-duration=0"
_GRANT = (
    "Let it: gcloud storage buckets add-iam-policy-binding gs://{bucket} --role=roles/storage.objectUser "
    "--member=serviceAccount:NAME; on a bucket with a retention policy nothing can be destroyed."
)
_LOG_IN = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
    "account."
)
_NETWORK = "Check the way to it (and STORAGE_EMULATOR_HOST, where that is set); it is tried again by itself."
_LATER = "It is tried again by itself; `fntx doctor` tries it now."

_SLOW = "bucket {bucket} does not answer in time ({told})"

# Foreign error -> (what happened, what to do). The first that fits counts; whatever is not listed is a bug of ours.
_TABLE: tuple[tuple[type[Exception], str, str], ...] = (
    (api.NotFound, "there is no bucket {bucket}", _CREATE),
    (api.Forbidden, "not allowed in bucket {bucket} ({told})", _GRANT),
    (api.Unauthorized, "bucket {bucket} does not accept our credentials ({told})", _LOG_IN),
    (auth.DefaultCredentialsError, "no Google credentials were found ({told})", _LOG_IN),
    (auth.TransportError, "Google's login cannot be reached ({told})", _NETWORK),
    (auth.GoogleAuthError, "Google does not accept our credentials ({told})", _LOG_IN),
    (api.GoogleAPICallError, "bucket {bucket} answers {told}", _LATER),
    (InvalidResponse, "bucket {bucket} answers {told}", _LATER),
    (DataCorruption, "bucket {bucket} took other bytes than were sent ({told})", _LATER),
    (requests.Timeout, _SLOW, _NETWORK),
    (urllib3.exceptions.TimeoutError, _SLOW, _NETWORK),
    (Exception, "bucket {bucket} cannot be reached ({told})", _NETWORK),
)


@contextmanager
def gcs_errors(bucket: str) -> Iterator[None]:
    """Run a block that talks to a bucket; raises Unavailable, naming what is wrong and the way out."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error, bucket) from error


def translate(error: Exception, bucket: str) -> Unavailable:
    """Return what an operator is told of a foreign error."""
    cause = error.cause if isinstance(error, api.RetryError) else error
    cause = cause if isinstance(cause, Exception) else error
    detail, fix = next((detail, fix) for kind, detail, fix in _TABLE if isinstance(cause, kind))
    facts = {"bucket": bucket, "told": _told(cause)}
    return Unavailable(COLD_STORE, detail.format(**facts), fix.format(**facts))


def _told(error: Exception) -> str:
    said = f"{error.response.status_code} {error.response.text}" if isinstance(error, InvalidResponse) else str(error)
    text = " ".join((said or type(error).__name__).split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
