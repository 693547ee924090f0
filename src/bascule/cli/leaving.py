"""The command that writes plain files: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns
from bascule.sizes import format_size


def export(
    folder: Path,
    /,
    *paths: Annotated[str, Parameter(help="What is written: tables/flights, or tables for all tables.")],
    all: Annotated[
        bool, Parameter(help="All of the state, every record, training sets and what runs left.", negative="")
    ] = False,
    ref: Annotated[str | None, Parameter(help="The state: a branch, a tag or a commit.")] = None,
    common: Common = COMMON,
) -> None:
    """Write what a state holds as plain files that need no Bascule.

    Tables become Parquet, models MLflow's layout and ONNX, contracts stay ODCS, sets of files become folders again.
    README.md in the folder says how each is read, and SHA256SUMS whether it is whole. Nothing appears until all is
    written.

    Args:
        folder: where to; a new folder.
    """
    from bascule.cli.progress import moving

    with moving(common.json) as tell:
        done = common.open().export(folder, *paths, all=all, ref=ref, tell=tell)
    rows = [
        (
            item.place,
            "" if item.rows is None else f"{item.rows:,}",
            f"{item.files:,}",
            format_size(item.bytes),
            item.note,
        )
        for item in done.items
    ]
    rows.append(("all", "", f"{done.files:,}", format_size(done.bytes), ""))
    text = columns(rows, ("written", "rows", "files", "size", "note"))
    text += f"\n{done.ref} ({done.commit[:10]}) is in {done.folder}; README.md there says how each is read."
    answer(common, done.as_dict(), text)
