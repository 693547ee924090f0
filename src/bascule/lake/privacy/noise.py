"""Noise that hides whether one person is in a table: OpenDP's discrete Laplace on whole numbers.

Sums are of numbers on a grid, so they are exact and no rounding of floating-point numbers tells anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bascule.errors import InputError, MissingExtra

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Noisy:
    """Numbers with noise.

    Attributes:
        values: as whole numbers, in the order they were given.
        scale: of the noise.
        epsilon: what they cost together, at most.
        within: how far off a value is at most, in 95 of 100 cases.
    """

    values: tuple[int, ...]
    scale: float
    epsilon: float
    within: float


def with_noise(values: Sequence[int], sensitivity: int, epsilon: float) -> Noisy:
    """Return numbers with noise that makes them epsilon-differentially private together.

    Args:
        sensitivity: how much all of them together change, at most, when one person leaves (their L1 distance).

    Raises:
        MissingExtra: OpenDP is not installed.
        InputError: epsilon is not a positive number, or so small that there would be nothing but noise.
    """
    library = _opendp()
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise InputError(f"epsilon is {epsilon:g}.", hint="Write a number above 0, such as 0.1.")
    domain = library.vector_domain(library.atom_domain(T=int))
    metric = library.l1_distance(T=int)
    scale = sensitivity / epsilon
    for _ in range(3):
        try:
            measurement = library.m.make_laplace(domain, metric, scale=scale)
            cost = float(measurement.map(sensitivity))
        except Exception as error:  # OpenDP's own, whose class depends on its version
            raise InputError(f"This cannot be asked for epsilon = {epsilon:g}: {error}") from error
        if cost <= epsilon:
            break
        scale = math.nextafter(scale, math.inf) * (1 + 1e-12)  # the division was rounded down
    released = tuple(int(value) for value in measurement([int(value) for value in values]))
    return Noisy(released, scale, cost, scale * math.log(1 / ALPHA))


def demand_library() -> None:
    """Raise `MissingExtra` when OpenDP is not installed: before anything is spent."""
    _opendp()


@cache
def _opendp() -> Any:
    try:
        import opendp.prelude as library
    except ImportError as error:
        raise MissingExtra("Differential privacy", "privacy") from error
    library.enable_features("contrib")
    return library
