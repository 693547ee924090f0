"""What entries about frameworks and tables mean: a function for each kind, of what is collected and the entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from blake3 import blake3

from bascule.catalog import now
from bascule.tracking.ambient.contents import UNKNOWN, changed, contents_of, found_now, unknown
from bascule.tracking.ambient.findings import FoundModel, FoundRun, FoundTable, derived
from bascule.tracking.ambient.journal import Entry
from bascule.tracking.ambient.mlmodel import mlmodel
from bascule.tracking.ambient.told import LONGEST_NAME, Told
from bascule.tracking.values import as_text

LONGEST_PATH = 250
LONGEST_VALUE = 6000
MOST_TAGGED = 4000
ARTIFACTS = "models"
EVALUATIONS = "evaluation"


def table(run: Told, entry: Entry) -> None:
    """A table that was read or written. Files are known by the digest of their content as they were found then."""
    entry = _whole(entry)
    reads = entry["mode"] == "r"
    source, query = str(entry["source"]), entry.get("query")
    version, size = entry.get("version") or entry.get("etag"), None
    if entry["source_type"] == "file":
        files = [str(one) for one in entry.get("files", [])]
        version, size = _content(run, files, entry.get("found") or [None] * len(files))
        source = _named(Path(source), run.folder)
        if version is None:  # gone already: a temporary file
            if not any(map(found_now, files)):
                return
            version = unknown(files[0], (entry.get("found") or [None])[0])
            if reads:
                run.warn(changed(source))
    elif entry["source_type"] == "sql" and query:
        version = version or derived("query-", 32, query)
    if entry["source_type"] == "sql":
        source = _database(source, run.folder)
    if not version:
        version = derived("address-", 32, source)
    rows = entry.get("rows")
    path = source
    if entry["source_type"] == "sql" and query:
        path = f"{source}#{derived('', 12, query)}"
    elif entry["source_type"] == "bascule":  # as steps of a pipeline name what they read
        path = source.partition("@")[0]
    if reads or not str(version).startswith(UNKNOWN):  # what is written on is told at the end
        (run.reads if reads else run.writes)(path[-LONGEST_PATH:], str(version)[:80], rows, size)
    run.findings.tables.append(
        FoundTable(
            name=_short(source),
            digest=derived("", 32, version, query or ""),
            source_type=str(entry["source_type"]),
            source=_json({"uri": source, "api": entry.get("api"), **({"query": query} if query else {})}),
            context="read" if reads else "written",
            schema=_json({"columns": [{"name": name, "type": kind} for name, kind in entry.get("columns") or ()]}),
            profile=_json({"num_rows": rows, "version": version}),
        )
    )


def fit(run: Told, entry: Entry) -> None:
    """A fitted model: with its file, what it takes and gives, importance, and the candidates of its search."""
    entry = _whole(entry)
    at = int(entry.get("at") or now())
    name = str(entry["name"])
    model = derived("m-", 32, run.id, entry["id"])
    folder = f"{ARTIFACTS}/{_safe(name)}-{model[2:10]}"
    tags = {"bascule.framework": str(entry["framework"])}
    tags |= {key: str(entry[field]) for key, field in _TAGGED if entry.get(field) not in (None, "", [])}
    beside = entry.get("model") or {}
    is_kept = bool(beside) and Path(beside["path"]).is_file()
    if is_kept:
        path = Path(beside["path"])
        digest = run.keep(path)
        run.writes(f"{folder}/model.{beside['format']}", digest, size=path.stat().st_size)
        run.artifacts[f"{folder}/model.{beside['format']}"] = str(path)
        safety = "safe" if beside.get("safe") else "unsafe: reading it can run code, so no server reads it"
        described = mlmodel(entry, model, run.id, at)
        if described is not None:
            run.artifacts[f"{folder}/MLmodel"] = _written(run, f"{model}-MLmodel", described)
        tags |= {"bascule.format": beside["format"], "bascule.digest": digest, "bascule.safety": safety}
    for file, content in _documents(entry).items():
        run.artifacts[f"{folder}/{file}"] = _written(run, f"{model}-{file}", content)
    if entry.get("signature"):
        tags["bascule.signature"] = _json(entry["signature"])[:MOST_TAGGED]
    values = _numbers(entry.get("values") or {})
    told = {str(k)[:LONGEST_NAME]: _text(v) for k, v in entry["params"].items() if v is not None}
    run.findings.models.append(
        FoundModel(model, name, str(entry["framework"]), folder, at, is_kept, told, tags, values)
    )
    for child in entry.get("children") or ():
        run.findings.children.append(_candidate(run, entry, child, at))


def evaluation(run: Told, entry: Entry) -> None:
    """Curves or a confusion matrix of predictions and truth that passed through a metric."""
    entry = _whole(entry)
    name = f"{_safe(str(entry['name']))}-{int(entry['number']):03d}.json"
    told = {key: value for key, value in entry.items() if key not in ("kind", "at", "number", "run")}
    run.artifacts[f"{EVALUATIONS}/{name}"] = _written(run, name, _json(told))


def capped(run: Told, entry: Entry) -> None:
    """There was more of something than is kept."""
    of = f"{entry['most']} of {entry['of']}" if entry.get("of") else f"the first {entry['most']}, and there were more"
    run.tags({f"bascule.kept.{entry['what']}"[:LONGEST_NAME]: of})


#: What each kind means.
KINDS: dict[str, Callable[[Told, Entry], None]] = {
    "table": table,
    "fit": fit,
    "evaluation": evaluation,
    "capped": capped,
}
_TAGGED = (
    ("bascule.framework_version", "version"),
    ("bascule.class", "class"),
    ("bascule.rows", "rows"),
    ("bascule.parts", "parts"),
)


def _whole(entry: Entry) -> Entry:
    """Return an entry; a large one lies in a file that its line names."""
    if "payload" not in entry:
        return entry
    held: Entry = msgspec.json.decode(Path(entry["payload"]).read_bytes())
    return {"at": entry.get("at"), **held}


def _documents(entry: Entry) -> dict[str, str]:
    found = {}
    if entry.get("signature"):
        found["signature.json"] = _json(entry["signature"])
    if entry.get("example"):
        names = [name for name, _ in (entry.get("signature") or {}).get("inputs", [])]
        found["input_example.json"] = _json({"columns": names[: len(entry["example"][0])], "data": entry["example"]})
    if entry.get("importance"):
        found["importance.json"] = _json(entry["importance"])
    if entry.get("parts"):
        found["parts.json"] = _json(entry["parts"])
    if entry.get("params"):
        found["params.json"] = _json(entry["params"])
    return {**found, **{_safe(name): str(text) for name, text in (entry.get("texts") or {}).items()}}


def _candidate(run: Told, entry: Entry, child: Entry, at: int) -> FoundRun:
    place = int(child["place"])
    told = {str(k)[:LONGEST_NAME]: _text(v) for k, v in child["params"].items() if v is not None}
    name = f"{entry['name']} {place}"
    return FoundRun(derived("run_", 26, run.id, entry["id"], place), name, at, told, _numbers(child["scores"]))


def _written(run: Told, name: str, text: str) -> str:
    """Put a document where the session's files are, so that it is kept as they are."""
    path = Path(run.spool) / _safe(name)
    path.write_text(text, "utf-8")
    return str(path)


