"""A data contract: one table's columns and checks, read from an Open Data Contract Standard file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath

from bascule.contracts import checks
from bascule.contracts.checks import Bound, Check, Policy
from bascule.contracts.custom import read_rule
from bascule.contracts.document import Node, parse_document
from bascule.contracts.families import LOGICAL_TYPES, Family, family_of
from bascule.contracts.masks import read_mask
from bascule.contracts.relationships import read_relationships
from bascule.contracts.rules import NotRun, Scope, custom_properties, known_keys, pattern, range_end, scalars, seconds
from bascule.contracts.vocabulary import FORMATS, OBJECT_KEYS, OPTION_KEYS, PRIVATE, PROPERTY_KEYS, TOP_KEYS
from bascule.errors import NotFound
from bascule.lake.masking import Mask

_POLICIES: dict[str, Policy] = {"allow": "allow", "warn": "warn", "refuse": "refuse"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a contract declares.

    Attributes:
        name: its name in the table (`physicalName` when the contract gives one).
        family: the types that it accepts; None accepts any.
        declared: the type as the contract writes it, for messages.
        masked: its classification or tags call it private, so failing rows hide its values.
        mask: what roles read instead that may not see its values; None for a column that is not private.
        line: where it is declared.
    """

    name: str
    family: Family | None
    declared: str
    masked: bool
    mask: Mask | None
    description: str
    line: int


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract of one table. Immutable.

    `text` is the file as it was written, with the parts that Bascule does not read.
    """

    text: str
    file: str
    table: str
    version: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    checks: tuple[Check, ...]
    unexpected: Policy
    not_run: tuple[NotRun, ...] = field(default=())

    @staticmethod
    def parse(text: str, file: Path | str = "contract.yaml", table: str | None = None) -> Contract:
        """Read a contract.

        Args:
            text: an Open Data Contract Standard document, version 3.
            file: named in errors; its stem names the table when the document holds several.
            table: which table's part to read; by default the one named like the file, or the only one.

        Raises:
            ProjectFileError: with file, line and key of what cannot be read, and what is allowed there.
            NotFound: the document holds no such table.
        """
        return _parsed(text, str(file), table)

    hidden: frozenset[str] = frozenset()

    @property
    def masked(self) -> frozenset[str]:
        """The columns whose values stay out of reports."""
        return frozenset(column.name for column in self.columns if column.masked) | self.hidden

    def hiding(self, columns: Collection[str]) -> Contract:
        """Return the contract with more columns whose values stay out of reports."""
        return replace(self, hidden=self.hidden | frozenset(columns)) if columns else self


def _check_version(root: Node) -> None:
    root.require("kind").choice({"DataContract": "DataContract"}, "kind")
    version = root.require("apiVersion")
    if not version.text().startswith("v3."):
        version.fail(
            f"Found {version.shown()}; version 3 of the Open Data Contract Standard is read.", hint="Write v3.1.0."
        )


def _table_node(root: Node, table: str | None, stem: str) -> Node:
    nodes = {_name(node): node for node in root.require("schema").items()}
    if not nodes:
        root.require("schema").fail("Expected at least one table.")
    if table is None and len(nodes) == 1:
        return next(iter(nodes.values()))
    wanted = table or stem
    if wanted not in nodes:
        raise NotFound(f"table in {root.file}", wanted, nodes)
    return nodes[wanted]


def _name(node: Node) -> str:
    return (node.get("physicalName") or node.require("name")).text()


# A run reads the same text for the plan, the definitions, the checks and their keys.
@lru_cache(maxsize=256)
def _parsed(text: str, file: str, table: str | None) -> Contract:
    root = parse_document(text, file)
    known_keys(root, TOP_KEYS, "key of a data contract")
    _check_version(root)
    node = _table_node(root, table, PurePath(file).name.split(".")[0])
    return _Builder(root, node).contract(text, file)


class _Builder:
    """Gathers columns and checks of one table, in the order of the file."""

    def __init__(self, root: Node, node: Node) -> None:
        self.root = root
        self.node = node
        self.checks: list[Check] = []
        self.not_run: list[NotRun] = []
        self.properties = [(self._property_name(prop), prop) for prop in self._properties()]
        self.scope = Scope(
            {prop.require("name").text(): name for name, prop in self.properties}
            | {name: name for name, _ in self.properties}
        )

    def _properties(self) -> list[Node]:
        listed = self.node.get("properties")
        return listed.items() if listed else []

    def _property_name(self, prop: Node) -> str:
        known_keys(prop, PROPERTY_KEYS, "key of a property")
        return _name(prop)

    def contract(self, text: str, file: str) -> Contract:
        known_keys(self.node, OBJECT_KEYS, "key of a table")
        columns = tuple(self._column(name, prop) for name, prop in self.properties)
        self._no_twins()
        key = self._key()
        unexpected = self._unexpected()
        for name, prop in self.properties:
            self._property_checks(name, prop, in_key=name in key)
        if key:
            self._add(Check(f"{', '.join(key)}: key is unique", checks.Unique(key), line=self.node.line))
        self._rules(self.node, self.scope)
        for check in read_relationships(self.root, self.node, self.scope):
            self._add(check)
        for check in self._service_levels():
            self._add(check)
        version = self.root.get("version")
        return Contract(
            text=text,
            file=file,
            table=self.node.require("name").text(),
            version=version.text() if version else "",
            columns=columns,
            key=key,
            checks=tuple(_named(self.checks)),
            unexpected=unexpected,
            not_run=tuple(self.not_run),
        )

    def _add(self, check: Check) -> None:
        self.checks.append(check)

    def _no_twins(self) -> None:
        seen: set[str] = set()
        for name, prop in self.properties:
            if name in seen:
                prop.fail(f"The column {name!r} is declared twice.")
            seen.add(name)

    def _column(self, name: str, prop: Node) -> Column:
        logical, physical = prop.get("logicalType"), prop.get("physicalType")
        family: Family | None = None
        if logical is not None:
            family = logical.choice(LOGICAL_TYPES, "logical type")
        elif physical is not None:
            guessed = family_of(physical.text())
            family = guessed if guessed != "other" else None
        self._add(Check(f"{name}: column", checks.Declared(name, family), line=prop.line))
        declared = (logical or physical or prop).shown().strip("'") if family else "any type"
        classification, tags = prop.get("classification"), prop.get("tags")
        words = {classification.text().lower()} if classification else set()
        words |= {tag.text().lower() for tag in tags.items()} if tags else set()
        described = prop.get("description")
        custom = custom_properties(prop)
        private = bool(words & PRIVATE) or "mask" in custom
        mask = read_mask(custom.get("mask"), custom.get("maskFor")) if private else None
        return Column(name, family, declared, private, mask, described.text() if described else "", prop.line)

    def _key(self) -> tuple[str, ...]:
        placed: list[tuple[int, int, str]] = []
        for order, (name, prop) in enumerate(self.properties):
            flag, position = prop.get("primaryKey"), prop.get("primaryKeyPosition")
            if flag is not None and flag.truth():
                place = int(position.number()) if position else -1
                placed.append((place if place > 0 else 10_000, order, name))
        return tuple(name for _, _, name in sorted(placed))

    def _unexpected(self) -> Policy:
        written = custom_properties(self.node).get("unexpectedColumns")
        policy: Policy = written.choice(_POLICIES, "policy for unexpected columns") if written else "warn"
        if policy != "allow":
            severity: checks.Severity = "critical" if policy == "refuse" else "warning"
            line = written.line if written else self.node.line
            self._add(
                Check(
                    "no unexpected columns",
                    checks.NoOthers(policy),
                    severity=severity,
                    line=line,
                )
            )
        return policy

    def _property_checks(self, name: str, prop: Node, *, in_key: bool) -> None:
        required, unique = prop.get("required"), prop.get("unique")
        if in_key or (required is not None and required.truth()):
            line = (required or prop).line
            self._add(Check(f"{name}: not null", checks.NotNull(name), line=line))
        if unique is not None and unique.truth():
            self._add(Check(f"{name}: unique", checks.Unique((name,)), line=unique.line))
        listed = prop.get("enum")
        if listed is not None:
            self._add(Check("", checks.OneOf(name, scalars(listed)), line=listed.line))
        options = prop.get("logicalTypeOptions")
        if options is not None:
            known_keys(options, OPTION_KEYS, "logical type option")
            kind = prop.get("logicalType")
            if kind is not None and kind.value in ("integer", "number"):
                for end in filter(None, map(options.get, _ENDS)):
                    end.number()
            for rule in _option_rules(name, options):
                self._add(Check("", rule, line=options.line))
        self._rules(prop, self.scope.at(name))
        self._nested(name, prop)

    def _nested(self, name: str, prop: Node) -> None:
        for part in ("properties", "items", "map"):
            inner = prop.get(part)
            if inner is not None:
                self.not_run.append(NotRun(f"{name}.{part}", "describes the inside of a nested column", inner.line))

    def _rules(self, node: Node, scope: Scope) -> None:
        listed = node.get("quality")
        for entry in listed.items() if listed else []:
            rule = read_rule(entry, scope)
            if isinstance(rule, NotRun):
                self.not_run.append(rule)
            else:
                self._add(rule)

    def _service_levels(self) -> Iterator[Check]:
        """`latency` and `freshness` of the service levels, when they name a column of this table."""
        listed = self.root.get("slaProperties")
        for entry in listed.items() if listed else []:
            name, element, unit = entry.require("property").text().lower(), entry.get("element"), entry.get("unit")
            if name not in ("latency", "ly", "freshness") or element is None:
                continue
            column = self._own_column(element.text())
            if column is None:
                continue
            value = entry.require("value")
            span = seconds(value, f"{value.number()}{unit.text() if unit else 'd'}")
            yield Check("", checks.Freshness(column), Bound("<=", span, unit="value"), line=entry.line)

    def _own_column(self, element: str) -> str | None:
        table, dot, column = element.rpartition(".")
        if dot and table not in (self.node.require("name").text(), _name(self.node)):
            return None
        return self.scope.names.get(column)


_ENDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _option_rules(name: str, options: Node) -> Iterator[checks.RowRule]:
    low, high, above, below = (range_end(options, key) for key in _ENDS)
    if (low, high, above, below) != (None, None, None, None):
        yield checks.Between(name, low, high, above, below)
    shortest = options.get("minLength") or options.get("minItems")
    longest = options.get("maxLength") or options.get("maxItems")
    if shortest or longest:
        yield checks.Length(name, shortest.count() if shortest else None, longest.count() if longest else None)
    written, form, multiple = options.get("pattern"), options.get("format"), options.get("multipleOf")
    if written:
        yield checks.Matches(name, pattern(written))
    if form and form.text() in FORMATS:
        yield checks.Matches(name, FORMATS[form.text()])
    if multiple:
        if multiple.number() <= 0:
            multiple.fail(
                "Expected a number over 0.",
            )
        yield checks.MultipleOf(name, multiple.number())


def _named(found: list[Check]) -> Iterator[Check]:
    """Give every check a name of its own: the written one, or column and kind; twins are numbered."""
    used: dict[str, int] = {}
    for check in found:
        name = check.name or f"{', '.join(check.columns) or 'table'}: {check.kind.replace('_', ' ')}"
        name = name if len(name) <= 200 else name[:199] + "…"
        used[name] = used.get(name, 0) + 1
        yield replace(check, name=name if used[name] == 1 else f"{name} ({used[name]})")
