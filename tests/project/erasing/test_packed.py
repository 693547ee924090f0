"""What is packed is looked into: the value leaves it in its own form, and what cannot be opened is named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project.erasing import packed
from bascule.project.erasing.contents import Sought, cleaned, looked_into
from bascule.project.forgetting import forget_subject

WHO, OTHER = "zoë.quast@example.org", "bob@example.org"
MAIL = Sought({"email": WHO})
TEXT = f"to {WHO}\nand {OTHER}\n"
LEFT = f"to (forgotten)\nand {OTHER}\n"
Turn = Callable[[bytes], bytes]


def zipped(data: bytes, name: str = "in.txt", how: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", how) as target:
        target.writestr(name, data)
        target.writestr("beside.bin", b"\x00\xff as it was")
    return sink.getvalue()


def unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        assert source.testzip() is None
        assert source.read("beside.bin") == b"\x00\xff as it was"
        return source.read("in.txt")


def tarred(data: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as target:
        info = tarfile.TarInfo(f"of {WHO}.txt")
        info.size = len(data)
        target.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def untarred(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as source:
        taken = source.extractfile("of (forgotten).txt")
        assert taken is not None
        return taken.read()


def zst(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def unzst(data: bytes) -> bytes:
    return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())


def unlz4(data: bytes) -> bytes:
    return bytes(pa.CompressedInputStream(pa.BufferReader(data), "lz4").read())


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [
        (gzip.compress, gzip.decompress),
        (bz2.compress, bz2.decompress),
        (lzma.compress, lzma.decompress),
        (zlib.compress, zlib.decompress),
        (zst, unzst),
        (lambda data: bytes(pa.compress(data, codec="lz4", asbytes=True)), unlz4),
        (zipped, unzipped),
        (lambda data: zipped(data, how=zipfile.ZIP_STORED), unzipped),
        (lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]), gzip.decompress),
        (lambda data: zipped(gzip.compress(data)), lambda data: gzip.decompress(unzipped(data))),
        (tarred, untarred),
    ],
)
def test_a_value_leaves_what_is_packed(pack: Turn, unpack: Turn) -> None:
    before = pack(TEXT.encode())
    assert MAIL.may_be_in(before)
    after, why = looked_into(before, MAIL)
    assert (unpack(after), why) == (LEFT.encode(), "")
    assert looked_into(after, MAIL) == (after, "")


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_text_of_another_encoding_stays_in_it(coding: str) -> None:
    marked = "\ufeff" if coding == "utf-16-be" else ""
    assert cleaned((marked + TEXT).encode(coding), MAIL) == (marked + LEFT).encode(coding)


def test_what_has_no_mark_is_overwritten_in_its_own_width() -> None:
    for coding in ("utf-16-le", "utf-16-be", "cp1252"):
        assert cleaned(TEXT.encode(coding), MAIL).decode(coding) == TEXT.replace(WHO, "*" * len(WHO))
    sink = io.BytesIO()
    np.savez_compressed(sink, names=np.array([WHO, OTHER]), numbers=np.arange(3))
    arrays = np.load(io.BytesIO(cleaned(sink.getvalue(), MAIL)))
    assert arrays["names"].tolist() == ["*" * len(WHO), OTHER]
    assert arrays["numbers"].tolist() == [0, 1, 2]


def test_names_and_comments_inside_of_an_archive_lose_it_too() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as target:
        target.writestr(f"of {WHO}/a.txt", b"nothing")
        target.comment = f"by {WHO}".encode()
    with zipfile.ZipFile(io.BytesIO(cleaned(sink.getvalue(), MAIL))) as source:
        assert (source.namelist(), source.comment) == (["of (forgotten)/a.txt"], b"by (forgotten)")
    named = io.BytesIO()
    with gzip.GzipFile(f"{WHO}.txt".replace("ë", "e"), "wb", fileobj=named) as target_gz:
        target_gz.write(b"nothing")
    plain = Sought({"email": WHO.replace("ë", "e")})
    after = cleaned(named.getvalue(), plain)
    assert b"zoe.quast" not in after
    assert gzip.decompress(after) == b"nothing"


TABLE = pa.table(
    {
        "email": [WHO, OTHER, OTHER],
        "tags": pa.array([["a"], ["b", WHO], []]),
        "kind": pa.array(["x", "y", f"of {WHO}"]).dictionary_encode(),
        "size": pa.array([1, 2, 3], pa.int16()),
    }
)
ROWS = [
    {"email": OTHER, "tags": ["b", "(forgotten)"], "kind": "y", "size": 2},
    {"email": OTHER, "tags": [], "kind": "of (forgotten)", "size": 3},
]


@pytest.mark.parametrize("compression", ["lz4", "zstd", None])
def test_arrow_is_read_by_its_columns(compression: str | None) -> None:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as target:
        target.write_table(TABLE)
    after = pa.ipc.open_file(cleaned(sink.getvalue(), MAIL)).read_all()
    assert after.to_pylist() == ROWS
    assert after.schema == TABLE.schema
    packed_too = pa.ipc.open_file(gzip.decompress(cleaned(gzip.compress(sink.getvalue()), MAIL))).read_all()
    assert packed_too.to_pylist() == ROWS


def test_parquet_is_cleaned_in_every_kind_of_column_and_in_its_notes() -> None:
    sink = io.BytesIO()
    pq.write_table(TABLE.replace_schema_metadata({"by": WHO}), sink)
    after = pq.read_table(io.BytesIO(cleaned(sink.getvalue(), MAIL)))
    assert after.to_pylist() == ROWS
    assert after.schema.metadata == {b"by": b"(forgotten)"}
    assert after.schema.remove_metadata() == TABLE.schema


SCHEMA = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "email", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "size", "type": ["null", "long"]},
    ],
}


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_avro_is_read_by_its_records(codec: str) -> None:
    rows = [{k: v for k, v in row.items() if k != "kind"} for row in TABLE.to_pylist()]
    sink = io.BytesIO()
    fastavro.writer(sink, SCHEMA, rows, codec=codec)
    reader = fastavro.reader(io.BytesIO(cleaned(sink.getvalue(), MAIL)))
    assert list(reader) == [{k: v for k, v in row.items() if k != "kind"} for row in ROWS]
    assert reader.codec == codec


def bombs() -> dict[str, bytes]:
    zeros = bytes(300_000)
    nothing = io.BytesIO()
    fastavro.writer(nothing, {"type": "null"}, [None] * 200_000)
    deflated = io.BytesIO()
    fastavro.writer(deflated, {"type": "bytes"}, [zeros], codec="deflate")
    deep = TEXT.encode()
    for _ in range(5):
        deep = gzip.compress(deep)
    return {
        "bomb.gz": gzip.compress(zeros),
        "bomb.zst": zst(zeros),
        "bomb.zip": zipped(zeros),
        "bomb.avro": deflated.getvalue(),
        "many.avro": nothing.getvalue(),
        "nested.gz": deep,
    }


def test_bombs_and_damage_are_named_and_fail_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "SMALL", 100_000)
    monkeypatch.setattr(packed, "RATIO", 10)
    for name, data in bombs().items():
        after, why = looked_into(data, MAIL)
        assert after == data
        assert ("unpacks to more than 100" in why) != (name == "nested.gz"), name
    monkeypatch.undo()
    whole = [gzip.compress(TEXT.encode()), bz2.compress(TEXT.encode()), zst(TEXT.encode()), zipped(TEXT.encode())]
    for data in whole:
        assert "damaged" in looked_into(data[: len(data) * 2 // 3], MAIL)[1]
    assert looked_into(b"BZh is a text, too", MAIL) == (b"BZh is a text, too", "")
    assert looked_into(b"x^2 + \xc3\xab", MAIL) == (b"x^2 + \xc3\xab", "")
    locked = bytearray(zipped(TEXT.encode(), how=zipfile.ZIP_STORED))
    for magic, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(magic) + flag] |= 1
    assert looked_into(bytes(locked), MAIL)[1] == "is encrypted"


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_makes_it_fail(seed: int) -> None:
    chance = random.Random(seed)
    parquet, arrow, avro = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(TABLE, parquet)
    with pa.ipc.new_file(arrow, TABLE.schema) as target:
        target.write_table(TABLE)
    fastavro.writer(avro, SCHEMA, [{"email": WHO, "tags": [], "size": 1}], codec="deflate")
    for data in (
        gzip.compress(TEXT.encode()),
        zipped(TEXT.encode()),
        tarred(b"-"),
        avro.getvalue(),
        parquet.getvalue(),
    ):
        broken = bytearray(data)
        for _ in range(4):
            broken[chance.randrange(4, len(data) - 4)] = chance.randrange(256)
        looked_into(bytes(broken), MAIL)
    looked_into(arrow.getvalue()[:-60] + b"ARROW1", MAIL)


def test_forget_reaches_packed_artifacts_and_names_what_it_could_not_open(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    Lake(workspace).append("people", [{"email": WHO}, {"email": OTHER}])
    folder = workspace.folder / "artifacts" / "0" / "r1" / "artifacts"
    folder.mkdir(parents=True)
    sent = {
        "log.txt.gz": gzip.compress(TEXT.encode()),
        "book.xlsx": zipped(TEXT.encode()),
        "wide.txt": TEXT.encode("utf-16"),
        "other.gz": gzip.compress(b"nobody"),
        "cut.gz": gzip.compress(TEXT.encode())[:-12],
    }
    for name, data in sent.items():
        (folder / name).write_bytes(data)
    planned = forget_subject(workspace, "people", {"email": WHO}, dry_run=True)
    assert {name: (folder / name).read_bytes() for name in sent} == sent
    done = forget_subject(workspace, "people", {"email": WHO})
    for told in (planned, done):
        assert ("artifacts", 3) in [(one.place, one.rows) for one in told.report.elsewhere]
        (named,) = told.kept
        assert named.place.startswith("artifacts/0/r1/artifacts/cut.gz (not looked into: is damaged")
    assert gzip.decompress((folder / "log.txt.gz").read_bytes()) == LEFT.encode()
    assert unzipped((folder / "book.xlsx").read_bytes()) == LEFT.encode()
    assert (folder / "wide.txt").read_bytes().decode("utf-16") == LEFT
    assert (folder / "other.gz").read_bytes() == sent["other.gz"]
