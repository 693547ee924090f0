"""Commands that protect personal data: pii, anonymise."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common
from bascule.cli.output import answer, columns
from bascule.counting import counted

pii = App(name="pii", help="Personal data: find it in a table, tag it in the contract, see how roles read it.")


@pii.command
def scan(
    table: str,
    /,
    *,
    write: Annotated[bool, Parameter(help="Write classification and tags into the contract.", negative="")] = False,
    sure: Annotated[float, Parameter(help="Tag what is found with at least this confidence, 0 to 1.")] = 0.7,
    rows: Annotated[AtLeastOne, Parameter(help="Look at so many rows, at most.")] = 20_000,
    region: Annotated[str | None, Parameter(help="Know national phone numbers of a country, too, such as DE.")] = None,
    nlp: Annotated[
        str | None,
        Parameter(help="Look for names in free text, too: a spaCy pipeline, presidio:en or module:function."),
    ] = None,
    common: Common = COMMON,
) -> None:
    """Look for personal data in a table: by patterns, check digits, names and types of columns. No value is shown.

    Args:
        table: the table.
    """
    found = common.open().scan_pii(table, write=write, sure=sure, rows=rows, region=region, nlp=nlp)
    lines = [
        (
            one.column,
            one.kind,
            f"{one.confidence:.2f}",
            ", ".join(e.by if e.matched is None else f"{e.by}: {e.matched:,} of {e.looked_at:,}" for e in one.evidence),
        )
        for one in found.findings
    ]
    text = columns(lines, ("column", "holds", "sure", "because of"), none=f"No personal data was found in {table}.")
    if write and found.tagged:
        text += f"\nTagged {', '.join(found.tagged)} in {found.written}. Masks hold after: bascule run"
    elif write:
        text += "\nNothing was sure enough to be tagged."
    answer(common, found.as_dict(), text)


@pii.command
def show(table: str | None = None, /, *, common: Common = COMMON) -> None:
    """Show which columns are masked, how, and for which roles.

    Args:
        table: one table; all of the branch if not given.
    """
    found = common.open().masks(table)
    lines = [(one.table, one.column, one.mask, ", ".join(one.roles)) for one in found]
    answer(
        common,
        [asdict(one) for one in found],
        columns(lines, ("table", "column", "mask", "for"), none="No column is masked."),
    )


def anonymise(
    table: str,
    /,
    *,
    quasi: Annotated[str, Parameter(help="The columns that together tell who somebody is: a,b,c.")],
    k: Annotated[AtLeastOne, Parameter(help="How many rows are alike, at least.")] = 5,
    sensitive: Annotated[str, Parameter(help="Columns whose values nobody should learn: d,e.")] = "",
    l: Annotated[AtLeastOne, Parameter(help="How many sensitive values alike rows have, at least.")] = 1,  # noqa: E741
    suppress: Annotated[float, Parameter(help="The share of rows that may be left out, 0 to 1.")] = 0.0,
    hierarchy: Annotated[
        list[str] | None, Parameter(help="COLUMN=FILE.csv: what its values are called at coarser levels.", negative="")
    ] = None,
    into: Annotated[str | None, Parameter(help="The new table; TABLE_anonymous if not given.")] = None,
    to_branch: Annotated[str | None, Parameter(help="Where it is written; anonymised/TABLE if not given.")] = None,
    memory: Annotated[str | None, Parameter(help="How much it may take; half of the machine's if not given.")] = None,
    common: Common = COMMON,
) -> None:
    """Write a k-anonymous, l-diverse copy of a table on a branch, and say what that cost.

    Columns are generalised (20..29, Bonn|Kiel, 101*) until every row equals k - 1 others in the quasi-identifiers.
    Columns that are personal, or have another value in every row, are left out unless they are named.

    Args:
        table: the table.
    """
    from bascule.project.anonymising import pairs

    done = common.open().anonymise(
        table,
        _list(quasi),
        _list(sensitive),
        k=k,
        l=l,
        suppress=suppress,
        hierarchy=pairs(hierarchy or ()),
        into=into,
        to_branch=to_branch,
        memory=memory,
    )
    report = done.report
    lines = [
        f"{counted(report['rows'], 'row')} in {counted(report['classes'], 'class', 'classes')} are "
        f"{done.table} on {done.branch} now: "
        f"k = {report['k']}" + (f", l = {report['l']}." if report["l"] is not None else "."),
        f"Information lost: {report['penalty']:.1%} of the quasi-identifiers' extent, "
        f"{counted(report['suppressed'], 'row')} suppressed.",
        *(f"  {name}: {share:.1%}" for name, share in report["penalty_by_column"].items()),
    ]
    if done.dropped:
        lines.append(f"Left out, as personal or telling rows apart: {', '.join(done.dropped)}")
    if done.kept:
        lines.append(f"Kept as they were: {', '.join(done.kept)}. Name those that could tell who somebody is.")
    answer(common, report, "\n".join(lines))


def _list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
