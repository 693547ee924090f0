"""The command that finds the fastest engine that answers as a version does: optimize."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common
from bascule.cli.output import answer, say
from bascule.errors import InputError


def optimize(
    name: str,
    version: str | None = None,
    /,
    *,
    choose: Annotated[str, Parameter(help="fastest (by size of request), or the name of a candidate.")] = "fastest",
    keep: Annotated[bool, Parameter(help="Only look: what answers now goes on.", negative="")] = False,
    undo: Annotated[bool, Parameter(help="Let the version's own library answer again.", negative="")] = False,
    candidates: Annotated[str, Parameter(help="Only these, such as compiled,onnx.")] = "",
    batch_sizes: Annotated[str, Parameter(help="Rows of a request, such as 1,32,1000.")] = "",
    rows: Annotated[AtLeastOne, Parameter(help="Compare and measure on so many real rows.")] = 2_000,
    table: Annotated[
        str | None, Parameter(help="Take the rows from this table, not from what came with the version.")
    ] = None,
    tolerance: Annotated[float, Parameter(help="How much an answer may differ; a share of it above 1.")] = 1e-6,
    seconds: Annotated[float, Parameter(help="Measure for so long.")] = 10.0,
    prices: Annotated[Path | None, Parameter(help="A price list; prices.toml beside bascule.toml else.")] = None,
    memory: Annotated[bool, Parameter(help="Also load each in a process of its own.")] = True,
    html: Annotated[Path | None, Parameter(help="Also write a page to this file: it opens without a network.")] = None,
    common: Common = COMMON,
) -> None:
    """Find the fastest engine that answers as a version does, and let it answer from now on.

    Each is compared with the version's own library on real rows, on rows exactly at the thresholds of its trees and one
    step beside them, and with missing, infinite and unseen values. What differs is shown with its worst row and never
    chosen. The version itself is not changed.

    Args:
        name: a model, or MODEL@VERSION.
        version: a number or an alias; the latest when not given.
    """
    project = common.open()
    if undo:
        if keep or choose != "fastest":
            raise InputError("--undo takes back what was chosen; it goes with neither --choose nor --keep.")
        commit = project.undo_optimize(name, version)
        answer(common, commit.as_dict(), f"{commit.message}.")
        return
    if keep and choose != "fastest":
        raise InputError("--keep chooses nothing, so it does not go with --choose.", hint="Leave one of them out.")
    from bascule.cli.profiling import _write
    from bascule.project import optimizing

    tell = say if sys.stderr.isatty() and not common.json else None
    made = project.optimize(
        name,
        version,
        choose=choose,
        keep=keep,
        candidates=[one.strip() for one in candidates.split(",") if one.strip()],
        batch_sizes=_sizes(batch_sizes),
        rows=rows,
        table=table,
        tolerance=tolerance,
        seconds=seconds,
        prices=prices,
        memory=memory,
        tell=tell,
    )
    text = optimizing.text(made)
    if html is not None:
        _write(html, optimizing.html(made))
        text += f"\n{html} is written."
    answer(common, made.as_dict(), text)


def _sizes(text: str) -> list[int]:
    parts = [one.strip() for one in text.split(",") if one.strip()]
    wrong = next((one for one in parts if not re.fullmatch(r"[0-9]{1,9}", one)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} is no batch size.", hint="Such as: --batch-sizes 1,32,1000")
    return [int(one) for one in parts]
