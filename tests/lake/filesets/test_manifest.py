"""A manifest is a sorted map, whatever way it came about; versions share what they have in common."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import EnvironmentProblem
from bascule.lake.filesets import Entry, manifest_of, references
from bascule.lake.filesets.entries import Object
from bascule.lake.filesets.manifest import ManifestWriter, diff
from bascule.store import BlobStore, LocalStore

State = dict[str, bytes]


def entry(path: str, content: bytes, pack: bytes = b"p" * 32) -> Entry:
    return Entry(path, 0, len(content), blake3(content).digest(), 0, pack, 0, len(content))


def write(
    store: BlobStore, value: Object | None, state: State | dict[str, bytes | None], pack: bytes = b"p" * 32
) -> Object | None:
    edits = ((path, None if data is None else entry(path, data, pack)) for path, data in sorted(state.items()))
    return ManifestWriter(manifest_of(store, value)).write(edits)


def read(store: BlobStore, value: Object | None) -> dict[str, bytes]:
    return {one.path: one.digest for one in manifest_of(store, value).entries()}


paths = st.integers(0, 3000).map(lambda n: f"d{n % 7}/f{n:05d}")
edits = st.dictionaries(paths, st.none() | st.binary(max_size=3), max_size=400)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(edits, min_size=1, max_size=4))
def test_a_manifest_is_a_map(tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, bytes | None]]) -> None:
    store = LocalStore(tmp_path_factory.mktemp("store"))
    state: State = {f"d{n % 7}/f{n:05d}": b"%d" % n for n in range(0, 3000, 2)}
    value = write(store, None, state)
    for step in steps:
        before, was = value, dict(state)
        for path, data in step.items():
            if data is None:
                state.pop(path, None)
            else:
                state[path] = data
        value = write(store, value, step)
        assert read(store, value) == {path: blake3(data).digest() for path, data in state.items()}
        differing = {(old or new).path for old, new in diff(manifest_of(store, before), manifest_of(store, value))}  # type: ignore[union-attr]
        assert differing == {path for path in was.keys() | state.keys() if was.get(path) != state.get(path)}
    fresh = write(store, None, state)
    assert (value or {}).get("digest") == (fresh or {}).get("digest")
    assert value is None or value["files"] == len(state)


def test_equal_content_has_one_digest_wherever_its_bytes_are(tmp_path: Path) -> None:
    store, state = LocalStore(tmp_path), {f"f{n:04d}": b"%d" % n for n in range(2000)}
    one, other = write(store, None, state), write(store, None, state, b"q" * 32)
    assert one is not None
    assert other is not None
    assert one["digest"] == other["digest"]
    assert one["manifest"] != other["manifest"]
    assert list(diff(manifest_of(store, one), manifest_of(store, other))) == []


@pytest.mark.slow
def test_a_small_change_stores_a_small_part(tmp_path: Path) -> None:
    store, state = LocalStore(tmp_path), {f"d{n % 100}/f{n:06d}": b"%d" % n for n in range(60_000)}
    value = write(store, None, state)
    first = sum(store.size(name) for name in store.digests())
    assert write(store, value, {"d5/f000105": b"new"}) is not None
    assert sum(store.size(name) for name in store.digests()) - first < first / 20


def test_a_file_is_found_by_two_reads(tmp_path: Path) -> None:
    store, rng = LocalStore(tmp_path), random.Random(1)
    state = {f"d{n % 100}/f{n:06d}": b"%d" % n for n in range(30_000)}
    manifest = manifest_of(store, write(store, None, state))
    for path in rng.sample(sorted(state), 20):
        found = manifest.find(path)
        assert found is not None
        assert found.digest == blake3(state[path]).digest()
    assert manifest.find("d5/f") is None
    assert manifest.find("zzz") is None
    assert [e.path for e in manifest.below("d42/f00")] == sorted(p for p in state if p.startswith("d42/f00"))


def test_a_damaged_or_missing_part_is_named(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    value = write(store, None, {f"f{n:04d}": b"%d" % n for n in range(2000)})
    assert value is not None
    place = store.local_path(value["manifest"])
    assert place is not None
    good = place.read_bytes()
    place.write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
    with pytest.raises(EnvironmentProblem, match=r"manifest in files/x is damaged.*" + value["manifest"][:16]):
        list(manifest_of(store, value, "x").entries())
    place.unlink()
    with pytest.raises(EnvironmentProblem, match="is not in") as told:
        list(manifest_of(store, value, "x").entries())
    assert "Restore" in told.value.hint


def test_references_are_told_once_a_part(tmp_path: Path) -> None:
    store, seen = LocalStore(tmp_path), set[bytes]()
    first = write(store, None, {f"f{n:05d}": b"%d" % n for n in range(5000)})
    second = write(store, first, {"f00005": b"new"}, b"q" * 32)
    assert first is not None
    assert second is not None
    assert set(references(store, first, seen)) == {first["manifest"], (b"p" * 32).hex()}
    # Of the second version only what the first has not is looked through; what it shares is named all the same.
    assert set(references(store, second, seen)) == {first["manifest"], second["manifest"], (b"q" * 32).hex()}
    assert set(references(store, second)) == {
        first["manifest"],
        second["manifest"],
        (b"p" * 32).hex(),
        (b"q" * 32).hex(),
    }
