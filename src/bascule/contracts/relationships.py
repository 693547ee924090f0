"""Foreign keys of a contract: `relationships` in both notations of the Open Data Contract Standard."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.contracts.checks import Check, References, Severity
from bascule.contracts.document import Node
from bascule.contracts.rules import Scope, custom_properties
from bascule.contracts.vocabulary import SEVERITIES


def read_relationships(root: Node, table: Node, scope: Scope) -> Iterator[Check]:
    """The relationships of a table and of its columns, as checks.

    `customProperties: [{property: severity, value: warning}]` on a relationship lowers its severity; the standard
    has no key for it.
    """
    listed = table.get("properties")
    for prop in listed.items() if listed else []:
        name = scope.names[prop.require("name").text()]
        for entry in _entries(prop):
            if entry.get("from") is not None:
                entry.require("from").fail("A relationship of a column has no `from`; the column itself is meant.")
            yield _check(root, entry, (name,))
    for entry in _entries(table):
        ends = [_target(root, item) for item in _listed(entry.require("from"))]
        for _, column in ends:
            if column not in scope.names:
                entry.require("from").fail(f"There is no column {column!r} in this contract.")
        yield _check(root, entry, tuple(scope.names[column] for _, column in ends))


def _entries(node: Node) -> list[Node]:
    listed = node.get("relationships")
    return listed.items() if listed else []


def _listed(node: Node) -> list[Node]:
    return node.items() if isinstance(node.value, list) else [node]


def _check(root: Node, entry: Node, columns: tuple[str, ...]) -> Check:
    to = entry.require("to")
    targets = [_target(root, item) for item in _listed(to)]
    tables = {table for table, _ in targets}
    if len(targets) != len(columns) or len(tables) != 1:
        to.fail(f"Expected {len(columns)} columns of one table.")
    severity = custom_properties(entry).get("severity")
    rule = References(columns, tables.pop(), tuple(column for _, column in targets))
    level: Severity = severity.choice(SEVERITIES, "severity") if severity else "critical"
    return Check("", rule, severity=level, line=entry.line)


def _target(root: Node, node: Node) -> tuple[str, str]:
    """`table.column`, or `schema/ID/properties/ID`, also behind `file.yaml#`."""
    reference = node.text().rpartition("#")[2].strip("/")
    parts = reference.split("/")
    if len(parts) == 4 and (parts[0], parts[2]) == ("schema", "properties"):
        return _by_id(root, parts[1], parts[3])
    table, dot, column = reference.rpartition(".")
    if not dot or not table or not column:
        node.fail(f"Expected `table.column`, found {node.shown()}.")
    return table, column


def _by_id(root: Node, table_id: str, column_id: str) -> tuple[str, str]:
    """The names behind two ids; an id of another file stands for itself."""
    for table in root.require("schema").items():
        if _identity(table) == table_id:
            listed = table.get("properties")
            for prop in listed.items() if listed else []:
                if _identity(prop) == column_id:
                    return table.require("name").text(), prop.require("name").text()
            return table.require("name").text(), column_id
    return table_id, column_id


def _identity(node: Node) -> str:
    return (node.get("id") or node.require("name")).text()
