"""Files in every format: what they hold comes without loss, what cannot be read is named."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, seen
from bascule.lake.engine import opened
from bascule.lake.origins import archives
from bascule.lake.sources import encodings
from bascule.project.batches import bring_in

Rows = Callable[..., list[tuple[Any, ...]]]
TABLE = pa.table(
    {
        "n": pa.array([1, 2, 3]),
        "word": pa.array(["a", None, "c"]).dictionary_encode(),
        "at": pa.array([dt.datetime(2025, 1, 1, tzinfo=dt.UTC)] * 3, pa.timestamp("us", "UTC")),
    }
)


def arrow_file(path: Path, *, stream: bool = False, table: pa.Table = TABLE) -> Path:
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return path


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", [".arrow", ".feather", ".ipc"])
def test_arrow_files_and_streams(tmp_path: Path, bring: Any, rows: Rows, stream: bool, ending: str) -> None:
    file = arrow_file(tmp_path / f"a{ending}", stream=stream)
    assert bring(file).report.rows == 3
    assert [row[:2] for row in rows()] == [(1, "a"), (2, None), (3, "c")]
    assert bring(file).commit is None


@pytest.mark.parametrize("stream", [False, True])
def test_arrow_that_is_cut_off_is_refused(tmp_path: Path, bring: Any, stream: bool) -> None:
    file = arrow_file(tmp_path / "a.arrow", stream=stream)
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"a\.arrow cannot be read as Arrow IPC"):
        bring(file)


AVRO = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "d", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "kind", "type": {"type": "enum", "name": "k", "symbols": ["A", "B"]}},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}


ONE = {"type": "string", "logicalType": "uuid"}


def avro_file(path: Path, count: int = 3, codec: str = "deflate") -> Path:
    import uuid
    from decimal import Decimal

    moment = dt.datetime(2025, 1, 1, 12, tzinfo=dt.UTC)
    made = [
        {
            "n": n,
            "d": dt.date(2025, 1, 2),
            "at": moment if n else None,
            "amount": Decimal("1.25"),
            "kind": "B",
            "id": uuid.UUID(int=n),
            "tags": ["x"],
        }
        for n in range(count)
    ]
    with path.open("wb") as out:
        fastavro.writer(out, AVRO, made, codec=codec)
    return path


def test_avro_keeps_the_types_of_its_schema(tmp_path: Path, bring: Any, rows: Rows) -> None:
    from decimal import Decimal

    bring(avro_file(tmp_path / "a.avro"))
    first = rows('select n, d, "at", amount, kind, id, tags from t order by n')
    assert first[0][1:4] == (dt.date(2025, 1, 2), None, Decimal("1.25"))
    assert first[1][4:] == ("B", "00000000-0000-0000-0000-000000000001", ["x"])


def test_avro_types_by_name_of_several_kinds_and_of_spans(tmp_path: Path, bring: Any, rows: Rows) -> None:
    import uuid
    from decimal import Decimal

    own = {"type": "record", "name": "own", "namespace": "shop", "fields": [{"name": "id", "type": ONE}]}
    wide = {"type": "bytes", "logicalType": "decimal", "precision": 60, "scale": 1}
    schema = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "a", "type": own},
            {"name": "b", "type": ["null", "shop.own"]},
            {"name": "several", "type": ["null", "long", "string", {"type": "array", "items": "int"}]},
            {"name": "took", "type": {"type": "fixed", "name": "span", "size": 12, "logicalType": "duration"}},
            {"name": "also", "type": "span"},
            {"name": "wide", "type": wide},
            {"name": "ids", "type": {"type": "map", "values": ONE}},
        ],
    }
    one, span = uuid.UUID(int=1), struct.pack("<III", 14, 3, 4500)
    more = {"took": span, "also": span, "wide": Decimal(10) ** 50, "ids": {"x": one}}
    made = [{"a": {"id": one}, "b": {"id": one}, "several": n, **more} for n in (7, "x", [1, 2], None)]
    with (tmp_path / "a.avro").open("wb") as out:
        fastavro.writer(out, schema, made)
    bring(tmp_path / "a.avro")
    told, text = {"id": str(one)}, "1 year 2 months 3 days 00:00:04.5"
    assert [row[2] for row in rows("select * from t")] == ["7", "x", "[1, 2]", None]
    assert rows("select * from t limit 1") == [(told, told, "7", text, text, f"{10**50}.0", [("x", str(one))])]

    schema["fields"].append({"name": "self", "type": ["null", "r"]})
    with (tmp_path / "b.avro").open("wb") as out:
        fastavro.writer(out, schema, [row | {"self": None} for row in made])
    with pytest.raises(InputError, match=r"b\.avro: self holds itself"):
        bring(tmp_path / "b.avro", table="other")


@pytest.mark.slow
def test_avro_that_is_cut_off_is_refused(tmp_path: Path, bring: Any) -> None:
    file = avro_file(tmp_path / "a.avro", 2000)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a\.avro cannot be read as Avro"):
        bring(file)


def excel_file(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


LINES: list[list[object]] = [
    ["n", "zip", "day", "share", "ok"],
    [1, "01234", dt.datetime(2025, 1, 2), 0.5, True],
    [],
    [2, "99999", dt.datetime(2025, 1, 3), None, False],
]


@pytest.mark.slow
def test_excel_sheets_come_as_the_first_or_by_name(tmp_path: Path, bring: Any, rows: Rows) -> None:
    told: list[str] = []
    file = excel_file(tmp_path / "a.xlsx", {"one": LINES, "two": [["n"], [7]]})
    bring(file, tell=told.append)
    assert rows() == [
        (1, "01234", dt.date(2025, 1, 2), 0.5, True),
        (2, "99999", dt.date(2025, 1, 3), None, False),
    ]
    assert any("has 2 sheets" in text for text in told)
    bring(file, table="u", more={"sheet": "two"})
    with pytest.raises(NotFound, match="no sheet named 'tow'"):
        bring(file, table="v", more={"sheet": "tow"})


def test_cells_beyond_the_header_are_not_lost(tmp_path: Path, bring: Any) -> None:
    file = excel_file(tmp_path / "a.xlsx", {"one": [["n", "m"], [1, 2], [3, 4, "beyond"]]})
    with pytest.raises(InputError, match="the header names 2 columns, this line has 3"):
        bring(file)


def test_a_sheet_that_is_damaged_is_refused(tmp_path: Path, bring: Any) -> None:
    file = tmp_path / "a.xlsx"
    file.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match="cannot be read as a sheet"):
        bring(file)


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_the_data_files_of_an_archive(tmp_path: Path, bring: Any, rows: Rows, local_workspace: Workspace) -> None:
    told: list[str] = []
    members: dict[str, str | bytes] = {
        "x/1.csv": "n,m\n1,a\n",
        "../../2.csv": "n,m\n2,b\n",
        "README.txt": "no",
        "__MACOSX/x/._1.csv": "no",
    }
    file = zipped(tmp_path / "a.zip", members)
    batch = bring(file, tell=told.append)
    assert rows() == [(1, "a"), (2, "b")]
    assert [one.name for one in batch.report.files] == ["a.zip/x/1.csv", "a.zip/../../2.csv"]
    assert any("2 files that are no data are left out" in text for text in told)
    assert bring(file).commit is None
    lake = Lake(local_workspace)
    held = seen.sources(lake.table(local_workspace.history.get("main", "tables/t")))
    assert {one.version["of"] for one in held.values()} == {one.version["of"] for one in held.values()}
    assert not (tmp_path / "2.csv").exists()


@pytest.mark.parametrize("lie", [False, True])
def test_bombs_are_refused_before_they_fill_a_disk(
    tmp_path: Path, bring: Any, monkeypatch: pytest.MonkeyPatch, lie: bool, local_workspace: Workspace
) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    file = zipped(tmp_path / "bomb.zip", {"a.csv": b"n\n" + b"1\n" * (5 << 20)})
    if lie:  # the header says that it is small
        data = file.read_bytes()
        file.write_bytes(data.replace((2 + (10 << 20)).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"made to fill a disk|is damaged"):
        bring(file)
    with pytest.raises(InputError, match="made to fill a disk"):
        bring(zipped(tmp_path / "bomb.xlsx", {"xl/worksheets/sheet1.xml": b" " * (5 << 20)}))
    packed = tmp_path / "bomb.csv.gz"
    packed.write_bytes(gzip.compress(b"n\n" + b"1\n" * (5 << 20)))
    with pytest.raises(InputError, match="made to fill a disk"):
        bring(packed)
    left = sum(one.stat().st_size for one in local_workspace.temporary_folder.rglob("*") if one.is_file())
    assert left < 1 << 20


def test_archives_that_hold_nothing_or_are_damaged(tmp_path: Path, bring: Any) -> None:
    with pytest.raises(InputError, match=r"holds no data file, but readme\.txt"):
        bring(zipped(tmp_path / "a.zip", {"readme.txt": "x"}))
    damaged = zipped(tmp_path / "b.zip", {"a.csv": "n\n" + "1\n" * 5000})
    damaged.write_bytes(damaged.read_bytes()[:-60])
    with pytest.raises(InputError, match="is damaged"):
        bring(damaged)


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_csv(tmp_path: Path, bring: Any, rows: Rows, ending: str) -> None:
    data = b"n,m\n1,a\n2,b\n"
    file = tmp_path / f"a.csv.{ending}"
    codec = pa.Codec("gzip" if ending == "gz" else "zstd")
    with io.BytesIO(data) as source, pa.output_stream(str(file), compression=codec.name) as out:
        out.write(source.read())
    bring(file)
    assert rows() == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le-mark", "utf-32"])
def test_other_unicode_is_known_by_its_mark(tmp_path: Path, bring: Any, rows: Rows, encoding: str) -> None:
    text = "name;n\nZoë;1\nŁódź;2\n"
    marked = b"\xff\xfe" + text.encode("utf-16-le") if encoding.endswith("mark") else text.encode(encoding)
    (tmp_path / "a.csv").write_bytes(marked)
    bring(tmp_path / "a.csv")
    assert rows() == [("Zoë", 1), ("Łódź", 2)]


def test_an_encoding_that_is_said(tmp_path: Path, bring: Any, rows: Rows) -> None:
    (tmp_path / "a.csv").write_bytes("name\nGyőr\n".encode("cp1250"))
    bring(tmp_path / "a.csv", more={"encoding": "cp1250"})  # it would be taken for Western European
    assert rows() == [("Győr",)]
    with pytest.raises(InputError, match="no encoding"):
        bring(tmp_path / "a.csv", table="u", more={"encoding": "latin99"})
    with pytest.raises(InputError, match="no option 'encodin'"):
        bring(tmp_path / "a.csv", table="u", more={"encodin": "latin1"})


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1252", "id;nom\n1;André\n2;François\n3;“Île”\n4;5 €\n"),
        ("cp1252", "id;nom\n1;a\n2;café\n"),
        ("latin-1", "id;n\n1;Köln\n2;Größe\n3;déjà vu à côté\n4;Müller, Führer, Bücher\n5;\x81\n"),
        ("cp850", "id;name\n1;Müller\n2;GROSSE STRASSE ÜBER\n3;Größe\n"),
        ("mac-roman", "id;nom\n1;André\n2;François\n3;Zoé\n"),
        ("cp1250", "id;imię\n1;Paweł\n2;Świątek\n3;Łódź\n"),
        ("cp1251", "ид;имя\n1;Иван\n2;Мария Сергеева\n3;МОСКВА\n"),
        ("koi8-r", "ид;имя\n1;Иван\n2;Мария Сергеева\n3;Пермь\n"),
        ("cp866", "ид;имя\n1;Иван\n2;Мария Сергеева\n3;Пермь\n"),
        ("cp1253", "id;n\n1;Αθήνα\n2;Θεσσαλονίκη\n"),
        ("cp932", "番号;名前\n1;東京タワー\n2;さくら\n3;大阪\n"),
        ("cp932", "id;city\n1;東京\n2;大阪\n3;名古屋\n"),
        ("euc_jp", "番号;名前\n1;東京タワー\n2;さくら\n3;大阪\n"),
        ("gb18030", "编号;姓名\n1;王小明\n2;北京市\n3;上海\n"),
        ("big5", "編號;姓名\n1;臺北市\n2;陳大文\n3;高雄\n"),
        ("cp949", "번호;이름\n1;김철수\n2;서울특별시\n3;부산\n"),
        ("utf-16-le", "id;nom\n1;André\n2;北京市\n"),
        ("utf-16-be", "ид;имя\n1;Иван\n2;Мария Сергеева\n"),
    ],
)
def test_other_encodings_are_told_by_their_letters(tmp_path: Path, encoding: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(words.encode(encoding))
    found = encodings.find(path)
    assert found is not None
    assert found.name == encoding


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n",
        "a,b\n1,Zoë\n".encode(),
        "a,b\n1,Zoë\n2,naïve\n3,Łódź\n".encode() + b"4,caf\xe9\n",  # UTF-8 that is broken is that
        b"a,b\n1,\xff2\n",
        b"a,b\n1,x\x80y\n",
        b"a,b\n1,\x00\n",
        bytes(range(256)) * 10,
    ],
)
def test_what_makes_no_words_is_in_no_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    assert encodings.find(tmp_path / "a.csv") is None


def test_utf8_is_known_where_a_sign_is_cut_between_two_readings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * ((1 << 22) - 1) + "é".encode() * 10)
    assert encodings.is_utf8(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes(b"x" * ((1 << 22) - 1) + "é".encode()[:1])
    assert not encodings.is_utf8(tmp_path / "a.csv")


def test_an_assumed_encoding_is_said_and_recorded(tmp_path: Path, local_workspace: Workspace) -> None:
    source, told = tmp_path / "a.csv.gz", list[str]()
    late = "n,name\n" + "1,x\n" * 50_000 + "2,Zoë\n"  # far behind what a look at the start would show
    source.write_bytes(gzip.compress(late.encode("cp1252")))
    done = bring_in(local_workspace, "t", source, "main", tell=told.append)
    assert done.report.rows == 50_001
    assert done.as_dict()["assumed"] == ["a.csv.gz is not UTF-8; it is read as cp1252 (Western European)"]
    assert any("If that is wrong: options = {encoding = …} in [source.t], or --option encoding=…" in t for t in told)
    (file,) = done.commit.meta["ingest"] if done.commit else ()
    assert file["version"]["encoding"] == "cp1252"
    with opened() as connection:
        scan = Lake(local_workspace).scan(local_workspace.history.get("main", "tables/t"))
        assert connection.execute(f"SELECT name FROM {scan} WHERE n = 2").fetchall() == [("Zoë",)]
    assert bring_in(local_workspace, "t", source, "main").commit is None
