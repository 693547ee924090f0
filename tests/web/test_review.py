"""The page that `bascule diff --format html` writes, in a browser without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pytest

from bascule.history import Workspace
from bascule.lake import Lake
from bascule.project import reviewing
from bascule.project.comparing import compare

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_runs_nothing(
    local_workspace: Workspace, tmp_path: Path, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    lake, wrong = Lake(local_workspace), list[str]()
    rows: dict[str, Any] = {"id": range(50), **{f"column {n}": [float(n)] * 50 for n in range(30)}}
    lake.append("t", pa.table(rows), key=["id"])
    local_workspace.history.create_branch("dev")
    changed = rows | {"column 1": ["<img src=x onerror=alert(1)>" * 9] * 50, "column 2": [2.5] * 50}
    lake.append("wide", pa.table(changed), branch="dev")
    lake.overwrite("t", pa.table(rows | {"column 2": [2.5] * 50}), branch="dev")
    file = tmp_path / "diff.html"
    file.write_text(reviewing.html(compare(local_workspace, "main", "dev"), "main", "dev"))
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.on("console", lambda said: wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append("dialog"), dialog.dismiss()))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.locator("section").count() == 3
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(248, 249, 249)" if scheme == "light" else "rgb(18, 22, 26)"
    )
    page.emulate_media(media="print")
    assert (
        page.locator("details").first.locator("table").evaluate("e => e.checkVisibility({contentVisibilityAuto: true})")
    )
    assert wrong == []
    context.close()
