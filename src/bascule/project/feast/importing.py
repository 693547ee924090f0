"""Writes a Feast repository as a project: `bascule.toml` and an SQL file for each view; tells what was left out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from bascule.durations import format_duration
from bascule.errors import AlreadyExists
from bascule.features.columns import quoted
from bascule.project.feast.expressions import NotPlain, expressions
from bascule.project.feast.reading import Made, Repository, Symbol, read_repository
from bascule.project.file import FILE_NAME, load_project, parse_project
from bascule.project.init.texts import relative_to, toml

#: Feast's types as DuckDB's; others (maps, structs, lists, bytes) cannot be a feature.
TYPES = {
    "String": "VARCHAR",
    "Int32": "INTEGER",
    "Int64": "BIGINT",
    "Float32": "FLOAT",
    "Float64": "DOUBLE",
    "Bool": "BOOLEAN",
    "UnixTimestamp": "TIMESTAMP",
    "ZonedTimestamp": "TIMESTAMP WITH TIME ZONE",
    "Decimal": "DOUBLE",
    "Uuid": "VARCHAR",
}
VIEWS = ("FeatureView", "BatchFeatureView", "StreamFeatureView")
#: What is read by those that use it, or means nothing here.
PARTS = ("Entity", "Field", "Project", "[]", "Feature")
SERVICE, ON_DEMAND, REQUEST = "FeatureService", "on_demand_feature_view", "on_demand"
WINDOW_FUNCTIONS = ("count", "sum", "mean", "avg", "min", "max", "std", "var", "stddev", "variance")


class FeastImport(msgspec.Struct, frozen=True, kw_only=True):
    """What was made of a Feast repository.

    Attributes:
        files: what was written, relative to the project.
        entities, sources, views, features_on_demand, services: the names of what was taken.
        left_out: what was not, and why, one sentence each.
        notes: what is done in another way here, one sentence each.
    """

    project: str
    files: tuple[str, ...]
    entities: tuple[str, ...]
    sources: tuple[str, ...]
    views: tuple[str, ...]
    features_on_demand: tuple[str, ...]
    services: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def import_feast(repository: Path, into: Path) -> FeastImport:
    """Write what a Feast repository declares into a project: a new one, or one that is there and has none of its names.

    The files of the repository are read and never run.

    Raises:
        InputError: it is no Feast repository, or a file of it cannot be read.
        AlreadyExists: the project has something of that name, or a file that would be written.
        Nothing is written then.
    """
    found = _Translation(read_repository(repository), into.absolute())
    found.translate()
    file = into / FILE_NAME
    before = file.read_text("utf-8") if file.is_file() else ""
    if before:
        _refuse_taken(load_project(file), found.sections)
    text = found.text(with_project=not before)
    for name in found.queries:
        if (into / name).exists():
            raise AlreadyExists("file", str(into / name), hint="Move it, or import into another folder.")
    whole = f"{before.rstrip()}\n\n{text}" if before else text
    parse_project(whole, file)  # what is written can be read
    (into / "features").mkdir(parents=True, exist_ok=True)
    for name, query in found.queries.items():
        (into / name).write_text(query, "utf-8")
    file.write_text(whole, "utf-8")
    load_project(file)
    return found.report()


def _refuse_taken(project: Any, sections: dict[str, dict[str, Any]]) -> None:
    for section in sections:
        kind, _, name = section.partition(".")
        if name in getattr(project, kind):
            raise AlreadyExists(kind, name, hint="Rename one of the two, or import into another folder.")


class _Translation:
    """Sections and queries, gathered from what a repository declares."""

    def __init__(self, repository: Repository, into: Path) -> None:
        self.repository = repository
        self.into = into
        self.sections: dict[str, dict[str, Any]] = {}
        self.comments: dict[str, str] = {}
        self.queries: dict[str, str] = {}
        self.left_out: list[str] = []
        self.notes: dict[str, None] = {}
        self._views: dict[Made, tuple[str, tuple[str, ...]]] = {}
        self._on_demand: dict[Made, list[str]] = {}
        self._expressions: dict[str, str] = {}

    def translate(self) -> None:
        """Take what can be taken, in the order in which it needs one another."""
        made = list(dict.fromkeys(self.repository.made))
        for one in made:
            if one.kind in VIEWS:
                self._try(one, self._view)
        asked = [one for one in made if one.kind in (ON_DEMAND, "OnDemandFeatureView")]
        for one in asked:
            self._try(one, self._request)
        if self._expressions:
            self.sections[f"features.{REQUEST}"] = {"expressions": self._expressions}
        for one in made:
            if one.kind == SERVICE:
                self._try(one, self._service)
            elif one.kind not in (*VIEWS, *PARTS, ON_DEMAND, "OnDemandFeatureView") and _is_other(one):
                self.left_out.append(f"{one.where}: {one.kind} {one.name}: there is no such kind of thing here.")
        store = self.repository.settings.get("online_store")
        kind = store.get("type") if isinstance(store, dict) else store
        if kind:
            self.notes[f"The online store {kind} is not taken over: values are served from .bascule/online."] = None

    def _try(self, made: Made, take: Callable[[Made], str | None]) -> None:
        reason = f"{', '.join(made.unknown)} can only be told by running the file" if made.unknown else take(made)
        if reason:
            self.left_out.append(f"{made.where}: {made.kind} {made.name}: {reason}.")

    def _view(self, view: Made) -> str | None:
        if view.function is not None or view.get("udf", "feature_transformation"):
            return "it computes its rows by Python; write them as SQL"
        named = [one for one in view.get("entities", default=[]) if isinstance(one, Made | str)]
        if not named:
            return "it has no entity; a feature is about something that keys name"
        source = view.get("source", "stream_source", "batch_source")
        if isinstance(source, Made) and source.kind in ("PushSource", "KafkaSource", "KinesisSource"):
            self.notes[f"{source.kind} {source.name}: rows come into its table by bascule ingest or HTTP."] = None
            source = source.get("batch_source")
        if not isinstance(source, Made) or not source.get("path", "file_url", "table", "query"):
            for part in ("path", "file_url", "table", "query") if isinstance(source, Made) else ():
                if part in source.unknown:
                    told = f"the {part} of its source is {source.unknown[part]}, which only running the file tells"
                    return f"{told}; write it as a text"
            return "its source names neither files nor a table; write its query, and [source.NAME] for it"
        if not source.get("timestamp_field", "event_timestamp_column"):
            return "its source names no timestamp_field"
        entity, keys = self._entity(named)
        fields = self._fields(view, keys)
        if not fields and view.get("schema") and not view.get("aggregations"):
            return "none of its fields has a type that a feature can have"
        name = self._name(view.name, "feature view")
        values: dict[str, Any] = {"sql": f"features/{name}.sql", "entity": entity}
        values["event_time"] = source.get("timestamp_field", "event_timestamp_column")
        ttl = view.get("ttl")
        windows = self._windows(view, values)
        if isinstance(ttl, timedelta) and ttl > timedelta() and not windows:
            values["ttl"] = format_duration(ttl // timedelta(microseconds=1))
        if fields and not windows:
            values["fields"] = [field for field, _ in fields]
        created = source.get("created_timestamp_column")
        if created and not windows:
            self.comments[f"features.{name}"] = (
                f"# known_time = {toml(created)}  # a row counts only once it was written"
            )
            self.notes["created_timestamp_column settles ties, as in Feast; known_time would hide rows until then."] = (
                None
            )
        self.sections[f"features.{name}"] = values | _said(view)
        columns = [] if windows or not fields else fields
        self.queries[values["sql"]] = _query(self._source(source), keys, source, columns)
        self._views[view] = (name, tuple(field for field, _ in fields))
        return None

    def _entity(self, named: list[Any]) -> tuple[str, tuple[str, ...]]:
        made = {one.name: one for one in self.repository.made if one.kind == "Entity"}
        entities = [made.get(one, one) if isinstance(one, str) else one for one in named]
        names = [one if isinstance(one, str) else one.name for one in entities]
        keys: dict[str, None] = {}
        for one, name in zip(entities, names, strict=True):
            joined = (
                [name] if isinstance(one, str) else one.get("join_keys", default=[one.get("join_key", default=name)])
            )
            keys |= dict.fromkeys(map(str, joined))
        name = self._name("_".join(names), "entity")
        self.sections[f"entity.{name}"] = {"keys": list(keys)}
        return name, tuple(keys)

    def _fields(self, view: Made, keys: tuple[str, ...]) -> list[tuple[str, str]]:
        found = []
        for one in view.get("schema", "features", default=[]):
            if not isinstance(one, Made) or one.name in keys:
                continue
            dtype = one.get("dtype", default=one.args[1] if len(one.args) > 1 else None)
            kind = dtype.name if isinstance(dtype, Symbol) else getattr(dtype, "kind", "of no type")
            if kind in TYPES:
                found.append((one.name, TYPES[kind]))
            else:
                self.left_out.append(f"{one.where}: {view.name}.{one.name}: a {kind} cannot be a feature.")
        return found

    def _windows(self, view: Made, values: dict[str, Any]) -> bool:
        windows: dict[str, None] = {}
        for one in view.get("aggregations", default=[]):
            function, length = str(one.get("function")).lower(), one.get("time_window")
            if function in WINDOW_FUNCTIONS and isinstance(length, timedelta):
                windows[format_duration(length // timedelta(microseconds=1))] = None
                column = one.get("column")
                values.setdefault("aggregates", {})[f"{column}_{function}"] = f"{function}({column})"
            else:
                self.left_out.append(f"{one.where}: {view.name}: the aggregation {function} is not known here.")
        if windows:
            values["windows"] = list(windows)
            self.notes[f"{view.name}: aggregates are called COLUMN_FUNCTION_WINDOW, and each has all windows."] = None
        return bool(windows)

    def _source(self, source: Made) -> str:
        """The table that has a source's rows: of its files, or one that somebody brings from a warehouse."""
        if not source.get("path", "file_url"):
            held = str(source.get("table", default="rows")).strip("`").rpartition(".")[2]
            name = self._name(source.name or held, "source")
            told = f"{source.kind} {source.name or held}: bring its rows into the table {name}, by [source.{name}] or "
            self.notes[f"{told}bascule ingest; features are computed from there."] = None
            return name
        path = str(source.get("path", "file_url")).removeprefix("file://")
        if "://" not in path:
            path = relative_to((self.repository.folder / path).absolute(), self.into)
        if "://" not in path and not path.endswith((".parquet", ".csv", ".json")):
            path = f"{path}/**/*.parquet"
        known = {one["path"]: name[7:] for name, one in self.sections.items() if name.startswith("source.")}
        if path not in known:
            known[path] = self._name(source.name or Path(path).stem, "source")
            self.sections[f"source.{known[path]}"] = {"path": path}
        return known[path]

    def _request(self, view: Made) -> str | None:
        if view.function is None:
            return "its function is not in these files"
        fields: dict[str, str] = {}
        for one in view.get("sources", default=[]):
            one = one.args[0] if isinstance(one, Made) and one.kind == "[]" else one
            if isinstance(one, Made) and one.kind == "RequestSource":
                fields |= {field.name: field.name for field in one.get("schema", default=[])}
            elif one in self._views:
                name, outputs = self._views[one]
                fields |= {output: f"{name}.{output}" for output in outputs}
            elif isinstance(one, Made) and one.kind in VIEWS:
                return f"{one.name} was not taken, so neither is it"
        try:
            found = expressions(view.function, fields.get)
        except NotPlain as told:
            return f"it is more than arithmetic ({told}); write its features as SQL expressions"
        wanted = [one.name for one in view.get("schema", default=[]) if isinstance(one, Made)] or list(found)
        self._on_demand[view] = []
        for output in wanted:
            if output not in found:
                self.left_out.append(f"{view.where}: {view.name}.{output}: the function does not give it.")
                continue
            name = output if output not in self._expressions else f"{view.name}_{output}"
            if name != output:
                self.notes[f"{view.name}.{output} is called {REQUEST}.{name}: the name is taken."] = None
            self._expressions[name] = found[output]
            self._on_demand[view].append(f"{REQUEST}.{name}")
        return None

    def _service(self, service: Made) -> str | None:
        features: list[str] = []
        for one in service.get("features", default=[]):
            view, chosen = one.args if isinstance(one, Made) and one.kind == "[]" else (one, None)
            if view in self._views:
                name = self._views[view][0]
                features += [name] if chosen is None else [f"{name}.{field}" for field in chosen]
            elif view in self._on_demand:
                features += self._on_demand[view]
            else:
                told = view.name if isinstance(view, Made) else str(view)
                self.left_out.append(f"{service.where}: {service.name}: {told} was not taken, so neither is it here.")
        if not features:
            return "nothing of it was taken"
        self.sections[f"service.{self._name(service.name, 'service')}"] = {"features": features} | _said(service)
        return None

    def _name(self, name: str, kind: str) -> str:
        """A name as it may be here: letters, digits and single underscores."""
        parts = [part for part in "".join(c if c.isascii() and c.isalnum() else "_" for c in name).split("_") if part]
        fit = "_".join(parts)
        fit = fit if fit[:1].isalpha() else f"x{fit}"
        if fit != name:
            self.notes[f"The {kind} {name} is called {fit}."] = None
        return fit

    def text(self, with_project: bool) -> str:
        """The sections as a project file."""
        lines = [f"# Imported from the Feast repository {self.repository.folder.name}.", ""]
        if with_project:
            name = self._name(str(self.repository.settings.get("project") or self.repository.folder.name), "project")
            lines += ["[project]", f"name = {toml(name)}", ""]
        order = ("source", "entity", "features", "service")
        for section in sorted(self.sections, key=lambda one: order.index(one.partition(".")[0])):
            values = self.sections[section]
            nested = {key: value for key, value in values.items() if isinstance(value, dict)}
            lines += [f"[{section}]", *(f"{key} = {toml(value)}" for key, value in values.items() if key not in nested)]
            lines += [self.comments[section]] if section in self.comments else []
            for key, value in nested.items():
                lines += [f"[{section}.{key}]", *(f"{name} = {toml(one)}" for name, one in value.items())]
            lines.append("")
        return "\n".join(lines)

    def report(self) -> FeastImport:
        """What was taken and what was not."""

        def names(kind: str) -> tuple[str, ...]:
            return tuple(one.partition(".")[2] for one in self.sections if one.startswith(f"{kind}."))

        return FeastImport(
            project=str(self.into / FILE_NAME),
            files=(FILE_NAME, *self.queries),
            entities=names("entity"),
            sources=names("source"),
            views=tuple(name for name in names("features") if name != REQUEST),
            features_on_demand=tuple(self._expressions),
            services=names("service"),
            left_out=tuple(self.left_out),
            notes=tuple(self.notes),
        )


