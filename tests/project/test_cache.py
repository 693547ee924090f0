"""The step cache: a key changes with every term and with nothing else, and a miss names the term."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.history import Workspace
from bascule.project import cache
from bascule.project.cache import Difference, Key, key_of
from bascule.project.decision import decide
from bascule.project.file import ProjectFile
from bascule.project.receipt import Output, Receipt
from bascule.project.sections import Project
from bascule.project.step import Context, Outcome, Step, Terms

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(lambda name: f"input:{name}")
terms = st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=6)


def step_of(inputs: Terms, name: str = "train", code: tuple[str, ...] = ("bascule.errors",), **more: object) -> Step:
    return Step(name, (), code, (), lambda context: inputs, lambda *_: Outcome(), **more)  # type: ignore[arg-type]


@pytest.fixture
def context(local_workspace: Workspace) -> Context:
    return Context(ProjectFile(project=Project(name="p")), local_workspace, "main", "ana@example.org")


def key(inputs: Terms) -> Key:
    # No input of these steps looks at the context.
    return key_of(step_of(inputs), None)  # type: ignore[arg-type]


@given(terms, st.randoms())
def test_the_order_of_terms_does_not_count(inputs: Terms, chance: object) -> None:
    shuffled = list(inputs.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert key(dict(shuffled)).digest == key(inputs).digest


@given(terms, st.data())
def test_every_changed_term_is_another_key(inputs: Terms, data: st.DataObject) -> None:
    term = data.draw(st.sampled_from(sorted(inputs)))
    other = data.draw(st.text(st.characters(codec="utf-8"), max_size=12).filter(lambda value: value != inputs[term]))
    assert key({**inputs, term: other}).digest != key(inputs).digest


@given(terms, st.data())
def test_a_term_that_goes_or_comes_is_another_key(inputs: Terms, data: st.DataObject) -> None:
    term = data.draw(st.sampled_from(sorted(inputs)))
    without = {name: value for name, value in inputs.items() if name != term}
    assert key(without).digest != key(inputs).digest


@given(terms, terms)
def test_two_sets_of_terms_share_a_key_only_when_they_are_equal(one: Terms, other: Terms) -> None:
    assert (key(one).digest == key(other).digest) == (one == other)


def test_the_step_its_code_and_its_environment_are_terms(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    base = key_of(step_of({"input:a": "1"}), context)
    assert {"step", "code", "environment", "input:a"} == set(base.terms)
    assert key_of(step_of({"input:a": "1"}, "evaluate"), context).digest != base.digest
    assert key_of(step_of({"input:a": "1"}, code=("bascule.store",)), context).digest != base.digest
    monkeypatch.setattr(cache, "environment_class", lambda packages: "another machine")
    assert key_of(step_of({"input:a": "1"}), context).digest != base.digest


def test_code_is_known_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    package = tmp_path / "some_steps"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("A = 1\n")

    def version() -> str:
        cache.code_version.cache_clear()
        return cache.code_version(("some_steps",))

    before = version()
    assert version() == before
    (package / "one.py").write_text("A = 2\n")
    changed = version()
    assert changed != before
    (package / "one.py").rename(package / "two.py")
    assert version() not in (before, changed)


def test_what_was_kept_is_found_by_the_same_terms_only(context: Context) -> None:
    step = step_of({"input:a": "1", "input:b": "2"})
    receipt = Receipt(step="train", status="ran", code_version="c", outputs=(Output(name="m", version="v", uri="u"),))
    assert cache.differences(context.workspace, key_of(step, context)) is None
    cache.keep(context.workspace, key_of(step, context), receipt)
    assert cache.find(context.workspace, key_of(step_of({"input:b": "2", "input:a": "1"}), context)) == receipt
    other = key_of(step_of({"input:a": "1", "input:b": "3", "input:c": "4"}), context)
    assert cache.find(context.workspace, other) is None
    assert cache.differences(context.workspace, other) == [
        Difference("input:b", "2", "3"),
        Difference("input:c", None, "4"),
    ]
    again = Receipt(step="train", status="ran", code_version="c", summary="again")
    cache.keep(context.workspace, key_of(step, context), again)
    assert cache.find(context.workspace, key_of(step, context)) == again


@given(terms, terms)
def test_the_differences_are_exactly_the_terms_that_differ(one: Terms, other: Terms) -> None:
    """The comparison by itself, held to sets of pairs."""
    assert {d.term for d in cache.compared(one, other)} == {term for term, _ in one.items() ^ other.items()}


def test_a_decision_rests_on_the_cache_or_on_the_branch(context: Context) -> None:
    receipt = Receipt(step="train", status="ran", code_version="c", duration_s=3.0)
    step = step_of({"input:a": "1"})
    assert (decide(step, context).action, decide(step, context).reason) == ("work", "it never ran")
    cache.keep(context.workspace, key_of(step, context), receipt)
    rest = decide(step, context)
    assert (rest.action, rest.reason) == ("rest", "nothing that it reads has changed")
    assert rest.receipt is not None
    assert (rest.receipt.status, rest.receipt.duration_s) == ("cached", 0.0)

    changed = decide(step_of({"input:a": "2"}), context)
    assert (changed.action, changed.reason) == ("work", "input:a changed from 1 to 2")
    gone = decide(step_of({}), context)
    assert gone.reason == "input:a is gone"

    moved = decide(step_of({"input:a": "1"}, settled=lambda *_: False), context)
    assert (moved.action, moved.reason) == ("work", "branch 'main' does not have what its last run made")

    idle = decide(step_of({"input:a": "1"}, idle=lambda _: Outcome(summary="all is there")), context)
    assert (idle.action, idle.reason) == ("rest", "all is there")
    # What looks at the branch is never answered from what another branch has done.
    busy = decide(step_of({"input:a": "1"}, idle=lambda _: None), context)
    assert busy.action == "work"
