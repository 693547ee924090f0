"""Which other tables a contract looks at: they are inputs of its checks, and must be there first."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.contracts import Contract
from bascule.contracts.checks import Answer, Called, Differs, NoRowsFrom, Outliers, References
from bascule.errors import BasculeError
from bascule.project.file import ProjectFile


def related(contract: Contract, tables: Iterable[str]) -> tuple[str, ...]:
    """Return those of some tables that a contract compares its own with.

    A table that a custom query only mentions in a comment is one of them too: its checks then run once more than they
    must, and never too rarely.
    """
    rules = [check.rule for check in contract.checks]
    named = {rule.table.casefold() for rule in rules if isinstance(rule, References)}
    texts = [rule.sql.casefold() for rule in rules if isinstance(rule, NoRowsFrom | Answer)]
    others = [name for name in tables if name.casefold() != contract.table.casefold()]
    return tuple(n for n in others if n.casefold() in named or any(n.casefold() in text for text in texts))


def references(contract: Contract) -> tuple[str, ...]:
    """Return the branches, tags and commits that a contract compares its table with."""
    rules = (check.rule for check in contract.checks)
    return tuple(sorted({r.reference for r in rules if isinstance(r, Differs | Outliers) and r.reference}))


def functions(contract: Contract) -> tuple[str, ...]:
    """Return the Python functions that a contract calls."""
    return tuple(sorted({check.rule.function for check in contract.checks if isinstance(check.rule, Called)}))


def related_sources(project: ProjectFile, table: str) -> tuple[str, ...]:
    """Return the sources of a project that a table's contract looks at; none when its file cannot be read.

    What is wrong with the file is told by the step that makes it an object of the branch.
    """
    settings = project.contract.get(table)
    if settings is None:
        return ()
    try:
        contract = Contract.parse(project.path(settings.file).read_text("utf-8"), file=settings.file)
    except (BasculeError, OSError, UnicodeDecodeError):
        return ()
    return related(contract, project.source)


def ordered_sources(project: ProjectFile) -> list[str]:
    """Return the sources as the file has them, but each after those that its contract looks at."""
    found: list[str] = []
    visited: set[str] = set()

    def visit(source: str) -> None:
        if source not in visited:  # two that look at each other keep their order
            visited.add(source)
            for other in related_sources(project, source):
                visit(other)
            found.append(source)

    for source in project.source:
        visit(source)
    return found
