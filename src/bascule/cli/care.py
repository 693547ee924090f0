"""Commands that prove and take care: audit, doctor, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from bascule.cli.output import COMMON, Common, answer, columns

if TYPE_CHECKING:
    from collections.abc import Sequence

audit = App(name="audit", help="The audit log: who changed what, and that nobody changed the log.")


@audit.command
def verify(*, common: Common = COMMON) -> int:
    """Walk the hash chain of the audit log; ends with 1 when an entry is not the one that was written."""
    from bascule.catalog import audit as chain

    report = chain.verify(common.place().workspace.catalog)
    document = {"entries": report.entries, "ok": report.ok, "first_bad": report.first_bad, "head": report.head}
    text = (
        f"The audit log is whole: {report.entries} entries, head {report.head[:16]}."
        if report.ok
        else f"Entry {report.first_bad} of {report.entries} is not what was written; what follows it proves nothing."
    )
    answer(common, document, text)
    return 0 if report.ok else 1


@audit.command(name="log")
def audit_log(
    *, limit: Annotated[int, Parameter(name=["--limit", "-n"], help="At most so many.")] = 30, common: Common = COMMON
) -> None:
    """Show the last entries of the audit log."""
    from datetime import UTC, datetime

    from sqlalchemy import select

    from bascule.catalog import schema

    with common.place().workspace.catalog.read() as conn:
        found = conn.execute(select(schema.audit).order_by(schema.audit.c.seq.desc()).limit(limit)).mappings().all()
    rows: Sequence[dict[str, Any]] = [
        {**row, "at": datetime.fromtimestamp(row["at"] / 1e6, UTC).isoformat(timespec="seconds")} for row in found
    ]
    lines = [(r["seq"], r["at"], r["actor"], r["action"], r["subject"]) for r in rows]
    answer(common, rows, columns(lines, ("", "when", "who", "what", "subject")))
