"""Object storage when it is used as it should be, and when it is down, closed, missing or cut off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bascule.errors import EnvironmentProblem, InputError
from bascule.store import ObjectPath, Place, open_place, open_store
from bascule.store.buckets import Bucket
from bascule.store.cache import BLOCK, BlockCache, is_immutable
from bascule.store.places import below, copy, named, place_named, sizes

NAME = "data/" + "0" * 64 + "-0123abcd.parquet"


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    url = request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path / "place")
    return open_place(url, tmp_path / "tmp", cache=tmp_path / "cache")


@pytest.fixture
def remote(s3: str, tmp_path: Path) -> ObjectPath:
    found = open_place(s3, tmp_path / "tmp", cache=tmp_path / "cache")
    assert isinstance(found, ObjectPath)
    return found


def test_a_place_has_the_words_of_a_path(place: Place, tmp_path: Path) -> None:
    folder = place / "a" / "b"
    assert not folder.exists()
    assert list(sizes(place)) == []
    folder.mkdir(parents=True)
    (folder / "one.json").write_bytes(b"1")
    (folder / "two.txt").write_bytes(b"22")
    assert (folder / "one.json").read_bytes() == b"1"
    assert [path.name for path in named(folder, "*.json")] == ["one.json"]
    assert sorted((str(below(path, place)), size) for path, size in sizes(place)) == [
        ("a/b/one.json", 1),
        ("a/b/two.txt", 2),
    ]
    assert [path.name for path in (place / "a").iterdir()] == ["b"]
    assert (folder.is_dir(), folder.is_file(), (folder / "one.json").is_file()) == (True, False, True)
    assert (folder / "two.txt").stat().st_size == 2
    assert place_named(str(folder / "two.txt")) == folder / "two.txt"
    assert (folder / "one.json").with_name("two.txt") == folder / "two.txt"
    assert (folder.parent.name, below(place, folder)) == ("a", None)
    (folder / "one.json").unlink()
    (folder / "one.json").unlink(missing_ok=True)
    for missing in ((folder / "one.json").unlink, (folder / "one.json").read_bytes, (folder / "one.json").stat):
        with pytest.raises(FileNotFoundError):
            missing()
    assert copy(folder / "two.txt", tmp_path / "three.txt") == copy(tmp_path / "three.txt", folder / "four.txt")
    assert (folder / "four.txt").read_bytes() == b"22"


@pytest.mark.parametrize("url", ["s3://", "s3://b/p?colour=red", "ftp://host/x"])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no address|No store speaks"):
        open_place(url, tmp_path)


@pytest.mark.slow
def test_secrets_are_in_no_message(tmp_path: Path) -> None:
    bucket = Bucket("s3://name:geheim@nowhere/p?endpoint_override=http://127.0.0.1:9&region=us-east-1")
    with pytest.raises(EnvironmentProblem) as told:
        bucket.write("nowhere/p/x", b"1")
    assert "geheim" not in str(told.value.as_dict())
    assert "s3://nowhere/p" in told.value.message


def test_two_services_under_one_name_are_not_mixed_up(remote: ObjectPath, s3: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="open already, at another service"):
        open_place(s3.replace("region=us-east-1", "region=eu-west-1"), tmp_path)
    assert remote.exists() is False


def test_a_missing_bucket_is_told(s3: str, tmp_path: Path) -> None:
    gone = open_place(s3.replace("s3://lake/", "s3://leak/"), tmp_path)
    with pytest.raises(EnvironmentProblem, match="does not exist") as told:
        (gone / "x").write_bytes(b"1")
    assert "Make the bucket first" in told.value.hint


@pytest.mark.slow
def test_a_service_that_is_down_is_told(tmp_path: Path) -> None:
    down = open_place("s3://lake/down?endpoint_override=http://127.0.0.1:9&region=us-east-1", tmp_path)
    for ask in (lambda: (down / "x").write_bytes(b"1"), lambda: (down / "x").read_bytes(), lambda: list(sizes(down))):
        with pytest.raises(EnvironmentProblem, match="s3://lake/down does not answer") as told:
            ask()
        assert "Check the address" in told.value.hint


def test_a_wrong_key_is_told(tmp_path: Path) -> None:
    with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as url:
        closed = open_place(f"s3://lake/closed?endpoint_override={url}&region=us-east-1", tmp_path)
        with pytest.raises(EnvironmentProblem) as told:
            (closed / "x").write_bytes(b"1")
        assert "AWS_ACCESS_KEY_ID" in told.value.hint
        with pytest.raises(EnvironmentProblem):
            (closed / "x").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 3_000_000, 11_000_000])
def test_a_connection_that_is_cut_leaves_nothing(
    after: int, s3: str, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_place(s3, tmp_path)
    with cut(s3_server, after) as way:
        through = open_place(s3.replace(s3_server, way.url).replace("s3://lake/", "s3://lake/cut/"), tmp_path)
        source = tmp_path / "source"
        source.write_bytes(os.urandom(24_000_000))
        way.broken.set()
        with pytest.raises(EnvironmentProblem, match="does not answer"):
            open_store(through).put_file(source)
        way.broken.clear()
        assert list(open_store(through).digests()) == []
        name = open_store(through).put_file(source)  # and it can be repeated
        assert open_store(through).get(name) == source.read_bytes()
    assert not whole.exists()


@pytest.mark.slow
def test_an_upload_that_is_interrupted_leaves_nothing(remote: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def __init__(self, out: object) -> None:
            self.out = out

        def write(self, data: object) -> None:
            self.out.write(bytes(12 << 20))  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        def close(self) -> None:
            self.out.close()  # type: ignore[attr-defined]

    bucket = remote.shelf.bucket
    files = bucket._files

    class Files:
        def __getattr__(self, name: str) -> object:
            return getattr(files, name)

        def open_output_stream(self, key: str) -> Interrupted:
            return Interrupted(files.open_output_stream(key))

    monkeypatch.setattr(bucket, "_files", Files())
    with pytest.raises(KeyboardInterrupt):
        (remote / "x").write_bytes(b"1")
    assert not (remote / "x").exists()


def test_a_blob_that_was_cut_short_is_put_again(remote: ObjectPath) -> None:
    store = open_store(remote)
    name = store.put(b"the whole of it")
    (remote / name[:2] / name).write_bytes(b"the wh")
    with pytest.raises(EnvironmentProblem, match="does not hold"):
        store.get(name)
    assert store.put(b"the whole of it") == name
    assert store.get(name) == b"the whole of it"


@pytest.mark.slow
def test_a_killed_upload_leaves_nothing(s3: str, s3_server: str, tmp_path: Path) -> None:
    with cut(s3_server, None) as way:
        way.broken.set()  # bytes trickle
        code = (
            "import sys; from pathlib import Path; from bascule.store import open_place\n"
            "print('begun', flush=True)\n"
            "(open_place(sys.argv[1], Path(sys.argv[2])) / 'x').write_bytes(bytes(24_000_000))\n"
        )
        address = s3.replace(s3_server, way.url)
        process = subprocess.Popen([sys.executable, "-c", code, address, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while way.passed < 1_000_000:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert not (open_place(s3, tmp_path) / "x").exists()


# The cache -----------------------------------------------------------------------------------------------------------


def test_blocks_are_fetched_once_and_only_those_that_are_read(remote: ObjectPath, tmp_path: Path) -> None:
    data = os.urandom(5 * BLOCK + 77)
    (remote / NAME).write_bytes(data)
    key, bucket = (remote / NAME).key, remote.shelf.bucket
    cache = BlockCache(tmp_path / "blocks", bucket)
    assert cache.read(key, 2 * BLOCK - 5, 10) == data[2 * BLOCK - 5 : 2 * BLOCK + 5]
    assert sorted(path.name for path in (tmp_path / "blocks").rglob("*") if path.is_file()) == ["1", "2", "size"]
    assert cache.read(key, 5 * BLOCK, 1000) == data[5 * BLOCK :]
    (remote / NAME).shelf.bucket.delete(key)
    again = BlockCache(tmp_path / "blocks", bucket)  # another process, and the object is gone: no request is made
    assert again.read(key, BLOCK, 2 * BLOCK) == data[BLOCK : 3 * BLOCK]
    assert again.read(key, len(data), 5) == b""
    with pytest.raises(FileNotFoundError):
        again.read(key, 0, 1)
    again.drop(key)
    assert not any((tmp_path / "blocks").rglob("*-*"))


@pytest.mark.slow
def test_who_reads_on_is_given_more_at_once(
    remote: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(40 * BLOCK)
    (remote / NAME).write_bytes(data)
    key, bucket = (remote / NAME).key, remote.shelf.bucket
    cache, asked = BlockCache(tmp_path / "blocks", bucket), []

    class Handle:
        def __init__(self, key: str) -> None:
            self.source = opened(key)

        def size(self) -> int:
            return int(self.source.size())

        def read_at(self, count: int, start: int) -> bytes:
            asked.append((start // BLOCK, count // BLOCK))
            return bytes(self.source.read_at(count, start))

    opened = bucket.opened
    monkeypatch.setattr(bucket, "opened", Handle)
    assert b"".join(cache.read(key, at, 70_000) for at in range(0, len(data), 70_000)) == data
    assert asked == [(0, 1), (1, 2), (3, 4), (7, 8), (15, 16), (31, 9)]
    other = BlockCache(tmp_path / "other", bucket)
    for block in (30, 3, 17):
        assert other.read(key, block * BLOCK, 10) == data[block * BLOCK : block * BLOCK + 10]
    assert asked[6:] == [(30, 1), (3, 1), (17, 1)]


def test_a_block_that_a_crash_cut_is_fetched_again(remote: ObjectPath, tmp_path: Path) -> None:
    (remote / NAME).write_bytes(b"x" * 100)
    cache = BlockCache(tmp_path / "blocks", remote.shelf.bucket)
    cache.read((remote / NAME).key, 0, 10)
    block = next(path for path in (tmp_path / "blocks").rglob("0"))
    block.write_bytes(b"")
    assert cache.read((remote / NAME).key, 0, 3) == b"xxx"


def test_the_cache_stays_within_its_limit(remote: ObjectPath, tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "blocks", remote.shelf.bucket, limit=3 * BLOCK)
    for number in range(8):
        path = remote / f"{number:064x}-0123abcd.parquet"
        path.write_bytes(os.urandom(BLOCK))
        assert len(cache.read(path.key, 0, BLOCK)) == BLOCK
    kept = sum(path.stat().st_size for path in (tmp_path / "blocks").rglob("*") if path.is_file())
    assert kept <= 4 * BLOCK + 100


def test_only_names_that_say_the_content_are_kept() -> None:
    assert is_immutable(f"lake/x/{NAME}")
    for name in ("lake/x/data/00000-0-uuid.parquet", "lake/x/metadata/00001-x.metadata.json", f"lake/{'0' * 64}"):
        assert not is_immutable(name)


def test_threads_that_share_a_handle_do_not_move_each_other(remote: ObjectPath) -> None:
    from bascule.store.reading import ReadOnlyObjects

    (remote / NAME).write_bytes(bytes(range(256)))
    shared = ReadOnlyObjects().open(str(remote / NAME))
    shared.seek(10)
    other = threading.Thread(target=lambda: (shared.seek(200), shared.read(5)))
    other.start()
    other.join()
    assert shared.read(3) == bytes([10, 11, 12])
    assert shared.tell() == 13


# Services that misbehave ---------------------------------------------------------------------------------------------


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A service that says one thing to everybody."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@dataclass
class Way:
    """A way to a service: once `broken` is set, it counts what passes."""

    url: str
    broken: threading.Event = field(default_factory=threading.Event)
    passed: int = 0


@contextmanager
def cut(upstream: str, after: int | None) -> Iterator[Way]:
    """A way to a service that breaks, once it is told to, after so many bytes of a request; with None it is slow."""
    host, port = upstream.removeprefix("http://").split(":")
    server = socket.create_server(("127.0.0.1", 0))
    way = Way(f"http://127.0.0.1:{server.getsockname()[1]}")
    open_ends: list[socket.socket] = []

    def forward(source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(65536):
                if counted and way.broken.is_set():
                    way.passed += len(data)
                    if after is None:
                        threading.Event().wait(0.05)
                    elif way.passed > after:
                        break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            onward = socket.create_connection((host, int(port)))
            open_ends.extend((peer, onward))
            threading.Thread(target=forward, args=(peer, onward, True), daemon=True).start()
            threading.Thread(target=forward, args=(onward, peer, False), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for end in open_ends:
            end.close()
