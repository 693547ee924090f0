"""What a rollout has shown so far, read from the prediction log: counts by phase, and losses on arrived labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from bascule.delivery.guardrails import QualityRule
from bascule.delivery.sequential import Floats
from bascule.delivery.versus import predictions_of

CLIP = 0.01
# An answer that is no number is no answer.
FAILED = "coalesce(not isfinite(score), json_extract_string(output, '$.error') is not null)"

# The scores of both arms, the classes that they found likeliest (of NaN none is: -1), and the first label, in the order
# of the labels.
LIKELIEST = """if(isnan({1}), -1, coalesce(list_position(cast(if(json_type({0}, '$.probability') = 'ARRAY',
            json_extract({0}, '$.probability'), '[]') as double[]), {1}) - 1, if({1} >= 0.5, 1, 0)))"""
LOSSES = f"""
    select canary, score, other, label, probability, {LIKELIEST.format("output", "score")} as class,
        {LIKELIEST.format("shadow", "other")} as other_class, epoch_us(event_time) as event_time
    from (
        select arm = 'canary' as canary, score, cast(json_extract_string(shadow, '$.score') as double) as other,
            output, shadow, probability, label, received_at, p.prediction_id, p.event_time
        from {{predictions}} p join ground_truth g on g.prediction_id = p.prediction_id
        where p.branch = $branch and p.deployment = $name and p.revision >= $revision
            and p.score is not null and isfinite(g.label) and p.probability is not null
            and ($shadow or (p.probability > 0 and p.probability < 1))
            and p.version = case p.arm when 'canary' then $canary else $stable end
        qualify row_number() over (partition by p.prediction_id order by received_at) = 1
    )
    where not $shadow or (
        other is not null
        and cast(json_extract_string(shadow, '$.version') as integer) = if(canary, $stable, $canary)
    )
    order by received_at, prediction_id"""


@dataclass(frozen=True, slots=True)
class ServiceCount:
    """Requests and failed requests of both arms while the canary had one share of the traffic, as counted elsewhere.

    Attributes:
        share: the canary's share of requests, strictly between 0 and 1.
    """

    share: float
    canary_requests: int
    canary_errors: int
    stable_requests: int
    stable_errors: int


@dataclass(frozen=True, slots=True)
class Phase:
    """One revision of the deployment during a rollout: requests, slow and failed ones among them, of both arms.

    Attributes:
        share: the canary's share, strictly between 0 and 1.
        canary_units: units that came for the first time in this revision and were assigned to the canary. A unit is
            what is assigned to an arm as a whole: what the caller named, an entity, or one request.
        stable_units: the same of the stable version.
    """

    revision: int
    share: float
    canary: int
    stable: int
    canary_slow: int
    stable_slow: int
    canary_failed: int
    stable_failed: int
    canary_units: int
    stable_units: int


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss differences, canary less stable, in the order in which the labels arrived.

    Attributes:
        differences: each between `low` and `high`; their mean is the difference of the mean losses.
        span: the time from the first labelled request to the last, in microseconds.
        paired: whether both models scored each of these requests; else inverse-propensity weights make the mean right.
    """

    differences: Floats
    low: float
    high: float
    span: int
    paired: bool


def read_phases(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any], slo_ms: float
) -> list[Phase]:
    """Count the requests of a rollout by revision.

    A request of many rows is routed once, so it counts once: its rows have one `at`. The share is the one that was
    logged with each prediction, so that it is what was really used.

    A unit counts in the first revision that saw it: the canary's buckets only grow during a rollout, so where it
    falls in a later one is no new draw. A prediction that was logged without its unit is one of its own.

    Args:
        connection: sees the relation `predictions`.
        deployment: the object, with a rollout under way of one new version (`versus.against` of several).
        slo_ms: answers slower than this are slow.
    """
    rollout = deployment["rollout"]
    query = f"""
        with requests as (
            select revision, arm, any_value(probability) as probability, max(latency_us) > $slo as slow,
                bool_or({FAILED}) as failed,
                coalesce(cast(unit as varchar), 'request ' || epoch_us("at")) as unit
            from {predictions_of(rollout)}
            where branch = $branch and deployment = $name and revision >= $revision
                and arm in ('canary', 'stable') and probability > 0 and probability < 1
            group by revision, arm, unit, "at"
        )
        select revision,
            avg(case arm when 'canary' then probability else 1 - probability end),
            count_if(arm = 'canary'), count_if(arm = 'stable'),
            count_if(arm = 'canary' and slow), count_if(arm = 'stable' and slow),
            count_if(arm = 'canary' and failed), count_if(arm = 'stable' and failed),
            count(distinct if(arm = 'canary' and new, unit, null)),
            count(distinct if(arm = 'stable' and new, unit, null))
        from (select *, revision = min(revision) over (partition by unit) as new from requests)
        group by revision order by revision"""
    settings = {
        "branch": branch,
        "name": deployment["name"],
        "revision": rollout["revision"],
        "slo": slo_ms * 1000,
    }
    return [Phase(*row) for row in connection.execute(query, settings).fetchall()]


