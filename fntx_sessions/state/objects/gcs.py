"""A cold store in a bucket of Google Cloud Storage."""

import base64
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from uuid import uuid4

import google_crc32c
from google.api_core import exceptions as api
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from fntx_sessions.exceptions import IntegrityError, Unavailable
from fntx_sessions.state.objects.base import COLD_STORE, ObjectInfo
from fntx_sessions.state.objects.gcs_client import build_bucket, of_request
from fntx_sessions.state.objects.gcs_errors import FOREIGN, gcs_errors
from fntx_sessions.state.objects.probe import probe
from fntx_sessions.state.objects.waits import Waits

# Which write an object is of: tells ours, whose answer was lost, from somebody else's of the same bytes.
_WRITE_ID = "fntx-write"
_PIECE_BYTES = 1 << 18
_DOWNLOADS = 3
_RACES = 20
_ROUNDS = 3
_OCTETS = "application/octet-stream"


class GcsStore:
    """Objects of a bucket under a prefix. Nothing is asked before the first call; safe for many threads."""

    name = "gcs"

    def __init__(self, bucket: str, prefix: str, waits: Waits | None = None, emulator: str | None = None) -> None:
        """Take the address; emulator: the URL of a server that stands in for Google's."""
        self._name = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._waits = waits or Waits()
        self._request = of_request(self._waits)
        self._emulator = emulator
        self._lock = threading.Lock()
        self._built: storage.Bucket | None = None

    def __str__(self) -> str:
        """Return where it lies."""
        return f"gs://{self._name}/{self._prefix}"

    @property
    def address(self) -> str:
        """The FNTX_COLD_URL that names this bucket and prefix."""
        return str(self).rstrip("/")

    def create(self, name: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Write an object that is not there yet; False: one of that name is there, and stays as it is.

        A write that went through although its answer was lost is True.
        """
        with gcs_errors(self._name):
            return self._upload(name, data, metadata, 0)

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object in place of whatever has that name, in one step."""
        self.replace_if(name, data, metadata, lambda _: True)

    def replace_if(
        self, name: str, data: bytes, metadata: Mapping[str, str], over: Callable[[Mapping[str, str]], bool]
    ) -> bool:
        """Write an object where none is, or where `over` says yes to the metadata of the one that is there."""
        with gcs_errors(self._name):
            for _ in range(_RACES):
                blob = self._known(name)
                if blob is not None and not over(_metadata(blob)):
                    return False
                if self._upload(name, data, metadata, 0 if blob is None else int(blob.generation)):
                    return True
        fix = "Try again; it is written by others without a pause."
        raise Unavailable(COLD_STORE, f"{name} was written by others {_RACES} times meanwhile", fix)

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, compared with its checksum; None: there is none. Raises IntegrityError.

        Bytes that arrive damaged are asked for again before the object counts as damaged.
        """
        with gcs_errors(self._name):
            for left in reversed(range(_DOWNLOADS)):
                try:
                    return self._download(name)
                except DataCorruption as error:
                    if not left:
                        detail = f"checksum does not match what arrived, {_DOWNLOADS} times"
                        raise IntegrityError(f"cold object {name}", detail) from error
        raise AssertionError

    def info(self, name: str) -> ObjectInfo | None:
        """Return what is known of an object without reading it; None: there is none."""
        with gcs_errors(self._name):
            blob = self._known(name)
        return None if blob is None else self._info(blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose name begins with `prefix`, by name."""
        with gcs_errors(self._name):
            for blob in self._bucket().list_blobs(prefix=self._prefix + prefix, **self._request):
                yield self._info(blob)

    def destroy(self, name: str) -> int:
        """Delete an object with every generation it ever had; return how many are gone, 0 when there was none.

        Raises Unavailable also when the bucket keeps some of them all the same.
        """
        gone: set[int] = set()
        with gcs_errors(self._name):
            for _ in range(_ROUNDS):
                found = self._generations(name)
                if not found:
                    return len(gone)
                gone.update(self._delete(blob) for blob in found)
        detail = f"bucket {self._name} still has {len(found)} generations of {name} after they were deleted"
        fix = f"Look for a retention policy or a hold: gcloud storage buckets describe gs://{self._name}"
        raise Unavailable(COLD_STORE, detail, fix)

    def check(self) -> None:
        """Return when objects can be written and read here; raises Unavailable that says what is missing."""
        probe(self)

    @property
    def url(self) -> str:
        """The bucket's own address."""
        return f"gs://{self._name}"

    def kept_after_destroy_s(self) -> int:
        """Return for how many seconds the bucket keeps what was destroyed; 0 also where we may not ask."""
        with gcs_errors(self._name):
            bucket = self._bucket().client.bucket(self._name)
            with suppress(api.Forbidden):
                bucket.reload(**self._request)
                return int(bucket.soft_delete_policy.retention_duration_seconds or 0)
        return 0

    def _bucket(self) -> storage.Bucket:
        with self._lock:
            if self._built is None:
                self._built = build_bucket(self._name, self._emulator)
                weakref.finalize(self, self._built.client.close)
            return self._built

    def _upload(self, name: str, data: bytes, metadata: Mapping[str, str], generation: int) -> bool:
        """Write over `generation` (0: none); False when something else is there now."""
        if len(data) > self._waits.resumable_bytes and self._generation(name) != generation:
            return False  # told before the bytes travel, not after
        try:
            return self._upload_once(name, data, metadata, generation)
        except DataCorruption:
            return self._upload_once(name, data, metadata, generation)

    def _upload_once(self, name: str, data: bytes, metadata: Mapping[str, str], generation: int) -> bool:
        blob = self._bucket().blob(self._prefix + name)
        blob.metadata = {**metadata, _WRITE_ID: uuid4().hex}
        try:
            self._send(blob, data, generation)
        except FOREIGN as error:
            # The answer may be lost, or come from a second try that met the first: what is there decides.
            if self._arrived(name, blob.metadata[_WRITE_ID], data):
                return True
            if isinstance(error, api.PreconditionFailed):
                return False
            raise
        if blob.crc32c != _crc(data):
            self._delete(blob)
            raise DataCorruption(None, f"{name}: stored with checksum {blob.crc32c}")
        return True

    def _send(self, blob: storage.Blob, data: bytes, generation: int) -> None:
        large = len(data) > self._waits.resumable_bytes
        if large:
            blob.chunk_size = self._waits.resumable_bytes // _PIECE_BYTES * _PIECE_BYTES
        blob.upload_from_file(
            BytesIO(data),
            size=None if large else len(data),  # the library sends in pieces what it does not know the size of
            content_type=_OCTETS,
            if_generation_match=generation,
            checksum="crc32c",
            crc32c_checksum_value=_crc(data) if large else None,  # then the bucket refuses what differs
            **self._request,
        )

    def _arrived(self, name: str, write_id: str, data: bytes) -> bool:
        try:
            found = self._known(name)
        except FOREIGN:
            return False
        return found is not None and (found.metadata or {}).get(_WRITE_ID) == write_id and found.crc32c == _crc(data)

    def _download(self, name: str) -> bytes | None:
        blob = self._bucket().blob(self._prefix + name)
        try:
            data: bytes = blob.download_as_bytes(raw_download=True, checksum="crc32c", **self._request)
        except api.NotFound:
            self._require_bucket()
            return None
        # The library passes over an answer without a checksum.
        if blob.crc32c != _crc(data):
            raise DataCorruption(None, f"{name} has checksum {blob.crc32c}")
        return data

    def _known(self, name: str) -> storage.Blob | None:
        blob = self._bucket().blob(self._prefix + name)
        try:
            blob.reload(**self._request)
        except api.NotFound:
            self._require_bucket()
            return None
        return blob

    def _generation(self, name: str) -> int:
        blob = self._known(name)
        return 0 if blob is None else int(blob.generation)

    def _require_bucket(self) -> None:
        """Return when it is the object that is missing; raises NotFound when it is the bucket: both answer 404."""
        for _ in self._bucket().list_blobs(prefix=self._prefix, max_results=1, **self._request):
            return

    def _generations(self, name: str) -> Sequence[storage.Blob]:
        # Not True: the library would send it capitalised, which not every server takes for a yes.
        found = self._bucket().list_blobs(prefix=self._prefix + name, versions="true", **self._request)
        return [blob for blob in found if blob.name == self._prefix + name]

    def _delete(self, blob: storage.Blob) -> int:
        # Not there: deleted by somebody else, or by a first try whose answer was lost.
        with suppress(api.NotFound):
            blob.delete(**self._request)
        return int(blob.generation)

    def _info(self, blob: storage.Blob) -> ObjectInfo:
        return ObjectInfo(blob.name.removeprefix(self._prefix), blob.size, blob.time_created, _metadata(blob))


def _metadata(blob: storage.Blob) -> dict[str, str]:
    return {name: value for name, value in (blob.metadata or {}).items() if name != _WRITE_ID}


def _crc(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()
