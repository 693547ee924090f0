"""Whether an engine answers as the original does, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from bascule.serving.engines.loading import Guard
from bascule.serving.optimizing.found import Worst
from bascule.serving.optimizing.rows import SINGLE_MOST, Group
from bascule.serving.runtime import Runtime

TOLERANCE = 1e-6
MOST_SINGLE = 2_000
# Bounds beyond which a library may refuse numbers, tried in turn; scaled inputs have others than their float32's.
MOSTS = (float(np.finfo(np.float64).max), SINGLE_MOST, 1e38, 1e37, 1e36, 1e34, 1e30, 1e20, 1e10)


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine's answers compare with the original's.

    Attributes:
        passed: none differs by more than the tolerance.
        rows: how many were compared, by kind.
        differing: how many of these differ by more, by kind; kinds without any are left out.
        worst: the greatest difference over all rows, as a share of the answer where that is above 1.
        example: the row that differs most; None when all answers are equal.
        problem: what the engine raised, when it could not answer.
    """

    passed: bool
    rows: dict[str, int]
    differing: dict[str, int]
    worst: float
    example: Worst | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Told:
    group: Group
    answers: np.ndarray  # [rows, outputs]


class Comparing:
    """The original's answers to all rows, to hold engines to.

    Rows that the original refuses are left out; what they have in common is the `guard`, by which whoever answers
    gives such rows to the original.

    Args:
        tolerance: how much a number may differ, as a share of it where it is above 1.
    """

    def __init__(self, original: Runtime, groups: Sequence[Group], names: Sequence[str], tolerance: float) -> None:
        self._names, self._tolerance = names, tolerance
        self.refused: dict[str, int] = {}
        self._unguarded = 0
        self.guard = _guard(original, groups)
        self._told: list[_Told] = []
        for group in groups:
            kept, answers = _answers(original, group.rows)
            if len(kept) < len(group.rows):
                self.refused[group.name] = len(group.rows) - len(kept)
                left = np.delete(group.rows, kept, axis=0)
                if left.dtype != object:
                    self._unguarded += int((~_guarded(self.guard, left)).sum())
            if len(kept):
                self._told.append(_Told(Group(group.name, group.rows[kept]), answers))

    def itself(self) -> Parity:
        """Return what holds of the original."""
        return Parity(passed=True, rows=self._rows(), differing={}, worst=0.0)

    def _rows(self) -> dict[str, int]:
        return {one.group.name: len(one.group.rows) for one in self._told}

    def of(self, engine: Runtime) -> Parity:
        """Compare an engine's answers, to many rows at once and to one at a time."""
        rows = self._rows()
        differing: dict[str, int] = {}
        example: Worst | None = None
        try:
            for one in self._told:
                gaps, answers = self._gaps(engine, one)
                beyond = int((gaps > self._tolerance).sum())
                if beyond:
                    differing[one.group.name] = beyond
                place = int(gaps.argmax())
                if gaps[place] > (example.difference if example else 0.0):
                    example = self._worst(one, place, float(gaps[place]), answers[place])
        except Exception as error:  # an engine may fail in its own way on any row
            problem = f"{type(error).__name__}: {str(error).strip()[:300]}"
            return Parity(passed=False, rows=rows, differing=differing, worst=np.inf, problem=problem)
        worst = example.difference if example else 0.0
        if self._unguarded:
            problem = f"the original refuses {self._unguarded} rows of plain numbers, which this would answer"
            return Parity(passed=False, rows=rows, differing=differing, worst=worst, example=example, problem=problem)
        return Parity(passed=not differing, rows=rows, differing=differing, worst=worst, example=example)

    def _gaps(self, engine: Runtime, told: _Told) -> tuple[np.ndarray, np.ndarray]:
        """Return for each row how far the further one of both answers is off, and that answer."""
        found = np.array(engine.predict(told.group.rows), dtype=np.float64).reshape(told.answers.shape)
        gaps = _gap(told.answers, found)
        step = max(1, -(-len(gaps) // MOST_SINGLE))
        for place in range(0, len(gaps), step):
            single = np.array(engine.predict_one(told.group.rows[place].tolist()), dtype=np.float64).reshape(-1)
            gap = _gap(told.answers[place][None, :], single[None, :])[0]
            if gap > gaps[place]:
                gaps[place], found[place] = gap, single
        return gaps, found

    def _worst(self, told: _Told, place: int, difference: float, answer: np.ndarray) -> Worst:
        row = told.group.rows[place]
        return Worst(
            kind=told.group.name,
            inputs=dict(zip(self._names, map(_spelt, row.tolist()), strict=True)),
            original=told.answers[place].tolist(),
            candidate=answer.tolist(),
            difference=difference,
        )


def _spelt(value: float) -> float | str:
    """Return a number that JSON has, or its name."""
    return value if np.isfinite(value) else str(value)


def _gap(original: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return for each row the greatest difference; infinite where one is a number and the other is none."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(original - found) / np.maximum(1.0, np.abs(original))
    same = (original == found) | (np.isnan(original) & np.isnan(found))
    gaps = np.where(same, 0.0, np.where(np.isnan(gaps), np.inf, gaps))
    return np.asarray(gaps.max(axis=1))


def _answers(original: Runtime, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows the original answers, and its answers."""
    try:
        found = original.predict(rows)
        return np.arange(len(rows)), np.array(found, dtype=np.float64).reshape(len(rows), -1)
    except Exception:  # whatever a library raises on rows that it refuses: then it is asked about each
        kept, answers = [], []
        for place in range(len(rows)):
            try:
                found = original.predict(rows[place : place + 1])
            except Exception:
                continue
            kept.append(place)
            answers.append(np.array(found, dtype=np.float64).reshape(-1))
        return np.array(kept, dtype=np.int64), np.array(answers)


def _guarded(guard: Guard, rows: np.ndarray) -> np.ndarray:
    """Return for each row whether the guard gives it to the original."""
    beyond = (np.abs(rows) > (np.inf if guard.most is None else guard.most)).any(axis=1)
    return np.asarray(beyond | (np.isnan(rows).any(axis=1) if guard.missing else False))


def _guard(original: Runtime, groups: Sequence[Group]) -> Guard:
    """Find out whether the original refuses missing values, infinities, or numbers too large for a float32."""
    plain = groups[0].rows
    if plain.dtype == object:
        return Guard()  # no other engine reads such rows
    finite = plain[np.isfinite(plain).all(axis=1)]
    row = (finite if len(finite) else np.zeros((1, plain.shape[1])))[:1]

    def refuses(value: float) -> bool:
        for place in range(row.shape[1]):
            asked = row.copy()
            asked[0, place] = value
            try:
                original.predict(asked)
            except Exception:
                return True
        return False

    most = None
    if refuses(float("inf")) or refuses(float("-inf")):
        most = next((one for one in MOSTS if not refuses(one) and not refuses(-one)), MOSTS[-1])
    return Guard(missing=refuses(float("nan")), most=most)
