"""One suite over every store: local disk, and S3 over real HTTP."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.store import BlobStore, LocalStore, digest_of, open_store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return open_store(request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "blobs"))


def test_what_is_put_is_got(store: BlobStore, tmp_path: Path) -> None:
    name = store.put(b"flight")
    assert name == digest_of(b"flight") == store.put(b"flight")
    assert store.get(name) == b"flight"
    assert store.size(name) == 6
    with store.open(name) as blob:
        assert blob.read(3) == b"fli"
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(3_000_000))
    big = store.put_file(source)
    assert store.get(big) == source.read_bytes()
    assert {name, big} <= set(store.digests())
    assert store.read(big, 1_500_000, 700) == source.read_bytes()[1_500_000:1_500_700]
    assert store.read(name, 6, 0) == b""
    with pytest.raises(EnvironmentProblem, match="shorter"):
        store.read(name, 4, 3)
    store.delete(name)
    store.delete(name)
    assert not store.has(name)


def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    for ask in (store.get, store.open, store.size):
        with pytest.raises(NotFound):
            ask("0" * 64)
    with pytest.raises(NotFound):
        store.read("0" * 64, 0, 1)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 62 + "/x"])
def test_only_a_digest_names_a_blob(store: BlobStore, name: str) -> None:
    with pytest.raises(InputError, match="not a blob's name"):
        store.get(name)


def test_a_blob_that_the_disk_changed_is_refused(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    name = store.put(b"flight")
    path = store.local_path(name)
    assert path is not None
    path.write_bytes(b"flighT")
    with pytest.raises(EnvironmentProblem, match="does not hold"):
        store.get(name)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from bascule.store import open_store
from bascule.errors import EnvironmentProblem
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
store = open_store({str(tmp_path / "blobs")!r})
try:
    store.put(bytes(200_000))
except EnvironmentProblem as error:
    print(error.message)
print(list(store.digests()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Cannot write" in done.stdout
    assert done.stdout.strip().endswith("[]")
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="ftp"):
        open_store("ftp://host/blobs")
