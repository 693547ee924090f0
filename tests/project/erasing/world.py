"""A workspace in which a person stands wherever one can stand, a way to see all that is in it, and to search it."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import insert, select

from bascule.catalog import new_id, now
from bascule.catalog.schema import (
    check_results,
    commits,
    evaluations,
    model_versions,
    run_io,
    runs,
    settings,
    training_sets,
)
from bascule.features import LmdbStore
from bascule.features.online.keys import encoder
from bascule.features.online.store import ViewRecord
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.filesets import FileSet
from bascule.lake.filesets.manifest import manifest_of
from bascule.lake.filesets.reading import content
from bascule.lake.filesets.references import states
from bascule.lake.records import RecordTable
from bascule.project.sections import Forget, ForgetLink
from bascule.serving.log import PredictionLog
from bascule.serving.log.predictions import Context

WHO = "zoë.quast@example.org"
NUMBER = "cust-77104"
OTHERS = [f"person{n}@example.org" for n in range(40)]
LINKS = Forget(
    policy="schedule",
    within="20d",
    link={
        "photos": ForgetLink(subject="people", files="photos", path="by-id/{id}/**"),
        "orders": ForgetLink(subject="people", table="orders", columns={"customer": "id"}),
    },
)


def people(emails: list[str], start: int = 0) -> pa.Table:
    return pa.table(
        {
            "email": emails,
            "id": [NUMBER if e == WHO else f"cust-{start + n:05d}" for n, e in enumerate(emails)],
            "picture": [f"faces/{'z' if e == WHO else n}.bin" for n, e in enumerate(emails)],
        }
    )


def build(folder: Path, catalog: str = "") -> Workspace:
    """Make the workspace: a table on two branches and a tag, another table, files, logs, reports, a model."""
    workspace = Workspace.create(folder, catalog=catalog)
    lake = Lake(workspace)
    lake.append("people", people([*OTHERS[:10], WHO]), branch="main")
    lake.append("orders", pa.table({"customer": [NUMBER, "cust-00001", NUMBER], "amount": [1, 2, 3]}), branch="main")
    workspace.history.tag("v1")
    _files(workspace, folder.parent / "pictures")
    workspace.history.create_branch("next")
    lake.append("people", people([*OTHERS[10:20], WHO], start=100), branch="next")
    lake.append("people", people(OTHERS[20:30], start=200), branch="main")
    _logs(workspace)
    _reports(workspace)
    _training(workspace)
    _online(workspace)
    _tracked(workspace)
    return workspace


def _files(workspace: Workspace, folder: Path) -> None:
    for path, data in (
        (f"by-id/{NUMBER}/passport.bin", b"the passport of 77104 " * 3),
        (f"by-id/{NUMBER}/shared.bin", b"all have this one"),
        ("by-id/cust-00001/shared.bin", b"all have this one"),
        ("by-id/cust-00001/passport.bin", b"the passport of 1"),
        ("faces/z.bin", b"the face of z"),
        ("faces/1.bin", b"the face of one"),
        ("large.bin", bytes(range(256)) * 40_000),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    FileSet(workspace, "photos").add(folder)
    workspace.history.tag("pictures")
    (folder / "faces" / "2.bin").write_bytes(b"the face of two")
    FileSet(workspace, "photos").add(folder)


def _logs(workspace: Workspace) -> None:
    log = PredictionLog(workspace.log_folder)
    about = Context(1, "main", "0" * 64, "churn", 1, "churn", 1, ("email", "age"), "regression", ())
    for n, email in enumerate([WHO, OTHERS[0]]):
        fields = ([f"pred{n}"], now(), None, "stable", 1.0, None, None, 10)
        log.append(about, (1, *fields, {"email": [email], "age": [n]}, None, [0.5], None, None, None))
        log.journal.commit()
    log.journal.close()
    lines = pa.table(
        {
            "table": ["people", "people"],
            "source": ["people", "people"],
            "file": ["a.csv", "a.csv"],
            "line": [3, 4],
            "reason": ["age is no number", "age is no number"],
            "raw": [f"{WHO},{NUMBER},abc", f"{OTHERS[1]},abc"],
        }
    )
    RecordTable(workspace, "quarantine", lines.schema).append(lines)


def _reports(workspace: Workspace) -> None:
    sample = json.dumps([{"email": WHO, "age": -1}, {"email": OTHERS[2], "age": -2}], ensure_ascii=False)
    shared: dict[str, Any] = {"severity": "critical", "status": "failed", "at": now()}
    with workspace.catalog.write() as conn:
        for name, text in (("age", sample), ("bare", json.dumps([{"age": -3}]))):
            conn.execute(
                insert(check_results).values(
                    id=new_id("check"), subject="tables/people", check_name=name, sample_json=text,
                    observed=f"the least is {WHO}", **shared,
                )
            )  # fmt: skip
        report = json.dumps({"slices": {f"email={WHO}": 0.5, "email=x": 0.7}})
        conn.execute(
            insert(evaluations).values(
                id="eval_1", model="churn", model_version_id="v", training_set="t", passed=True, report_json=report,
                at=now(),
            )
        )  # fmt: skip
    for n in range(50):  # pages that are freed again
        with workspace.catalog.write() as conn:
            conn.execute(insert(settings).values(key=f"passing-{n}", value=f"{WHO} " * 200))
    with workspace.catalog.write() as conn:
        conn.execute(settings.delete().where(settings.c.key.startswith("passing-")))


def _training(workspace: Workspace) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"email": [WHO, *OTHERS[:3]], "y": [1, 0, 1, 0]}), sink, compression="zstd")
    blob = workspace.store.put(sink.getvalue())
    with workspace.catalog.write() as conn:
        conn.execute(
            insert(training_sets).values(
                id="t" * 64, name="churn", blob=blob, rows=4, columns_json="[]", spec_json="{}", split_json="{}",
                commit_id="c" * 64, created_at=now(),
            )
        )  # fmt: skip
        conn.execute(insert(model_versions).values(id="mv", model="churn", version=1, artifact=blob, created_at=now()))
    model = {"kind": "model", "versions": {"1": {"version": 1, "training_set": "t" * 64}}, "aliases": {}}
    workspace.history.commit("main", {"models/churn": model}, message="A model")


def _online(workspace: Workspace) -> None:
    store = LmdbStore(workspace.online_folder)
    held = ViewRecord(view="spent", digest="d" * 64, entity="person", keys=("email",), key_types=("VARCHAR",))
    store.write(lambda transaction: transaction.record(held))
    for email in (WHO, OTHERS[0]):
        key = encoder(["VARCHAR"])([email])
        assert key is not None
        prefix = store.track("d" * 64, "rows") + key
        store.write(lambda transaction, prefix=prefix: transaction.put(prefix, [(1, b"spent 5")]))  # type: ignore[misc]


def _tracked(workspace: Workspace) -> None:
    """What a script printed and wrote, its code as it was, and an artifact that is called by the person."""
    code = workspace.store.put(f"print('{WHO}')".encode())
    listing = workspace.store.put(json.dumps({"show.py": code, "other.py": workspace.store.put(b"pass")}).encode())
    sink = io.BytesIO()
    pq.write_table(pa.table({"mail": [WHO, OTHERS[0]], "score": [0.5, 0.7]}), sink, compression="zstd")
    written = {
        "stdout": workspace.store.put(f"first: {WHO}\nthen: {OTHERS[0]}\n".encode()),
        f"out/{WHO}.txt": workspace.store.put(b"nothing about anyone"),
        "scores.parquet": workspace.store.put(sink.getvalue()),
    }
    shared: dict[str, Any] = {"environment_json": "{}", "kind": "track", "status": "done", "user_name": "ana"}
    with workspace.catalog.write() as conn:
        conn.execute(insert(runs).values(id="run_1", name="show.py", code_snapshot=listing, started_at=1, **shared))
        for path, version in written.items():
            conn.execute(insert(run_io).values(run_id="run_1", direction="out", path=path, version=version))
    place = workspace.folder / "artifacts" / "0" / "r0" / "artifacts" / f"of {WHO}"
    place.mkdir(parents=True)
    (place / "note.txt").write_text("a note")


def seen(workspace: Workspace) -> dict[str, Any]:
    """Return everything that can be read, but the subject's: rows of all states, files of all versions, the logs."""
    lake, found = Lake(workspace), {}
    with workspace.catalog.read() as conn:
        ids = list(conn.execute(select(commits.c.id).order_by(commits.c.created_at)).scalars())
        sets = conn.execute(select(training_sets.c.id, training_sets.c.blob)).all()
        samples = conn.execute(select(check_results.c.check_name, check_results.c.sample_json)).all()
    for name in ids:
        commit = workspace.history.commit_by_id(name)
        if commit.message.startswith("Forget"):
            continue
        for path, value in workspace.history.entries(commit, "tables/"):
            rows = duckdb.sql(f"SELECT * FROM {lake.scan(value)}").fetchall()
            found[f"{name} {path}"] = sorted(map(str, (r for r in rows if WHO not in r and NUMBER not in r)))
    for name, commit, value in states(workspace):
        for entry in manifest_of(workspace.store, value).entries():
            if NUMBER not in entry.path and entry.path != "faces/z.bin":
                found[f"{name} {commit} {entry.path}"] = content(workspace.store, entry, "")
    for one in sets:
        rows = pq.read_table(pa.BufferReader(workspace.store.get(one.blob))).to_pylist()
        found[one.id] = [row for row in rows if row["email"] != WHO]
    for one in samples:
        found[f"sample {one.check_name}"] = [
            r for r in json.loads(one.sample_json or "[]") if r.get("email", WHO) != WHO
        ]
    return found


def traces(folder: Path, *values: str) -> list[str]:
    """Return the files that hold a value: in their names, raw, in any column of Parquet, or in a compressed part."""
    wanted = [form for value in values for form in (value.encode(), json.dumps(value)[1:-1].encode())]
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        parts = [str(path.relative_to(folder)).encode(), data, *_parquet(data), *_inflated(data)]
        if any(one in part for part in parts for one in wanted):
            found.append(str(path.relative_to(folder)))
    return found


def _parquet(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PAR1" and data[-4:] == b"PAR1":
        file = pq.ParquetFile(io.BytesIO(data))
        yield str(file.read().to_pylist()).encode()
        yield "".join(str(file.metadata.row_group(n).to_dict()) for n in range(file.num_row_groups)).encode()


def _inflated(data: bytes) -> Iterator[bytes]:
    """Whatever is deflated anywhere in the bytes, as parts of manifests and blocks of Avro files are."""
    at = data.find(b"\x78\x01")
    while at >= 0:
        with suppress(zlib.error):
            yield zlib.decompressobj().decompress(data[at:])
        at = data.find(b"\x78\x01", at + 1)
    if data[:4] == b"Obj\x01":
        yield str(list(fastavro.reader(io.BytesIO(data)))).encode()
