"""What is text in the history: contracts as the files that they were, all else as JSON."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from bascule.history import Commit, Workspace
from bascule.protocols.plain.item import Item, item_of


def write_text(workspace: Workspace, commit: Commit, path: str, made: Path) -> Item:
    """Write a contract as its own file, and any other object as JSON with its keys sorted."""
    value = workspace.history.read(commit, path)
    assert value is not None
    text, suffix = value.get("text"), ".json"
    if isinstance(text, str) and "file" in value:
        suffix = PurePosixPath(str(value["file"])).suffix or ".txt"
    else:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    file = made / f"{path}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return item_of(path, made, file)
