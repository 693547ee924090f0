"""The values of a measure by unit: what an A/B test is for, or any SQL over the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from bascule.delivery.sequential import Floats
from bascule.delivery.strategies import OUTCOME, SCORE
from bascule.delivery.versus import predictions_of
from bascule.errors import InputError
from bascule.lake import engine

LONGEST_S = 30.0  # one controller judges all rollouts, one after the other
MEASURES = {
    OUTCOME: "select prediction_id, label as value, received_at as at from ground_truth where label is not null",
    SCORE: "select prediction_id, score as value from predictions where score is not null",
}
# What is assigned to an arm is a unit, so a unit is one draw: its first value counts, and the arm that gave it. Of one
# that has nothing but values that are no numbers (NaN) such a one comes, to be counted.
BY_UNIT = """
    with measured as (
        select prediction_id, cast(value as double) as value, {at} as seen from ({sql})
        where value is not null
        qualify row_number() over (partition by prediction_id order by isfinite(cast(value as double)) desc, seen) = 1
    )
    select arm = 'canary' as canary, if(arm = 'canary', probability, 1 - probability) as share, value
    from {predictions} p join measured m on m.prediction_id = p.prediction_id
    where branch = $branch and deployment = $name and revision >= $revision
        and arm in ('canary', 'stable') and probability > 0 and probability < 1
    qualify row_number() over (
        partition by coalesce(cast(unit as varchar), 'request ' || epoch_us(p."at"))
        order by isfinite(value) desc, coalesce(m.seen, p."at"), p.prediction_id
    ) = 1
    order by coalesce(m.seen, p."at"), p.prediction_id"""


@dataclass(frozen=True, slots=True)
class Values:
    """One value a unit, in the order in which they came.

    Attributes:
        canary: the unit was on the canary when its value came about.
        share: the canary's chance then.
        left_out: units of the canary and of stable that have no value but such as are no number.
    """

    value: Floats
    canary: NDArray[np.bool_]
    share: Floats
    left_out: tuple[int, int] = (0, 0)


def read_values(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any], measure: str
) -> Values:
    """Read the values of a measure during a rollout.

    Args:
        connection: sees the relations `predictions` and `ground_truth`, and whatever the measure reads.
        deployment: the object, with a rollout under way.
        measure: `outcome`, `score` or SQL that gives `prediction_id`, `value` and perhaps `at`.

    Raises:
        InputError: the SQL cannot run, takes too long, or does not give these columns.
    """
    sql = MEASURES.get(measure, measure).strip().rstrip(";")
    try:
        with engine.bounded(connection, LONGEST_S) as over:
            rows = _asked(connection, branch, deployment, sql)
    except duckdb.InterruptException:
        if not over.is_set():
            raise
        raise InputError(
            f"The measure's SQL was stopped after {LONGEST_S:g} s: the other rollouts wait for it.",
            hint=f"Ask for less, such as the last days alone. Try it with: bascule sql {sql!r}",
        ) from None
    except duckdb.Error as error:
        raise InputError(
            f"The measure's SQL cannot run: {str(error).splitlines()[0].rstrip('.')}.",
            hint=f"Try it with: bascule sql {sql!r}",
        ) from error
    value, share = (np.ma.filled(rows[name].astype(np.float64), np.nan) for name in ("value", "share"))
    canary, known = np.asarray(rows["canary"], dtype=bool), np.isfinite(value)
    left_out = int((canary & ~known).sum()), int((~canary & ~known).sum())
    return Values(value[known], canary[known], share[known], left_out)


def check_measure(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Bind the SQL of a measure as it will be asked, and run nothing.

    Raises:
        InputError: it cannot run, or does not give the columns.
    """
    with engine.told("This SQL cannot run"):
        settings = {"branch": "", "name": "", "revision": 0}
        connection.execute("explain " + _query(connection, sql, "predictions"), settings)


def _asked(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any], sql: str
) -> dict[str, np.ndarray]:
    rollout = deployment["rollout"]
    query = _query(connection, sql, predictions_of(rollout))
    settings = {"branch": branch, "name": deployment["name"], "revision": rollout["revision"]}
    found: dict[str, np.ndarray] = connection.execute(query, settings).fetchnumpy()
    return found


def _query(connection: duckdb.DuckDBPyConnection, sql: str, asked: str) -> str:
    """Return the query that gives a measure by unit.

    Args:
        asked: the relation of the predictions, as SQL.
    """
    sql = sql.strip().rstrip(";")
    if (count := len(connection.extract_statements(sql))) != 1:
        raise InputError(
            f"The measure's SQL is {count} statements; it is one query.", hint="Use WITH for what it needs before."
        )
    columns = {name.lower() for name in connection.sql(sql).columns}
    if missing := {"prediction_id", "value"} - columns:
        raise InputError(
            f"The measure's SQL gives no {' and no '.join(sorted(missing))}.",
            hint="Such as: select prediction_id, label as value from ground_truth",
        )
    return BY_UNIT.format(sql=sql, predictions=asked, at='"at"' if "at" in columns else "null::timestamptz")
