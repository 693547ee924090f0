"""Tables made up after those of a state: keys unique, references valid, and no value of a private column copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bascule.contracts import Contract
from bascule.contracts.families import family_of
from bascule.contracts.sql import quoted
from bascule.errors import AlreadyExists, EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.engine import opened, told
from bascule.lake.objects import PREFIX, Object
from bascule.profiles import TableProfile, invented, mock_rows, suspect
from bascule.profiles.mocking import Reference
from bascule.profiles.results import Join
from bascule.project.place import Place
from bascule.project.profiling.profile import profile_at

LEAST_SHARE = 0.5
MOST_REFERRED = 100_000
TRIES = 20
FORMATS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Mocked:
    """What was made up.

    Attributes:
        tables: by name, parents before what refers to them.
        told: how the tables refer to each other, and what was left empty.
        files, branch: where they were written.
    """

    tables: Mapping[str, pa.Table]
    told: tuple[str, ...]
    files: tuple[Path, ...] = ()
    branch: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What was made as one JSON object; with the rows, unless they were written somewhere."""
        shown = {
            name: {"rows": table.num_rows, "columns": {one.name: str(one.type) for one in table.schema}}
            for name, table in self.tables.items()
        }
        if not self.files and self.branch is None:
            for name, table in self.tables.items():
                shown[name]["data"] = table.to_pylist()
        return {
            "tables": shown,
            "told": list(self.told),
            "files": [str(one) for one in self.files],
            "branch": self.branch,
        }


@dataclass
class _Plan:
    """A table to be made: its profile, its key, and how its columns refer to others."""

    name: str
    value: Object
    profile: TableProfile
    key: tuple[str, ...]
    private: frozenset[str]
    joins: list[Join] = field(default_factory=list)


def mock(
    place: Place,
    names: Sequence[str],
    *,
    rows: int = 1000,
    seed: int = 0,
    at: str | None = None,
    private: Sequence[str] = (),
    output: Path | str | None = None,
    into: str | None = None,
) -> Mocked:
    """Make up rows after the profiles of tables of a state.

    Columns are private when the table's contract says so, when they look it, or when they are named here. What refers
    to a table that is named too refers to the rows that are made for it; else to the rows that it has.

    Args:
        rows: how many, of each table.
        seed: the same one gives the same rows.
        output: a file whose ending says the format (.parquet, .csv, .jsonl); a folder for several tables.
        into: a branch that is made at the state, on which these tables have the made-up rows instead.

    Raises:
        NotFound: there is no such table or column.
        AlreadyExists: the file or the branch is there.
        InputError: there are not so many different keys, a private column refers to a table that is not mocked, or the
            file's ending says no format.
    """
    wanted = list(dict.fromkeys(names))
    state = at or place.branch
    targets = _targets(wanted, output)
    if into is not None and into in {ref.name for ref in place.workspace.history.branches()}:
        raise AlreadyExists("branch", into, hint="Name a new one: its tables are replaced.")
    plans = _ordered([_plan(place.workspace, name, state, wanted, private) for name in wanted])
    columns = {one.name for plan in plans for one in plan.profile.columns}
    for name in private:
        if name not in columns:
            raise NotFound("column", name, columns)
    lake, made, lines = Lake(place.workspace), dict[str, pa.Table](), list[str]()
    with opened(place.workspace.temporary_folder) as connection:
        for plan in plans:
            references = [_reference(connection, lake, place.workspace, state, plan, one, made) for one in plan.joins]
            schema = lake.schema(plan.value)
            table = mock_rows(
                plan.profile, schema, rows, seed, key=plan.key, references=references, private=plan.private
            )
            made[plan.name] = _unlike(connection, lake, plan, table, seed)
            lines += _told(plan, made)
    branch = None
    if into is not None:
        place.workspace.history.create_branch(into, state)
        for name, table in made.items():
            lake.overwrite(name, table, branch=into, message=f"Rows of {name} made up (seed {seed})")
        branch = into
    files = tuple(_write(made[name], target) for name, target in targets.items())
    return Mocked(made, tuple(lines), files, branch)


def _plan(workspace: Workspace, name: str, state: str, wanted: Sequence[str], private: Sequence[str]) -> _Plan:
    history = workspace.history
    found = profile_at(workspace, name, state)
    value = history.get(state, PREFIX + name)
    if not found.rows:
        raise InputError(f"{name} has no rows to learn from.", hint="Name another table or another state (--at).")
    contract = history.read(state, f"contracts/{name}")
    masked = Contract.parse(contract["text"], file=f"{name}.yaml").masked if contract else frozenset[str]()
    tagged = masked | {one.name for one in found.private} | {one for one in private if found.column(one)}
    declared = next((one.columns for one in found.keys if one.how == "declared"), ())
    key = declared or next((one.columns for one in found.keys if one.how == "found"), ())
    plan = _Plan(name, value, found, key, tagged)
    taken: set[str] = set()
    for one in sorted(found.joins, key=lambda join: (join.table not in wanted, -join.share)):
        left = {pair[0] for pair in one.pairs}
        if one.how == "reference" and one.share >= LEAST_SHARE and not left & taken and left != set(key):
            plan.joins.append(one)
            taken |= left
    return plan


def _ordered(plans: Sequence[_Plan]) -> list[_Plan]:
    """Return tables after those that they refer to; where they refer to each other, one of the references goes."""
    known = {plan.name: plan for plan in plans}
    done: dict[str, _Plan] = {}

    def visit(plan: _Plan, above: tuple[str, ...]) -> None:
        if plan.name in done:
            return
        plan.joins = [one for one in plan.joins if one.table not in (*above, plan.name)]
        for one in plan.joins:
            if one.table in known:
                visit(known[one.table], (*above, plan.name))
        done[plan.name] = plan

    for plan in plans:
        visit(plan, ())
    return list(done.values())