def _content(run: Told, files: list[str], found: list[Any]) -> tuple[str | None, int | None]:
    """Return the version and the size of files: of one its digest, of several the digest of their names and digests."""
    contents = contents_of(Path(run.spool).parent)
    told = []
    for path, mark in zip(files, found, strict=False):
        content = contents.content(path, mark)
        if content.digest is not None:
            told.append((path, content))
            if content.kept is not None:
                run.blobs[content.digest] = content.kept
        elif found_now(path) is not None:
            return None, None
    if not told:
        return None, None
    size = sum(content.size for _, content in told)
    if len(told) == 1:
        return told[0][1].digest, size
    root = len(str(Path(told[0][0]).parent))
    return blake3(_json([(path[root:], content.digest) for path, content in told]).encode()).hexdigest(), size


def _named(path: Path, folder: str) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _database(address: str, folder: str) -> str:
    """Return a database's address; one in a file of the project is named from the project's folder, as any file is."""
    scheme, mark, path = address.partition(":///")
    return f"{scheme}{mark}{_named(Path(path), folder)}" if mark and Path(path).is_absolute() else address


def _short(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2].partition("@")[0][:200] or source[:200]


def _safe(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in name)[:100].lstrip(".") or "_"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(key)[:LONGEST_NAME]: float(value) for key, value in values.items() if value is not None}


def _text(value: Any) -> str:
    return as_text(value)[:LONGEST_VALUE]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
