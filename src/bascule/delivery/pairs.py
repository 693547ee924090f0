"""Requests that both versions answered, one of them unseen: what a shadow or a blue/green switch is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from bascule.delivery.evidence import LIKELIEST
from bascule.delivery.sequential import Floats
from bascule.delivery.versus import predictions_of

# An answer in classes differs when the likeliest class does; a number when it is further off than the tolerance.
PAIRS = f"""
    select arm = 'canary' as canary, latency_us, output_failed, other is null as other_failed, other_us,
        case when output_failed or other is null then null
            when number then not isfinite(score)
                or abs(score - other) > $tolerance * greatest(abs(score), abs(other))
            else {LIKELIEST.format("output", "score")} <> {LIKELIEST.format("shadow", "other")} end as differs
    from (
        select arm, latency_us, score, output, shadow, json_extract(output, '$.value') is not null as number,
            score is null and json_extract_string(output, '$.error') is not null as output_failed,
            cast(json_extract_string(shadow, '$.score') as double) as other,
            cast(json_extract_string(shadow, '$.latency_us') as bigint) as other_us, "at", prediction_id
        from {{predictions}}
        where branch = $branch and deployment = $name and revision >= $revision
            and version = case arm when 'canary' then $canary when 'stable' then $stable end
    )
    order by "at", prediction_id"""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Requests during a rollout, in their order; each array has one value a request.

    Attributes:
        canary: the caller saw the canary's answer.
        failed: that answer failed; the other version is not asked then.
        other_failed: the unseen version gave no answer (also when it was not asked).
        latency: of the answer that was seen, in microseconds.
        other_latency: of the unseen one; NaN when it is not known.
        differs: 1.0 where both answered differently, 0.0 alike, NaN where one gave none.
    """

    canary: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    other_failed: NDArray[np.bool_]
    latency: Floats
    other_latency: Floats
    differs: Floats


def read_pairs(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any], tolerance: float = 0.0
) -> Pairs:
    """Read what both versions of a rollout answered.

    Args:
        connection: sees the relation `predictions`.
        deployment: the object, with a rollout under way.
        tolerance: the relative difference at which two numbers are the same answer.
    """
    rollout = deployment["rollout"]
    settings = {
        "branch": branch,
        "name": deployment["name"],
        "revision": rollout["revision"],
        "canary": rollout["canary"],
        "stable": rollout["stable"],
        "tolerance": tolerance,
    }
    asked = PAIRS.replace("{predictions}", predictions_of(rollout))
    rows = connection.execute(asked, settings).fetchnumpy()
    canary, failed, other = (
        np.ma.filled(rows[n], False).astype(bool) for n in ("canary", "output_failed", "other_failed")
    )
    numbers = ("latency_us", "other_us", "differs")
    latency, unseen, differs = (np.ma.filled(np.ma.asarray(rows[n]).astype(np.float64), np.nan) for n in numbers)
    return Pairs(canary, failed, other, latency, unseen, differs)


def latencies(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any]
) -> tuple[Floats, Floats]:
    """Return the latencies of the canary's answers and of stable's, in microseconds."""
    pairs = read_pairs(connection, branch, deployment)
    return pairs.latency[pairs.canary], pairs.latency[~pairs.canary]