def _reference(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    workspace: Workspace,
    state: str,
    plan: _Plan,
    join: Join,
    made: Mapping[str, pa.Table],
) -> Reference:
    left, right = [pair[0] for pair in join.pairs], [pair[1] for pair in join.pairs]
    if join.table in made:
        return Reference(tuple(left), tuple(made[join.table].column(name).to_pylist() for name in right))
    value = workspace.history.get(state, PREFIX + join.table)
    names = ", ".join(quoted(name) for name in right)
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in right)
    with told(f"The table {join.table} cannot be read"):
        table = connection.sql(
            f"SELECT DISTINCT {names} FROM {lake.scan(value)} WHERE {known} "
            f"ORDER BY hash({names}), {names} LIMIT {MOST_REFERRED}"
        ).to_arrow_table()
    contract = workspace.history.read(state, f"contracts/{join.table}")
    masked = Contract.parse(contract["text"], file=f"{join.table}.yaml").masked if contract else frozenset[str]()
    for here, there in zip(left, right, strict=True):
        values = [str(one) for one in table.column(there).slice(0, 2_000).to_pylist()]
        if here in plan.private or there in masked or suspect(there, values, _family(table, there)):
            raise InputError(
                f"{plan.name}.{here} refers to {join.table}.{there}, which is private: its real values are not copied.",
                hint=f"Mock that table too: bascule mock {plan.name} {join.table}",
            )
    return Reference(tuple(left), tuple(table.column(name).to_pylist() for name in right))


def _family(table: pa.Table, name: str) -> str:
    kind = table.schema.field(name).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    return "integer" if pa.types.is_integer(kind) else "other"


def _unlike(connection: duckdb.DuckDBPyConnection, lake: Lake, plan: _Plan, table: pa.Table, seed: int) -> pa.Table:
    """Return the table with other values where one that was invented for a private column happens to be a real one."""
    referring = {pair[0] for one in plan.joins for pair in one.pairs}
    random = np.random.default_rng([seed, 1])
    for column in plan.profile.columns:
        family = family_of(column.type)
        if column.name not in plan.private or family not in ("string", "integer") or column.name in referring:
            continue
        values: list[Any] = table.column(column.name).to_pylist()
        for _ in range(TRIES):
            real = _real(connection, lake, plan, column.name, values, table.schema.field(column.name).type)
            if not real:
                break
            fresh: Callable[[], Any] = (
                (lambda: int(random.integers(10**11, 10**12)))
                if family == "integer"
                else (lambda: f"{invented.word(random, 8)}{int(random.integers(10**9))}")
            )
            values = [fresh() if one in real else one for one in values]
        place = table.schema.get_field_index(column.name)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def _real(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    plan: _Plan,
    column: str,
    values: Sequence[Any],
    kind: pa.DataType,
) -> set[Any]:
    """Return the values that the real column has too."""
    made = pa.table({"v": pa.array(sorted({one for one in values if one is not None}), kind)})
    connection.register("bascule made", made)
    with told(f"The table {plan.name} cannot be read"):
        found = connection.execute(
            f'SELECT DISTINCT v FROM "bascule made" WHERE v IN (SELECT {quoted(column)} FROM {lake.scan(plan.value)})'
        ).fetchall()
    connection.unregister("bascule made")
    return {row[0] for row in found}


def _told(plan: _Plan, made: Mapping[str, pa.Table]) -> list[str]:
    lines = [f"{plan.name} is named by {', '.join(plan.key)}"] if plan.key else []
    for one in plan.joins:
        pairs = ", ".join(f"{plan.name}.{left} refers to {one.table}.{right}" for left, right in one.pairs)
        lines.append(f"{pairs} ({'made up too' if one.table in made else 'its real rows'})")
    if plan.private:
        lines.append(f"{plan.name}: no value copied of {', '.join(sorted(plan.private))}")
    nested = [one.name for one in plan.profile.columns if one.meaning in ("nested", "bytes")]
    if nested:
        lines.append(f"{plan.name}: left empty, as nested or bytes: {', '.join(nested)}")
    return lines


def _targets(names: Sequence[str], output: Path | str | None) -> dict[str, Path]:
    if output is None:
        return {}
    path = Path(output)
    if len(names) == 1:
        if path.suffix not in FORMATS:
            raise InputError(f"{path} says no format.", hint=f"End it in {', '.join(FORMATS)}.")
        targets = {names[0]: path}
    else:
        if path.suffix in FORMATS:
            raise InputError(f"{path} is one file for {len(names)} tables.", hint="Name a folder.")
        targets = {name: path / f"{name}.parquet" for name in names}
    for target in targets.values():
        if target.exists():
            raise AlreadyExists("file", str(target), hint="Choose another name, or remove it.")
    return targets


def _write(table: pa.Table, target: Path) -> Path:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    draft = target.with_name(f"{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".parquet":
            pq.write_table(table, draft)
        elif target.suffix == ".csv":
            flat = [one.name for one in table.schema if not pa.types.is_nested(one.type)]
            csv.write_csv(table.select(flat), draft)
        else:
            _write_lines(table, draft)
        os.replace(draft, target)
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write {target}: {error.strerror or error}.", hint="Name a place that is open to you."
        ) from error
    return target


def _write_lines(table: pa.Table, target: Path) -> None:
    import json

    with target.open("w", encoding="utf-8", newline="\n") as file:
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                file.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")