def _query(table: str, keys: tuple[str, ...], source: Made, fields: list[tuple[str, str]]) -> str:
    """A view's SQL: its keys, times and fields by Feast's names, each once for a time: what was created last counts."""
    mapped = {name: column for column, name in source.get("field_mapping", default={}).items()}
    time, created = source.get("timestamp_field", "event_timestamp_column"), source.get("created_timestamp_column")

    def column(name: str) -> str:
        return f"{quoted(mapped[name])} AS {quoted(name)}" if name in mapped else quoted(name)

    casts = [f"CAST({quoted(mapped.get(name, name))} AS {kind}) AS {quoted(name)}" for name, kind in fields]
    times = [column(name) for name in (time, created) if name]
    listed = ",\n    ".join([*map(column, keys), *times, *casts] if fields else ["*"])
    text = f"select\n    {listed}\nfrom {table}"
    if created and fields:
        same = ", ".join(quoted(mapped.get(name, name)) for name in (*keys, time))
        last = quoted(mapped.get(created, created))
        text += "\n-- of rows that have the same time, the one that was created last"
        text += f"\nqualify row_number() over (partition by {same} order by {last} desc nulls last) = 1"
    return text + "\n"


def _said(made: Made) -> dict[str, Any]:
    tags = made.get("tags", default={})
    said = {
        "owner": made.get("owner", default=""),
        "tags": [f"{key}={value}" for key, value in tags.items()] if isinstance(tags, dict) else [],
        "description": made.get("description", default=""),
    }
    return {key: value for key, value in said.items() if value}


def _is_other(made: Made) -> bool:
    """Whether a declaration is a further one of Feast's objects: with a name, and a capital letter or a decorator.

    Sources are told with the views that read them.
    """
    named = made.kind[:1].isupper() or made.kind.endswith("feature_view")
    return bool(made.name) and named and not made.kind.endswith("Source")
