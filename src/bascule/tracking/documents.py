"""Runs as lists show them: with parameters, last metrics, tags and inputs, put together once for each revision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, select

from bascule.catalog import upsert
from bascule.catalog.schema import (
    dataset_uses,
    datasets,
    latest_metrics,
    metric_contexts,
    model_uses,
    names,
    run_documents,
    run_params,
    run_tags,
)
from bascule.errors import BasculeError
from bascule.tracking.search.pieces import among, asked, joined
from bascule.tracking.tracker import Tracker

AT_ONCE = 500
_HELD = (
    "SELECT s.number, s.revision, d.body FROM subjects AS s "
    "LEFT JOIN run_documents AS d ON d.subject = s.number AND d.revision = s.revision WHERE"
)
MOST = 1.7976931348623157e308  # the greatest number


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last point of a metric; `timestamp` in milliseconds."""

    key: str
    value: float | str
    timestamp: int
    step: msgspec.UnsetType | int = msgspec.UNSET
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


def encoded(value: float, is_nan: bool) -> float | str:
    """Return a metric's value as JSON holds it; infinities as the greatest numbers, as MLflow's own store does."""
    if is_nan:
        return "NaN"
    if math.isinf(value):
        return math.copysign(MOST, value)
    return value


def documents(tracker: Tracker, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the document of each subject: JSON text `"data": {...}, "inputs": {...}, …` without the outer braces."""
    found: dict[int, bytes] = {}
    made: dict[int, tuple[int, bytes]] = {}
    with tracker.workspace.catalog.read() as conn:
        for at in range(0, len(numbers), AT_ONCE):
            some = list(numbers[at : at + AT_ONCE])
            held, revisions = _held(conn, some)
            found |= held
            missing = [number for number in some if number not in held and number in revisions]
            for number, body in _made(conn, missing).items():
                made[number] = (revisions[number], body)
    if made:
        found |= {number: body for number, (_, body) in made.items()}
        if len(made) > 1:  # one run is looked at while it is written: keeping it would be for nothing
            _keep(tracker, made)
    return found


def _held(conn: Connection, numbers: list[int]) -> tuple[dict[int, bytes], dict[int, int]]:
    query = joined([_HELD, among("s.number", numbers)])
    held, revisions = {}, {}
    for number, revision, body in asked(conn, query):  # at once: row by row costs twice as much
        revisions[number] = revision
        if body is not None:
            held[number] = body.encode()
    return held, revisions


def _keep(tracker: Tracker, made: dict[int, tuple[int, bytes]]) -> None:
    rows = [{"subject": n, "revision": revision, "body": body.decode()} for n, (revision, body) in made.items()]

    def work(conn: Connection) -> None:
        row = upsert(conn, run_documents)
        new = {"revision": row.excluded.revision, "body": row.excluded.body}
        conn.execute(row.on_conflict_do_update(index_elements=["subject"], set_=new), rows)

    try:
        tracker.write(work)
    except BasculeError:  # a full disk or a busy catalog: it is put together again next time
        return


def _made(conn: Connection, numbers: list[int]) -> dict[int, bytes]:
    if not numbers:
        return {}
    known: dict[int, str] = {}
    metrics = _metrics(conn, numbers, known)
    params, tags = (_pairs(conn, table, numbers, known) for table in (run_params, run_tags))
    inputs, models = _inputs(conn, numbers), _models(conn, numbers)
    found = {}
    for number in numbers:
        data: dict[str, Any] = {}
        for name, values in (("metrics", metrics[number]), ("params", params[number]), ("tags", tags[number])):
            if values:
                data[name] = values
        parts: dict[str, Any] = {"data": data}
        told: dict[str, Any] = {}
        if inputs[number]:
            told["dataset_inputs"] = inputs[number]
        if models[number, "in"]:
            told["model_inputs"] = [{"model_id": one} for one, _ in models[number, "in"]]
        parts["inputs"] = told
        if models[number, "out"]:
            outputs = [{"model_id": one, "step": step} for one, step in models[number, "out"]]
            parts["outputs"] = {"model_outputs": outputs}
        found[number] = msgspec.json.encode(parts)[1:-1]
    return found


def _metrics(conn: Connection, numbers: list[int], known: dict[int, str]) -> dict[int, list[Metric]]:
    m = latest_metrics.c
    query = select(m.subject, m.name, m.value, m.is_nan, m.at, m.step, m.context).where(m.subject.in_(numbers))
    rows = conn.execute(query).all()
    _learn(conn, known, {row[1] for row in rows})
    measured = _contexts(conn, {row[6] for row in rows} - {0})
    found: dict[int, list[Metric]] = defaultdict(list)
    for subject, name, value, nan, at, step, context in rows:
        one = Metric(known[name], value, at // 1000, step)
        if nan or not -MOST <= value <= MOST:
            one = Metric(known[name], encoded(value, nan), at // 1000, step)
        found[subject].append(one if context not in measured else replace(one, **measured[context]))
    return found


def _contexts(conn: Connection, numbers: set[int]) -> dict[int, dict[str, str]]:
    c = metric_contexts.c
    query = select(c.number, c.other_id, c.dataset_name, c.dataset_digest).where(c.number.in_(numbers))
    names = ("model_id", "dataset_name", "dataset_digest")
    return {number: dict(zip(names, told, strict=True)) for number, *told in conn.execute(query)} if numbers else {}


def _learn(conn: Connection, known: dict[int, str], wanted: set[int]) -> None:
    """Look up the names of numbers that are not known yet; there are few names, and many values of each."""
    new = wanted - known.keys()
    if new:
        query = select(names.c.number, names.c.name).where(names.c.number.in_(new))
        known.update({row.number: row.name for row in conn.execute(query)})


def _pairs(conn: Connection, table: Any, numbers: list[int], known: dict[int, str]) -> dict[int, list[dict[str, str]]]:
    query = select(table.c.subject, table.c.name, table.c.value).where(table.c.subject.in_(numbers))
    rows = conn.execute(query).all()
    _learn(conn, known, {row[1] for row in rows})
    found: dict[int, list[dict[str, str]]] = defaultdict(list)
    for subject, name, value in rows:
        found[subject].append({"key": known[name], "value": value})
    return found


def _inputs(conn: Connection, numbers: list[int]) -> dict[int, list[dict[str, Any]]]:
    query = (
        select(dataset_uses.c.subject, dataset_uses.c.tags_json, datasets)
        .join(datasets, datasets.c.id == dataset_uses.c.dataset)
        .where(dataset_uses.c.subject.in_(numbers))
        .order_by(dataset_uses.c.dataset)
    )
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in conn.execute(query):
        kept = {key: getattr(row, key) for key in ("name", "digest", "source_type", "source", "schema", "profile")}
        tags = [{"key": key, "value": value} for key, value in msgspec.json.decode(row.tags_json).items()]
        dataset = {key: value for key, value in kept.items() if value is not None}
        found[row.subject].append(({"tags": tags} if tags else {}) | {"dataset": dataset})
    return found


def _models(conn: Connection, numbers: list[int]) -> dict[tuple[int, str], list[tuple[str, int]]]:
    found: dict[tuple[int, str], list[tuple[str, int]]] = defaultdict(list)
    for row in conn.execute(select(model_uses).where(model_uses.c.subject.in_(numbers))):
        found[row.subject, row.direction].append((row.model_id, row.step))
    return found
