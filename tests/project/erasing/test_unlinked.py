"""Rows that name a subject, in tables to which no link leads, are told of."""

from __future__ import annotations

from pathlib import Path

from bascule.history import Workspace
from bascule.lake import Forgotten, Lake
from bascule.project.erasing.links import Subject
from bascule.project.erasing.unlinked import unlinked
from bascule.project.forgetting import forget_subject
from bascule.project.sections import Forget

WHO = "ann@example.org"


def test_copies_and_notes_of_others_are_counted(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    lake = Lake(workspace)
    people = [
        {"id": 1, "email": WHO, "note": f"call {WHO}", "friends": [WHO]},
        {"id": 2, "email": "bob@example.org", "note": f"see ({WHO})", "friends": []},
        {"id": 3, "email": "joann@example.org", "note": None, "friends": ["jo" + WHO]},
    ]
    lake.append("people", people)
    workspace.history.create_branch("other")
    lake.append("copies", people, branch="other")
    told = [Forgotten("rows of people@main", 1), Forgotten("rows of copies@other", 3 - 1)]
    policy = Forget(copies="leave")
    dry = forget_subject(workspace, "people", {"email": WHO}, dry_run=True, policy=policy)
    done = forget_subject(workspace, "people", {"email": WHO}, policy=policy)
    assert sorted(dry.kept, key=str) == sorted(done.kept, key=str) == sorted(told, key=str)
    assert unlinked(workspace, [Subject("people", {"id": "2"})]) == []
