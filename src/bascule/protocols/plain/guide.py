"""The page that lies in an export: what stands where, and how each thing is read without Bascule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bascule.counting import counted
from bascule.history import Workspace
from bascule.sizes import format_size

MANIFEST, PAGE = "manifest.json", "README.md"
HOW = {
    "tables": 'Parquet: `pandas.read_parquet("{place}")`, `duckdb "SELECT * FROM \'{place}\'"`',
    "files": "a folder, as it was added",
    "models": "a folder for each version: `version.json` is what the registry knew; with an `MLmodel` file in it, "
    '`mlflow.pyfunc.load_model("{place}VERSION")`, and `model.onnx` for any ONNX runtime',
    "contracts": "Open Data Contract Standard, YAML",
    "records": "Parquet; times are in UTC",
    "training-sets": "Parquet, in the order of the rows that were asked about",
    "artifacts": "as runs wrote them",
}
OTHER = "JSON"


def write(made: Path, told: dict[str, Any], workspace: Workspace) -> None:
    """Write `manifest.json` and `README.md`."""
    (made / MANIFEST).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (made / PAGE).write_text(_page(told, workspace), encoding="utf-8")


def _page(told: dict[str, Any], workspace: Workspace) -> str:
    commit = workspace.history.resolve(told["commit"])
    lines = [
        f"# {told['ref']}, as plain files",
        "",
        f"{counted(told['files'], 'file')}, {format_size(told['bytes'])}, of commit `{commit.id}`: {commit.message}",
        "",
        "Nothing here needs Bascule. `manifest.json` lists the same as JSON; `sha256sum --check SHA256SUMS` tells",
        "whether every file is as it was written.",
    ]
    kinds = dict.fromkeys(item["path"].partition("/")[0] for item in told["items"])
    for kind in kinds:
        items = [item for item in told["items"] if item["path"].partition("/")[0] == kind]
        lines += ["", f"## {kind}", "", HOW.get(kind, OTHER).format(place=items[0]["place"]) + ".", ""]
        for item in items:
            size = f"{counted(item['rows'], 'row')}, " if item["rows"] is not None else ""
            size += f"{counted(item['files'], 'file')}, " if item["files"] != 1 else ""
            note = f"; {item['note']}" if item["note"] else ""
            lines.append(f"- `{item['place']}`: {size}{format_size(item['bytes'])}{note}")
    return "\n".join(lines) + "\n"
