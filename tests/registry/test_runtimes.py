"""What answers for a version is merged, undone and kept with its model."""

from __future__ import annotations

from typing import Any

from bascule.registry.merging import merge_models, undo_model
from bascule.registry.runtimes import blobs_of

PATH = "models/delays"


def model(*versions: int, **runtimes: str) -> dict[str, Any]:
    held = {number[1:]: {"recipe": {"stages": []}, "evidence": digest} for number, digest in runtimes.items()}
    return {
        "kind": "model",
        "name": "delays",
        "versions": {str(one): {"version": one} for one in versions},
        "aliases": {},
        **({"runtimes": held} if held else {}),
    }


def test_a_choice_of_either_side_is_taken_and_two_are_no_conflict() -> None:
    base = model(1, 2)
    assert merge_models(PATH, base, model(1, 2, v1="a"), model(1, 2, v2="b")) == model(1, 2, v1="a", v2="b")
    assert merge_models(PATH, base, base, model(1, 2, 3, v3="c")) == model(1, 2, 3, v3="c")
    ours, theirs = model(1, 2, v1="a"), model(1, 2, v1="b")
    assert merge_models(PATH, base, ours, theirs) == ours
    assert merge_models(PATH, base, ours, theirs, prefer="theirs") == theirs


def test_what_one_side_took_back_stays_away() -> None:
    base = model(1, v1="a")
    assert merge_models(PATH, base, model(1), base) == model(1)
    assert merge_models(PATH, base, base, model(1)) == model(1)


def test_undoing_a_choice_brings_back_what_was_before() -> None:
    assert undo_model(model(1, v1="a"), model(1, v1="a"), model(1)) == model(1)
    assert undo_model(model(1, v1="b"), model(1, 2, v1="b"), model(1, v1="a")) == model(1, 2, v1="a")
    assert undo_model(model(1, v1="a"), model(1, v1="later"), model(1)) == model(1, v1="later")


def test_the_blobs_of_a_choice_are_its_files_and_its_evidence() -> None:
    stages = [{"rows": 1, "engine": {"artifact": "a"}}, {"rows": 9, "engine": {"name": "native"}}]
    assert list(blobs_of({"recipe": {"stages": stages}, "evidence": "e"})) == ["a", "e"]
