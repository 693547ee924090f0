"""Who reads a table, as the history and the records know it: features, training sets, models, deployments, engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import select

from bascule.catalog import now
from bascule.catalog.schema import training_sets
from bascule.contracts import Contract
from bascule.contracts.checks import References
from bascule.delivery.traffic import needed
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.lake import Session
from bascule.lake.foreign.reports import REPORTS, SCHEMA
from bascule.lake.records import RecordTable
from bascule.naming import PRODUCTION, model_path
from bascule.project.definitions import read_by_query

# Engines that have said nothing for so long read nothing any more.
FOREIGN_DAYS = 90
_DAY_US = 86_400_000_000

#: The columns of a table of the state that readers know, by its name: column to type.
Columns = Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader.

    Attributes:
        kind: `feature view`, `training set`, `model`, `deployment`, `contract` or `engine`.
        name: what it is called.
        reads: (table, column) of all that it reads; a column of "" stands for any column.
    """

    kind: str
    name: str
    reads: frozenset[tuple[str, str]]

    def uses(self, table: str, column: str | None) -> bool:
        """Tell whether it reads a column of a table, or the table at all for None."""
        return any(one == table and (column is None or name in ("", column)) for one, name in self.reads)

    def text(self) -> str:
        """The reader in words."""
        return f"{self.kind} {self.name}"


def readers(
    workspace: Workspace, entries: Callable[[str], Iterable[tuple[str, Object]]], columns: Columns
) -> list[Reader]:
    """Return the readers of a state's tables.

    Args:
        entries: gives the paths of the state below a prefix, with their objects.
        columns: of the tables as the readers know them, before the change that is judged.
    """
    found = [
        Reader("feature view", path.partition("/")[2], _reads(str(view["sql"]), columns))
        for path, view in entries("features/")
        if view.get("sql")
    ]
    models = dict(entries("models/"))
    serving: dict[tuple[str, int], list[str]] = {}
    for path, deployment in entries("deployments/"):
        for version in needed(deployment):
            serving.setdefault((model_path(deployment["model"]), version), []).append(path.partition("/")[2])
    specs = _specs(workspace, models, serving)
    for (path, number), (name, spec) in specs.items():
        found += _learned(path.partition("/")[2], number, name, spec, serving.get((path, number), ()), columns)
    found += _contracts(entries("contracts/"))
    return [*found, *_engines(workspace)]


def _reads(sql: str, columns: Columns) -> frozenset[tuple[str, str]]:
    from bascule.features.lineage import columns_read  # reads SQL: what only lands needs no parser

    found = columns_read(sql, columns)
    if found is not None:
        return frozenset((table.strip('"'), column) for table, column in found)
    try:
        return frozenset((table, "") for table in read_by_query(sql))
    except BasculeError:
        return frozenset()


def _specs(
    workspace: Workspace, models: Mapping[str, Object], serving: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], tuple[str, dict[str, Any]]]:
    """The training sets of the versions that serve or are in production: their names and what they were made of."""
    wanted: dict[tuple[str, int], str] = {}
    for path, model in models.items():
        chosen = {number for name, number in serving if name == path}
        production = model.get("aliases", {}).get(PRODUCTION)
        chosen |= {int(production)} if production is not None else set()
        for number in chosen:
            version = model.get("versions", {}).get(str(number))
            if version is not None and version.get("training_set"):
                wanted[path, number] = version["training_set"]
    query = select(training_sets.c.id, training_sets.c.name, training_sets.c.spec_json)
    with workspace.catalog.read() as conn:
        rows = conn.execute(query.where(training_sets.c.id.in_(sorted(set(wanted.values()))))).all()
    known = {row.id: (row.name, msgspec.json.decode(row.spec_json)) for row in rows}
    return {version: known[made] for version, made in wanted.items() if made in known}


def _learned(
    model: str, number: int, name: str, spec: dict[str, Any], deployments: Iterable[str], columns: Columns
) -> Iterator[Reader]:
    """The training set of a version, the version itself, which asks its views when it answers, and who serves it."""
    population = str((spec.get("spec") or {}).get("population") or "")
    views = [str(view["sql"]) for view in (spec.get("feature_set") or {}).get("views", ()) if view.get("sql")]
    asked: frozenset[tuple[str, str]] = frozenset().union(*(_reads(sql, columns) for sql in views))
    learned = asked | (_reads(population, columns) if population else frozenset())
    yield Reader("training set", name, learned)
    yield Reader("model", f"{model}@{number}", learned)
    for deployment in sorted(deployments):
        yield Reader("deployment", deployment, asked)


def _contracts(entries: Iterable[tuple[str, Object]]) -> Iterator[Reader]:
    for path, value in entries:
        try:
            contract = Contract.parse(value["text"], file=value.get("file", path))
        except BasculeError:  # told by who checks it
            continue
        rules = [check.rule for check in contract.checks if isinstance(check.rule, References)]
        reads = frozenset((rule.table, column) for rule in rules for column in rule.to)
        if reads:
            yield Reader("contract", path.partition("/")[2], reads)


def _engines(workspace: Workspace) -> list[Reader]:
    """Engines of others that scanned a table in the last time, by what they reported to the Iceberg catalog."""
    if RecordTable(workspace, REPORTS, SCHEMA).object() is None:
        return []
    query = "select author, table_name, report_json from engine_reports where kind = 'scan-report' and at > ?"
    since = datetime.fromtimestamp((now() - FOREIGN_DAYS * _DAY_US) / 1e6, UTC)
    with Session(workspace) as session:
        rows = session.arrow(query, [since]).to_pylist()
    found: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        report = msgspec.json.decode(row["report_json"])
        names = report.get("projected-field-names") or [""]
        found.setdefault(row["author"] or "somebody", set()).update((row["table_name"], name) for name in names)
    return [Reader("engine", f"of {author}", frozenset(reads)) for author, reads in sorted(found.items())]
