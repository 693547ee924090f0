"""Commands that protect personal data: pii."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns

pii = App(name="pii", help="Personal data: find it in a table, tag it in the contract, see how roles read it.")


@pii.command
def scan(
    table: str,
    /,
    *,
    write: Annotated[bool, Parameter(help="Write classification and tags into the contract.", negative="")] = False,
    sure: Annotated[float, Parameter(help="Tag what is found with at least this confidence, 0 to 1.")] = 0.7,
    rows: Annotated[int, Parameter(help="Look at so many rows, at most.")] = 20_000,
    region: Annotated[str | None, Parameter(help="Know national phone numbers of a country, too, such as DE.")] = None,
    language: Annotated[str | None, Parameter(help="Look for names in free text, too, such as en.")] = None,
    common: Common = COMMON,
) -> None:
    """Look for personal data in a table: by patterns, check digits, names and types of columns. No value is shown.

    Args:
        table: the table.
    """
    found = common.open().scan_pii(table, write=write, sure=sure, rows=rows, region=region, language=language)
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
