"""What a step says when it has ended: the one document that every runner and orchestrator reads."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Status = Literal["ran", "cached", "failed"]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a step made.

    Attributes:
        name: what it is called in the project.
        version: the digest that says exactly which one it is.
        uri: where it is: `bascule:tables/flights` for a path of the history, `bascule:training_sets/…` for a record.
        rows: how many rows it has, if it has rows.
        bytes: how large it is, if that is known.
        schema: column to type, if it has columns.
    """

    name: str
    version: str
    uri: str
    rows: int | None = None
    bytes: int | None = None
    schema: dict[str, str] | None = None


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How a step ended.

    Attributes:
        step: the step's name, such as `train`.
        status: `ran`, `cached` (nothing to do, the outputs are those of an earlier run) or `failed`.
        code_version: digest of the code that the step runs.
        outputs: what it made.
        checks: check results and gates, as they are kept in the records.
        metrics: numbers worth a curve.
        duration_s: seconds.
        run_id: the run in the records; for a cached step the run that made the outputs.
        summary: one line for a person.
    """

    step: str
    status: Status
    code_version: str
    outputs: tuple[Output, ...] = ()
    checks: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, float] = {}
    duration_s: float = 0.0
    run_id: str = ""
    summary: str = ""

    def output(self, name: str) -> Output:
        """Return the output of a name. Raises `KeyError` when there is none."""
        for found in self.outputs:
            if found.name == name:
                return found
        raise KeyError(name)
