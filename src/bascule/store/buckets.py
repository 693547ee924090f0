"""Objects in S3-compatible storage, by key, through Arrow's own client: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from bascule.errors import EnvironmentProblem, InputError

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60
ATTEMPTS = 3

# What may stand after the `?` of an address.
OPTIONS = ("endpoint_override", "region", "scheme")


class Bucket:
    """A connection to one object storage. Keys begin with the bucket's name; all calls are safe from any thread.

    A key that is not there is a `FileNotFoundError`, as with files; whatever else goes wrong is an
    `EnvironmentProblem` that names the storage.

    Args:
        url: `s3://[key:secret@]bucket/prefix[?endpoint_override=URL&region=NAME&scheme=https]`. Where it does not say
            them, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_DEFAULT_REGION` do.

    Raises:
        InputError: when the address cannot be one.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - set(OPTIONS))
        if parts.scheme != "s3" or not parts.hostname or unknown:
            raise InputError(
                f"{_plain(url)!r} is no address of object storage{f': {unknown[0]!r} is unknown' if unknown else ''}.",
                hint="Write s3://BUCKET/PREFIX, with ?endpoint_override=URL for a service of your own.",
            )
        self.address = _plain(url)
        self.query = parts.query
        self.options = _from_environment() | options
        place = parts.netloc.rpartition("@")[2]
        self.root = f"{place}{unquote(parts.path)}".rstrip("/")
        signed = {}
        if parts.username and parts.password:
            signed = {"access_key": unquote(parts.username), "secret_key": unquote(parts.password)}
        try:
            self._files = fs.S3FileSystem(
                connect_timeout=CONNECT_SECONDS,
                request_timeout=ANSWER_SECONDS,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
                allow_delayed_open=True,  # a small object is one request and not three
                **self.options,
                **signed,
            )
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise InputError(
                f"Cannot use {self.address!r} as object storage: {error}", hint="Check its options."
            ) from error

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        with self.told(), self._files.open_input_file(key) as source:
            return bytes(source.readall())

    def opened(self, key: str) -> pa.NativeFile:
        """Open an object for reading at any position."""
        with self.told():
            return self._files.open_input_file(key)

    def write(self, key: str, data: bytes) -> None:
        """Write an object. When this returns it is durable; when it raises, nothing of it is there."""
        self._put(key, pa.py_buffer(data))

    def upload(self, path: Path, key: str) -> None:
        """Write a file's content as an object, as `write` does, in parts that are sent at once when it is large."""
        if path.stat().st_size == 0:  # which cannot be mapped
            self._put(key, pa.py_buffer(b""))
            return
        with pa.memory_map(str(path)) as source:
            self._put(key, source.read_buffer())

    def info(self, key: str) -> fs.FileInfo:
        """Return what is at a key; its type is `NotFound` when there is nothing, and `Directory` when keys go on."""
        with self.told():
            return self._files.get_file_info(key)

    def size(self, key: str) -> int:
        """Return an object's size in bytes."""
        return int(self.file(key).size)

    def file(self, key: str) -> fs.FileInfo:
        """Return what is told of an object: its size, and when it was written."""
        found = self.info(key)
        if found.type != fs.FileType.File:
            raise FileNotFoundError(2, "No such object", f"s3://{key}")
        return found

    def list(self, key: str, *, deep: bool = False) -> Iterator[fs.FileInfo]:
        """List what is below a key, one level or all; nothing when nothing is there."""
        with self.told():
            yield from self._files.get_file_info(fs.FileSelector(key, recursive=deep, allow_not_found=True))

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self.told():
            self._files.delete_file(key)

    def delete_all(self, key: str) -> None:
        """Delete every object below a key; silent when there is none."""
        with self.told(), suppress(FileNotFoundError):
            self._files.delete_dir(key)

    def copy(self, old: str, new: str) -> None:
        """Copy an object inside of the storage; who reads the new key sees the old or the new one whole."""
        with self.told():
            self._files.copy_file(old, new)

    def demand(self) -> None:
        """Raise `EnvironmentProblem` when the bucket does not answer, or is not there."""
        with self.told(), suppress(FileNotFoundError):  # a prefix with nothing below it
            self._files.get_file_info(fs.FileSelector(self.root, recursive=False))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn what the client says into an error that a user can act on; a missing key stays what it is."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise EnvironmentProblem(
                f"Object storage {self.address} does not answer as it should: {_reason(str(error))}",
                hint=_hint(str(error)),
            ) from error

    def _put(self, key: str, data: pa.Buffer) -> None:
        with self.told():
            out = self._files.open_output_stream(key)
            try:
                # One call, which no Ctrl-C interrupts: Arrow cannot give an upload up, closing always publishes it.
                out.write(data)
            except BaseException:
                with suppress(OSError):
                    out.close()
                with suppress(OSError):
                    self._files.delete_file(key)
                raise
            out.close()


def _from_environment() -> dict[str, str]:
    """Return the service and the region that the environment names, as other tools read it; keys Arrow reads itself."""
    found = {}
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").casefold() != "true":
        found["endpoint_override"] = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    found["region"] = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return {name: value for name, value in found.items() if value}


def _plain(url: str) -> str:
    """Return an address without secrets and options."""
    head, _, rest = url.partition("?")[0].partition("://")
    return f"{head}://{rest.rpartition('@')[2]}" if rest else head


def _reason(text: str) -> str:
    return text.split(" (Request ID")[0].removeprefix("[Errno 2] ").strip()


def _hint(text: str) -> str:
    if "NO_SUCH_BUCKET" in text:
        return "Make the bucket first: Bascule makes none, so that a typing error is not a new bucket."
    if "ACCESS_DENIED" in text or "INVALID_ACCESS_KEY" in text or "SIGNATURE" in text or "HTTP status 403" in text:
        return "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), and what they may do there."
    if "NETWORK_CONNECTION" in text:
        return "Check the address and that the service runs, then repeat. Nothing was half-written."
    return "Check the address, the bucket and the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