def read_course(
    connection: duckdb.DuckDBPyConnection,
    branch: str,
    deployment: Mapping[str, Any],
    slo_ms: float,
    points: int = 60,
) -> list[tuple[int, ...]]:
    """Count a rollout's requests as they came, to be drawn: at most `points` rows of running totals.

    Returns:
        For each point: the time (µs), then for the canary and for stable the requests, the slow and the failed.
    """
    rollout = deployment["rollout"]
    query = f"""
        with requests as (
            select epoch_us("at") as t, arm, latency_us > $slo as slow,
                {FAILED} as failed
            from {predictions_of(rollout)}
            where branch = $branch and deployment = $name and revision >= $revision
                and arm in ('canary', 'stable') and probability > 0 and probability < 1
        ), span as (select min(t) as first, greatest(max(t) - min(t), 1) as width from requests),
        buckets as (
            select least((t - first) * $points // width, $points - 1) as bucket, max(t) as t,
                count_if(arm = 'canary') as c, count_if(arm = 'canary' and slow) as cs,
                count_if(arm = 'canary' and failed) as cf,
                count_if(arm = 'stable') as s, count_if(arm = 'stable' and slow) as ss,
                count_if(arm = 'stable' and failed) as sf
            from requests, span group by bucket
        )
        select t, sum(c) over w, sum(cs) over w, sum(cf) over w, sum(s) over w, sum(ss) over w, sum(sf) over w
        from buckets window w as (order by bucket) order by bucket"""
    settings = {
        "branch": branch,
        "name": deployment["name"],
        "revision": rollout["revision"],
        "slo": slo_ms * 1000,
        "points": points,
    }
    return [tuple(map(int, row)) for row in connection.execute(query, settings).fetchall()]


def read_losses(
    connection: duckdb.DuckDBPyConnection, branch: str, deployment: Mapping[str, Any], rule: QualityRule
) -> Losses:
    """Read the losses of a rollout on the labels that have arrived.

    With shadow scores each request gives a pair. Without, each gives one loss, weighted by the inverse of the chance of
    its arm (as in Karampatziakis, Mineiro & Ramdas, Off-policy confidence sequences, ICML 2021). The first label of a
    prediction counts: a later correction would change evidence that was already looked at.

    Args:
        connection: sees the relations `predictions` and `ground_truth`.
        deployment: the object, with a rollout under way.
    """
    rollout = deployment["rollout"]
    settings = {
        "branch": branch,
        "name": deployment["name"],
        "revision": rollout["revision"],
        "canary": rollout["canary"],
        "stable": rollout["stable"],
        "shadow": rollout["shadow"],
    }
    asked = LOSSES.replace("{predictions}", predictions_of(rollout))
    rows = connection.execute(asked, settings).fetchnumpy()
    names = ("class", "other_class") if rule.loss == "error" else ("score", "other")
    label, mine, others = (np.ma.filled(rows[name].astype(np.float64), np.nan) for name in ("label", *names))
    canary = np.asarray(rows["canary"], dtype=bool)
    span = int(np.ptp(rows["event_time"])) if len(rows["event_time"]) else 0
    own = loss(mine, label, rule)
    if rollout["shadow"]:
        gap = own - loss(others, label, rule)
        return Losses(np.where(canary, gap, -gap), -1.0, 1.0, span, paired=True)
    chance = np.asarray(rows["probability"], dtype=np.float64)
    values = np.where(canary, own, -own) / chance
    least = chance.min(initial=1.0)
    return Losses(values, -1.0 / least, 1.0 / least, span, paired=False)


def loss(scores: Floats, labels: Floats, rule: QualityRule) -> Floats:
    """The loss of each score against its label, between 0 and 1; of each class against the right one for `error`.

    A score that is no number (NaN) has a loss of 1: no answer is right nowhere.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a label may be any number
        if rule.loss == "error":
            found = np.where(scores == labels, 0.0, 1.0)
        elif rule.loss == "brier":
            found = (np.clip(scores, 0, 1) - labels) ** 2
        elif rule.loss == "log_loss":
            p = np.clip(scores, CLIP, 1 - CLIP)
            found = -(labels * np.log(p) + (1 - labels) * np.log1p(-p)) / -math.log(CLIP)
        else:
            found = np.abs(scores - labels) / rule.scale
    clipped: Floats = np.clip(np.where(np.isnan(found), 1.0, found), 0.0, 1.0)
    return clipped


def shortened(path: Sequence[float] | Floats, points: int = 120) -> list[list[float]]:
    """A path as [index, value] pairs, at most `points` of them with the last one, to be drawn."""
    if len(path) == 0:
        return []
    at = np.unique(np.linspace(0, len(path) - 1, min(points, len(path))).round().astype(int))
    return [[int(i) + 1, round(float(path[i]), 4)] for i in at]
