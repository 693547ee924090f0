"""What engines that are not Bascule ask of the lake, as of an Iceberg catalog: namespaces, tables, views, transactions.

All that they change lands as commits of a branch, by compare-and-swap on the paths that they read. What they hand in is
looked at before it lands: nothing outside of the lake, nothing that would let an engine delete another branch's files.
The protocols call it; it knows the history and the Iceberg engine, and nothing of HTTP.
"""

from bascule.lake.foreign.landing import State, Unknown
from bascule.lake.foreign.names import DEFAULT, Identifier
from bascule.lake.foreign.refusals import (
    NamespaceExists,
    NamespaceNotEmpty,
    NoSuchNamespace,
    NoSuchTable,
    NoSuchView,
    ReadOnly,
    TableExists,
    ViewExists,
)

__all__ = [
    "DEFAULT",
    "Identifier",
    "NamespaceExists",
    "NamespaceNotEmpty",
    "NoSuchNamespace",
    "NoSuchTable",
    "NoSuchView",
    "ReadOnly",
    "State",
    "TableExists",
    "Unknown",
    "ViewExists",
]
