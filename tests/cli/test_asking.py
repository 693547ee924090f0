"""Questions to the lake and to the records, as they are asked on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bascule.history import Workspace

CUT = "… more than 2 rows; --limit shows more."


def test_rows_that_are_left_out_are_told_beside_the_document_too(folder: Path, bascule: Callable[..., Any]) -> None:
    Workspace.create(folder).close()
    asked = ("sql", "select * from range(3) as rows(n)", "--limit")
    told = bascule(*asked, 2, "--json")
    assert told.json() == [{"n": 0}, {"n": 1}]
    assert told.err == f"{CUT}\n"
    assert bascule(*asked, 2).out.endswith(f"{CUT}\n")
    whole = bascule(*asked, 3, "--json")
    assert (len(whole.json()), whole.err) == (3, "")
