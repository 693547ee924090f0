"""The command that compares two states, each kind of object in its own words: diff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common, NotNegative
from bascule.cli.output import answer, columns

if TYPE_CHECKING:
    from bascule.project.comparing import Comparison


def diff(
    before: str,
    after: str | None = None,
    /,
    *,
    path: Annotated[str, Parameter(help="Only paths that begin so, such as tables/flights.")] = "",
    rows: Annotated[NotNegative, Parameter(help="Show so many changed rows of a table.")] = 5,
    common: Common = COMMON,
) -> None:
    """Compare two states: rows and schema of tables, metrics of models, traffic of deployments, text of definitions.

    Args:
        before: a branch, a tag or a commit.
        after: another one; the current branch when not given.
    """
    found = common.open().diff(before, after, path=path, rows=rows)
    document = [one.as_dict() for one in found]
    answer(common, document, "\n".join(_told(one) for one in found) or "Nothing differs.")


def _told(one: Comparison) -> str:
    sign = {"added": "+", "removed": "-", "changed": "~"}[one.change]
    what = one.info.kind.replace("_", " ") if one.summary == one.change else one.summary
    lines = [f"{sign} {one.path}  {what}", *(f"    {line}" for line in one.details)]
    if one.sample:
        head = list(one.sample[0])
        body: list[list[Any]] = [[row[name] for name in head] for row in one.sample]
        lines += [f"    {line}" for line in columns(body, head).splitlines()]
    return "\n".join(lines)
