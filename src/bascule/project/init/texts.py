"""The files of a new project, as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bascule.lake.sources.moments import DAY_FIRST, MONTH_FIRST, Dates
from bascule.project.init.design import Design
from bascule.project.init.sql import quoted, selected
from bascule.project.init.tables import Column, Table
from bascule.project.init.views import View

ENOUGH_TO_JUDGE = 500
MOST_SLICES = 2
FEW_NAMES = 20
LATER = (
    "# To learn from tables, add [training] with a population and a label, and [model]; or let Bascule write them from",
    "# a look at the data, into another folder: bascule init DATA --label COLUMN --into FOLDER",
)


def project_text(design: Design, name: str, paths: dict[str, str]) -> str:
    """Return `bascule.toml`.

    Args:
        paths: for each table the path of its files, relative to the project.
    """
    label = design.label
    parts = [
        f"# Learns {json.dumps(label.expression, ensure_ascii=False)} from the rows of {label.table.name}. "
        "Written by bascule init; it is yours now.",
        "# docs/project.md says what each key means.",
        "",
        *_section("project", {"name": name, "kind": design.kind}),
        *_title("Tables"),
    ]
    parts += _sources(design.tables, paths)
    if design.views:
        parts += _title("What features are about")
        for entity, keys in {view.entity: view.keys for view in design.views}.items():
            parts += _section(f"entity.{entity}", {"keys": list(keys)})
    if design.views or design.expressions:
        parts += _title("Features")
    for view in design.views:
        parts += [f"# {view.comment}", *_section(f"features.{view.name}", _view_values(view))]
    if design.expressions:
        parts += ["# Computed from the request itself."]
        parts += _section(f"features.{request_name(design)}", {"expressions": dict(design.expressions)})
    parts += _title("The model")
    parts += [*_training(design), *_model(design, name), *_gates(design)]
    parts += _title("In production")
    parts += [*_section("deployment", {"name": name, "strategy": "canary", "steps": [10, 100]}), *_monitoring(design)]
    return "\n".join(parts).rstrip() + "\n"


def tables_text(tables: Sequence[Table], name: str, paths: dict[str, str]) -> str:
    """Return `bascule.toml` of a project that learns nothing: tables, if there are any, and their contracts.

    Args:
        paths: as for `project_text`.
    """
    what = "Keeps tables and their contracts" if tables else "Records scripts, and keeps what you bring in"
    parts = [
        f"# {what}. Written by bascule init; it is yours now.",
        "# docs/project.md says what each key means.",
        "",
        *_section("project", {"name": name}),
        *(_title("Tables") if tables else []),
        *_sources(tables, paths),
        *LATER,
    ]
    return "\n".join(parts).rstrip() + "\n"


def _sources(tables: Sequence[Table], paths: Mapping[str, str]) -> list[str]:
    parts: list[str] = []
    for table in tables:
        mode = "append" if len(table.group.files) > 1 else "replace"
        values = {"path": paths[table.name], "key": list(table.key), "mode": mode}
        notes = {"path": "each file is a batch"} if mode == "append" else {}
        if not table.key:
            notes["key"] = "no columns name a row"
        if table.dates.single:
            values["dates"] = table.dates.single
            notes["dates"] = _dates_note(table.dates)
        parts += _section(f"source.{table.name}", values, notes)
    for table in tables:
        parts += _section(f"contract.{table.name}", {"file": f"contracts/{table.name}.yaml"})
    return parts


def population_text(design: Design) -> str:
    """Return `features/population.sql`."""
    label, table, times = design.label, design.label.table, design.times
    written: set[str] = set()

    def fresh(names: Iterable[str]) -> list[tuple[str, str]]:
        columns = [(quoted(name), design.names[name]) for name in names if design.names[name] not in written]
        written.update(name for _, name in columns)
        return columns

    entity_names = {key for view in design.views for key in view.keys}
    blocks: list[tuple[str, list[tuple[str, str]]]] = [("which one", fresh(table.key))]
    wanted = [one for one in table.columns if one.name in design.request or design.names[one.name] in entity_names]
    known = fresh(one.name for one in wanted)
    if design.one_series:
        known.append(("'all'", "series"))
    if times is not None:
        known.append((times.prediction.time_sql or "", "prediction_time"))
    blocks.append(("what is known when the question is asked", known))
    after = fresh(label.columns)
    if times is not None and times.label is not None:
        after.append((times.label.time_sql or "", label_time_name(design)))
    blocks.append(("what is known only afterwards", after))
    lines = ",\n".join(f"    -- {title}\n{selected(columns)}" for title, columns in blocks if columns)
    head = f"-- One row for each example: a row of {table.name}."
    if label.unknown:
        head += f"\n-- {label.unknown:,} rows have no label yet; they are left out of training."
    text = f"{head}\nselect\n{lines}\nfrom {table.sql}\n"
    if times is not None and times.prediction.filled < times.prediction.rows:
        text += f"where {quoted(times.prediction.name)} is not null\n"
    return text


def request_name(design: Design) -> str:
    """Return the name of the request view: `request`, unless a table is called that."""
    return "request" if all(view.name != "request" for view in design.views) else "asked"


def label_time_name(design: Design) -> str:
    """Return the population's name for the moment at which the answer is known."""
    return "label_time" if "label_time" not in design.names.values() else "answered_at"


def _dates_note(dates: Dates) -> str:
    other = DAY_FIRST if dates.single == MONTH_FIRST else MONTH_FIRST
    return f"assumed: no value shows it; or {other}" if dates.unsure else f"01/02/2025; or {other}"


def _training(design: Design) -> list[str]:
    label, times = design.label, design.times
    features = [view.name for view in design.views] + ([request_name(design)] if design.expressions else [])
    values: dict[str, object] = {
        "population": "features/population.sql",
        "label": label.expression,
        "task": label.task,
    }
    if label.positive is not None:
        values["positive"] = label.positive
    if times is not None:
        values["prediction_time"] = "prediction_time"
        if times.label is not None:
            values["label_time"] = label_time_name(design)
    if features:
        values["features"] = features
    if design.request:
        values["request"] = [design.names[one] for one in design.request]
    values["split"] = dict(zip(("validation", "test"), design.split, strict=True))
    notes = {"request": "columns of the population that are features themselves"}
    notes["split"] = (
        "by time: the newest rows are the test" if times is not None else "at random, by the hash of the row"
    )
    return _section("training", values, notes)


def _model(design: Design, name: str) -> list[str]:
    values: dict[str, object] = {"name": name, "trainer": design.trainer}
    if design.trainer == "lightgbm":
        values["search"] = {"trials": 12}
    notes = {"trainer": "or lightgbm: trees, when there are more rows" if design.trainer == "linear" else "or linear"}
    return _section("model", values | {"seed": 7}, notes)


def _gates(design: Design) -> list[str]:
    label = design.label
    values: dict[str, object] = {
        "metric": "rmse" if label.task == "regression" else "log_loss",
        "better_than_baseline": True,
        "better_than_current": True,
    }
    if label.task == "binary" and design.test_rows >= 2 * ENOUGH_TO_JUDGE:
        slices = [design.names[one.name] for one in _sliceable(design)][:MOST_SLICES]
        if slices:
            values["slices"] = slices
            values["slice_floor"] = {"metric": "auc", "minimum": 0.55, "rows": ENOUGH_TO_JUDGE}
    if design.calibration is not None:
        values["calibration"] = design.calibration
    values["signature"] = True
    note = "refuse probabilities that are off by more than this on average"
    *lines, end = _section("gates", values, {"calibration": note})
    if label.task == "binary" and design.calibration is None:
        lines.append(f"# calibration = 0.05  # {note}")
    return [*lines, end]


def _monitoring(design: Design) -> list[str]:
    metric = {"binary": "auc", "multiclass": "accuracy", "regression": "mae"}[design.label.task]
    drift = {"minimum_rows": 200, "effect": 0.1, "persistence": [3, 5]}
    return _section("monitoring", {"by": "day", "drift": drift, "quality": {"metric": metric, "minimum_coverage": 0.8}})


def _sliceable(design: Design) -> Sequence[Column]:
    columns = [design.label.table[one] for one in design.request]
    return sorted((one for one in columns if one.is_text and one.distinct <= FEW_NAMES), key=lambda one: -one.distinct)


def _view_values(view: View) -> dict[str, object]:
    values: dict[str, object] = {"sql": f"features/{view.name}.sql", "entity": view.entity}
    optional = {"event_time": view.event_time, "ttl": view.ttl, "windows": list(view.windows)}
    values |= {key: value for key, value in optional.items() if value}
    return values | ({"aggregates": dict(view.aggregates)} if view.aggregates else {})


def _title(text: str) -> list[str]:
    return [f"# --- {text} " + "-" * (100 - len(text)), ""]


def _section(name: str, values: Mapping[str, object], notes: dict[str, str] | None = None) -> list[str]:
    lines = [f"{key} = {toml(value)}" for key, value in values.items()]
    for place, key in enumerate(values):
        if notes and key in notes and "\n" not in lines[place]:
            lines[place] += f"  # {notes[key]}"
    return [f"[{name}]", *lines, ""]


def toml(value: object) -> str:
    """Return a value as TOML; a list that would be long goes on several lines."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        items = [toml(one) for one in value]
        short = "[" + ", ".join(items) + "]"
        return short if len(short) <= 90 else "[\n" + "".join(f"    {one},\n" for one in items) + "]"
    return str(value)


def ignore_text(paths: Iterable[str]) -> str:
    """Return the `.gitignore` of a project: the workspace is no text, and data are versioned by Bascule.

    Args:
        paths: of the tables' files, relative to the project.
    """
    data = sorted(f"/{path}" for path in paths if not path.startswith(("../", "/")))
    return "\n".join([".bascule/", *data]) + "\n"


def relative_to(path: Path, folder: Path) -> str:
    """Return a path as the project file writes it: relative when that is possible, with forward slashes."""
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        import os

        return Path(os.path.relpath(path, folder)).as_posix()
