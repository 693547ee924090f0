"""A workspace as it looks after some weeks of work, made through the rooms that make such things."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
from sqlalchemy import insert

from bascule.catalog import new_id, now, schema
from bascule.contracts import Contract, run_checks
from bascule.delivery import advance, deploy, promote
from bascule.evaluation import (
    Calibration,
    CalibrationBin,
    Comparison,
    EvaluationReport,
    GateResult,
    Measure,
    Method,
    SliceRow,
)
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable
from bascule.monitoring.triggers import Trigger, TriggerRule
from bascule.registry import register
from bascule.serving.log.predictions import SCHEMA as PREDICTIONS
from bascule.serving.log.truths import SCHEMA as TRUTH
from bascule.tracking import Run, recorded, resume

ANN, BO = "ann@example.org", "bo@example.org"
US, DAY = 1_000_000, 86_400_000_000
JULY = int(datetime(2013, 7, 1, tzinfo=UTC).timestamp()) * US
CARRIERS, ORIGINS = ("UA", "B6", "EV", "DL", "AA", "MQ"), ("EWR", "JFK", "LGA")
CONTRACT = """\
apiVersion: v3.0.2
kind: DataContract
id: flights
name: flights
version: 1.0.0
status: active
schema:
  - name: flights
    physicalName: flights
    properties:
      - name: time_hour
        logicalType: timestamp
        required: true
      - name: carrier
        logicalType: string
        required: true
      - name: flight
        logicalType: integer
        required: true
      - name: origin
        logicalType: string
      - name: dest
        logicalType: string
      - name: tailnum
        logicalType: string
      - name: arr_delay
        logicalType: number
      - name: distance
        logicalType: integer
        logicalTypeOptions:
          minimum: 20
          maximum: 5000
"""


@dataclass
class Filled:
    """A filled workspace and the names in it."""

    ws: Workspace
    train_run: str
    pipeline_run: str
    prediction: str
    alert: str
    commit: str


def fill(ws: Workspace, *, requests: int = 3000, rollout: bool = True) -> Filled:
    """Fill a workspace: six months of flights, three versions, a canary under way, traffic, drift and an alert."""
    random = np.random.default_rng(7)
    _tables(ws, random)
    _checks(ws)
    pipeline, train = _runs(ws, random)
    training_set = _training_set(ws, train)
    for number in (1, 2, 3):
        _version(ws, number, train, training_set)
    first = _serve(ws, random, requests, rollout)
    alert = _watch(ws, random, training_set)
    commit = ws.history.log("main", limit=1, path="tables/flights")[0].id
    ws.history.tag("v1.0", "main", author=ANN)
    return Filled(ws, train, pipeline, first, alert, commit)


def flights(random: np.random.Generator, month: int, rows: int = 400) -> pa.Table:
    """One month's flights."""
    start = datetime(2013, month, 1, tzinfo=UTC)
    hours = np.sort(random.integers(0, 28 * 24, rows))
    delay = np.round(random.gamma(1.2, 18, rows) - 12, 1)
    return pa.table(
        {
            "time_hour": pa.array([int(start.timestamp() + h * 3600) * US for h in hours], pa.timestamp("us", "UTC")),
            "carrier": [CARRIERS[i] for i in random.integers(0, len(CARRIERS), rows)],
            "flight": pa.array(np.arange(rows) + month * 10_000, pa.int32()),
            "origin": [ORIGINS[i] for i in random.integers(0, len(ORIGINS), rows)],
            "dest": random.choice(["LAX", "BOS", "ORD", "MIA", "SFO"], rows),
            "tailnum": [f"N{n:05d}" if n % 17 else None for n in random.integers(0, 3000, rows)],
            "arr_delay": pa.array(delay, pa.float64()),
            "distance": pa.array(random.integers(94, 2586, rows), pa.int32()),
        }
    )


def _tables(ws: Workspace, random: np.random.Generator) -> None:
    lake = Lake(ws)
    airlines = pa.table({"carrier": list(CARRIERS), "name": [f"Airline {code}" for code in CARRIERS]})
    lake.overwrite("airlines", airlines, branch="main", message="Bring in the airlines", author=ANN)
    weather = pa.table({"origin": ["EWR", "JFK"], "wind_speed": [8.2, 11.5], "visib": [10.0, 9.5]})
    lake.overwrite("weather", weather, branch="main", message="Bring in the weather", author=ANN)
    contract = {"kind": "contract", "table": "flights", "text": CONTRACT}
    ws.history.commit("main", {"contracts/flights": contract}, message="Agree on the contract of flights", author=ANN)
    for month in range(1, 7):
        branch = f"batch/2013-{month:02d}"
        ws.history.create_branch(branch, "main", author=BO)
        lake.append(
            "flights", flights(random, month), branch=branch, message=f"Ingest flights of 2013-{month:02d}", author=BO
        )
        ws.history.merge(branch, "main", message=f"Merge {branch}", author=BO)
        if month < 6:
            ws.history.delete_branch(branch, author=BO)
    stricter = contract | {"text": CONTRACT.replace("minimum: 20", "minimum: 50")}
    ws.history.create_branch("windier-features", "main", author=ANN)
    sql = "SELECT origin, observed_at, wind_speed,\n  visib\nFROM weather"
    view = {"kind": "feature_view", "name": "weather", "entity": "origin", "sql": sql, "ttl_us": 6 * 3600 * US}
    changes = {"contracts/flights": stricter, "features/weather": view}
    ws.history.commit("windier-features", changes, message="Use gusts, and ask for longer flights", author=ANN)


def _checks(ws: Workspace) -> None:
    """The last batch passed; one before it was refused."""
    lake, head = Lake(ws), ws.history.resolve("main")
    good = lake.scan(ws.history.get(head, "tables/flights"))
    broken = f"(SELECT * REPLACE (distance * 1609 AS distance) FROM {good})"
    contract = Contract.parse(CONTRACT, file="contracts/flights.yaml")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for relation, at in ((broken, now() - DAY), (good, now())):
            report = run_checks(connection, relation, contract, sample=5, now=at)
            rows = report.as_rows(new_id=new_id, commit_id=head.id)
            with ws.catalog.write() as conn:
                conn.execute(insert(schema.check_results), rows)


def _runs(ws: Workspace, random: np.random.Generator) -> tuple[str, str]:
    head = ws.history.resolve("main").id
    with recorded(ws, name="pipeline", kind="pipeline", branch="main", commit=head) as pipeline:
        with recorded(ws, name="ingest flights", kind="step", step="ingest", branch="main", parent=pipeline.id) as run:
            run.writes("tables/flights", ws.history.digest(head, "tables/flights") or "", rows=2400, size=81_000)
        with recorded(ws, name="train delays", kind="step", step="train", branch="main", parent=pipeline.id) as train:
            _train(ws, train, random)
    for number in range(60):
        _old_run(ws, number, random)
    return pipeline.id, train.id


def _train(ws: Workspace, run: Run, random: np.random.Generator) -> None:
    run.params({"learning_rate": 0.043, "num_leaves": 63, "min_data_in_leaf": 40, "seed": 7, "trials": 12})
    run.reads("tables/flights", ws.history.digest("main", "tables/flights") or "", rows=2400, size=81_000)
    points = []
    for step in range(120):
        for split, gap in (("train", 0.0), ("validation", 0.012)):
            loss = 0.46 + 0.16 * math.exp(-step / 24) + gap * (1 + step / 90) + random.normal(0, 0.0008)
            points.append((f"{split}.log_loss", loss, step))
    run.metrics([*points, ("test.auc", 0.7123, 0), ("test.log_loss", 0.4812, 0)])
    run.tags({"search": "optuna"})


def _old_run(ws: Workspace, number: int, random: np.random.Generator) -> None:
    started = now() - (number + 1) * 3 * 3600 * US
    run_id, status = new_id("run"), "failed" if number % 11 == 3 else "cached" if number % 5 == 1 else "done"
    step = ("ingest", "features", "train", "evaluate")[number % 4]
    values = {
        "id": run_id, "name": f"{step} delays", "kind": "step", "step": step, "status": status,
        "branch": "main" if number % 3 else "windier-features", "user_name": ANN if number % 2 else BO,
        "started_at": started, "finished_at": started + int(random.integers(1, 90)) * US, "environment_json": "{}",
        "error": "CheckFailed: 3 checks of flights failed." if status == "failed" else None,
    }  # fmt: skip
    with ws.catalog.write() as conn:
        conn.execute(insert(schema.runs).values(**values))
    if step == "train" and status == "done":
        run = resume(ws, run_id)
        metrics = {"test.auc": 0.69 + random.normal(0, 0.01), "test.log_loss": 0.49 + random.normal(0, 0.005)}
        run.metrics([(key, float(value), 0) for key, value in metrics.items()])
        run.params({"learning_rate": f"{random.uniform(0.02, 0.1):.3f}", "seed": "7"})


def _training_set(ws: Workspace, run: str) -> str:
    name = "5f" * 32
    part = {"rows": 800, "from": JULY - 60 * DAY, "to": JULY - 30 * DAY}
    columns = {
        "features": ["carrier", "weather__wind_speed", "hour"],
        "target": {"task": "binary", "classes": ["false", "true"]},
        "types": {"carrier": "varchar"},
    }
    definition = {"name": "delays", "population": "SELECT * FROM flights", "label": "arr_delay > 15"}
    spec = {"spec": definition, "feature_set": None}
    with ws.catalog.write() as conn:
        conn.execute(
            insert(schema.training_sets).values(
                id=name,
                name="delays@5f5f5f5f",
                blob=ws.store.put(b"the rows"),
                rows=2400,
                columns_json=json.dumps(columns),
                spec_json=json.dumps(spec),
                split_json=json.dumps({"train": part, "validation": part, "test": part}),
                commit_id=ws.history.resolve("main").id,
                run_id=run,
                created_at=now(),
            )
        )
    return name


def report(number: int, *, passed: bool = True) -> EvaluationReport:
    """The evaluation of a version."""
    auc = 0.69 + 0.008 * number
    slices = {
        column: tuple(
            SliceRow(
                where={column: value},
                rows=900 - 90 * place,
                mean=0.2 + 0.02 * place,
                metrics={"auc": auc - 0.01 * place, "log_loss": 0.48 + 0.01 * place},
                low=auc - 0.04,
                high=auc + 0.03,
            )
            for place, value in enumerate(values)
        )
        for column, values in (("carrier", CARRIERS), ("origin", ORIGINS))
    }
    bins = tuple(
        CalibrationBin(rows=300, predicted=p, observed=p * 0.97 + 0.012, low=max(0.0, p - 0.03), high=p + 0.035)
        for p in (0.04, 0.09, 0.14, 0.19, 0.24, 0.29, 0.36, 0.44, 0.55, 0.68)
    )
    gates = (
        GateResult(
            name="better_than_baseline",
            passed=passed,
            observed=0.021 if passed else -0.004,
            required="log_loss better than the baseline's, for sure",
            reason="better by 0.021 (0.014 to 0.028)" if passed else "better by -0.004 (-0.011 to 0.003)",
        ),
        GateResult(name="calibration", passed=True, observed=0.012, required="ece at most 0.05", reason="ece is 0.012"),
        GateResult(name="signature", passed=True, observed=None, required="unchanged inputs", reason="the same"),
    )
    return EvaluationReport(
        model="delays",
        task="binary",
        classes=("false", "true"),
        rows=2600,
        metric="log_loss",
        metrics={
            "log_loss": Measure(value=0.4812, low=0.472, high=0.491),
            "auc": Measure(value=auc, low=auc - 0.012, high=auc + 0.011),
            "brier": Measure(value=0.151, low=0.147, high=0.156),
        },
        references={"baseline": {"log_loss": 0.502, "auc": 0.655, "brier": 0.158}},
        comparisons=(
            Comparison(
                reference="baseline", metric="log_loss", value=0.4812, reference_value=0.502, improvement=0.0208,
                low=0.014, high=0.028,
            ),
        ),
        slices=slices,
        weakest=slices["carrier"][-3:],
        calibration=Calibration(ece=0.012, noise=0.009, bins=bins),
        importance={"carrier_lateness__late_6h": 0.31, "hour": 0.22, "weather__wind_speed": 0.16, "carrier": 0.11},
        gates=gates,
        passed=passed,
        caveats=("The year has one summer only.",),
        method=Method(resamples=1000, unit="days", clusters=30, level=0.95, seed=7),
    )  # fmt: skip


def _version(ws: Workspace, number: int, run: str, training_set: str) -> None:
    passed = number != 3
    found = report(number, passed=passed)
    signature = {
        "inputs": [
            {"name": "carrier", "type": "varchar", "nullable": True, "categories": list(CARRIERS)},
            {"name": "weather__wind_speed", "type": "double", "nullable": True, "categories": None},
        ],
        "output": {"task": "binary", "classes": ["false", "true"]},
    }
    register(
        ws,
        "main",
        "delays",
        artifact=ws.store.put(f"model {number}".encode()),
        format="lightgbm",
        signature=signature,
        training_set=training_set,
        evaluation=found.as_dict(),
        run_id=run,
        metrics=found.flat(),
        card=lambda version: (
            f"---\nmodel: delays\n---\n# delays version {version}\n\n## Details\n\n- **Task**: binary\n\n"
            "| metric | value |\n| --- | ---: |\n| auc | 0.71 |\n\n<script>alert(1)</script> ![x](http://example.org/x.png)\n"
        ),
        alias="production" if number == 2 else None,
        force=None if passed else "a drill: the canary shall take it back",
        author=ANN,
    )


def _serve(ws: Workspace, random: np.random.Generator, requests: int, rollout: bool) -> str:
    """Version 1, then version 2 by canary, then version 3 as a canary that is under way."""
    commits = [deploy(ws, "main", "delays", "delays", 1, by=ANN, reason="the first model")]
    evidence = {"decision": "promote", "findings": [{"rule": "quality", "state": "fine", "reason": "No worse."}]}
    commits.append(deploy(ws, "main", "delays", "delays", 2, by=BO, reason="retrained on June"))
    commits.append(promote(ws, "main", "delays", by="rollout controller", reason="No worse.", evidence=evidence))
    if rollout:
        commits.append(deploy(ws, "main", "delays", "delays", 3, steps=(10, 50, 100), by=ANN, reason="a drill"))
        commits.append(advance(ws, "main", "delays", by=ANN, reason="looks fine"))
    rows, labels = [], []
    start = now() - 30 * 60 * US
    for number in range(requests):
        stage = min(number * len(commits) // requests, len(commits) - 1)
        rows.append(_prediction(ws, random, number, commits[stage].id, start + number * 25 * 60 * US // requests))
        if number % 5:
            row = rows[-1]
            label = float(random.random() < row["score"])
            known = row["event_time"] + 5 * 3600 * US
            labels.append((row["prediction_id"], "delays", label, known, start + 26 * 60 * US + number))
    RecordTable(ws, "predictions", PREDICTIONS).append(pa.Table.from_pylist(rows, schema=PREDICTIONS))
    columns = list(zip(*labels, strict=True))
    RecordTable(ws, "ground_truth", TRUTH).append(pa.table(columns, schema=TRUTH))
    return str(rows[-2]["prediction_id"])


def _prediction(ws: Workspace, random: np.random.Generator, number: int, commit: str, at: int) -> dict[str, Any]:
    deployment = ws.history.get(commit, "deployments/delays")
    share = (
        deployment["traffic"][int(random.random() * 100 >= deployment["traffic"][0]["weight"])]
        if len(deployment["traffic"]) > 1
        else deployment["traffic"][0]
    )
    canary = bool(deployment["rollout"]) and share["version"] == deployment["rollout"]["canary"]
    score = float(np.clip(random.beta(2, 6), 0.001, 0.999))
    worse = float(np.clip(score + random.normal(0, 0.2), 0.001, 0.999))
    inputs = {"carrier": CARRIERS[number % 6], "origin": ORIGINS[number % 3], "distance": 1400, "tailnum": None}
    other = deployment["rollout"] and deployment["rollout"]["stable" if canary else "canary"]
    shadow = json.dumps({"version": other, "score": score if canary else worse}) if other else None
    return {
        "prediction_id": f"pred_{number:026d}",
        "at": at,
        "event_time": JULY + number * 60 * DAY // 3000,
        "branch": "main",
        "commit_id": commit,
        "deployment": "delays",
        "revision": deployment["revision"],
        "model": "delays",
        "version": share["version"],
        "arm": "canary" if canary else "stable",
        "probability": share["weight"] / 100,
        "caller": "gate agent",
        "trace_id": f"{number:032x}",
        "latency_us": int(600 + random.exponential(300) * (3 if canary else 1)),
        "inputs": json.dumps(inputs),
        "features": json.dumps({**inputs, "hour": 14, "weather__wind_speed": 11.5, "carrier_lateness__late_6h": 0.18}),
        "score": worse if canary else score,
        "output": json.dumps({"probability": score}),
        "shadow": shadow,
    }


def _watch(ws: Workspace, random: np.random.Generator, training_set: str) -> str:
    monitor = {"kind": "monitor", "name": "delays", "deployment": "delays", "reference": {"training_set": training_set}}
    rule = "quality.auc < training.auc - 0.03 for 3 of 5 days"
    trigger = Trigger("retrain", "delays", TriggerRule(when=rule, schedule="0 3 * * 1")).as_object()
    objects = {"monitors/delays": monitor | {"by": "day"}, "triggers/retrain": trigger}
    ws.history.commit("main", objects, message="Watch delays by day", author=ANN)
    points = [row for day in range(60) for row in _day(random, day)]
    opened, alert = now(), new_id("alert")
    detail = {"breach": True, "threshold": 0.1, "moved": {"cell": "16 to 24", "before": 0.08, "after": 0.27}}
    detail |= {"persistence": [3, 5], "weight": 0.03, "q": 0.0004, "importance": 0.16}
    member = detail | {"subject": "weather__wind_speed", "value": 0.163, "since": JULY + 44 * DAY}
    other = member | {"subject": "hour", "value": 0.112, "since": JULY + 46 * DAY}
    detail = detail | {"members": [member, other], "seen": ["carrier", "hour", "weather__wind_speed"]}
    alerts = [
        _alert(alert, "drift", "weather__wind_speed", "warning", "firing", 0.163, 0.1, 44, opened, detail),
        _alert(new_id("alert"), "quality", "auc", "critical", "resolved", 0.642, 0.676, 30, opened - DAY, {}),
    ]
    job = {
        "id": new_id("job"), "kind": "retrain", "branch": "main", "spec_json": "{}", "reason": rule, "status": "done",
        "created_at": opened, "started_at": opened, "finished_at": opened + 42 * US,
        "result_json": '{"branch":"retrain/06f","message":"version 2"}',
    }  # fmt: skip
    with ws.catalog.write() as conn:
        conn.execute(insert(schema.monitor_points), points)
        conn.execute(insert(schema.alerts), alerts)
        conn.execute(insert(schema.jobs).values(**job))
    return alert


def _day(random: np.random.Generator, day: int) -> list[dict[str, Any]]:
    rows = int(random.integers(800, 1000))
    auc = 0.712 - 0.001 * day + random.normal(0, 0.008)
    found = [
        ("traffic", "rows", float(rows), None, None, {"labels": rows - 40}),
        ("coverage", "labels", 0.96 if day < 55 else 0.2, None, None, {}),
        ("quality", "auc", auc, auc - 0.03, auc + 0.03, {"release": 0.706, "threshold": 0.676, "breach": auc < 0.64}),
        ("quality", "log_loss", 0.48 + 0.0006 * day + random.normal(0, 0.006), 0.46, 0.53, {"release": 0.481}),
        ("drift_share", "share", 0.1 + 0.004 * day, None, None, {}),
        ("prediction_drift", "score", 0.03 + 0.0008 * day, 0.01, 0.1, {"threshold": 0.1}),
    ]
    for place, column in enumerate(("weather__wind_speed", "hour", "carrier", "distance", "carrier_lateness__late_6h")):
        effect = max(0.0, (0.0028 * day if place == 0 else 0.02) + random.normal(0, 0.006))
        moved = {"cell": "16 to 24", "before": 0.08, "after": 0.08 + effect}
        detail = {
            "breach": effect > 0.1,
            "threshold": 0.1,
            "moved": moved,
            "nulls": 0.01,
            "importance": 0.3 - 0.05 * place,
        }
        found.append(("drift", column, effect, max(0.0, effect - 0.02), effect + 0.02, detail))
    return [
        {
            "branch": "main", "monitor": "delays", "measure": measure, "subject": subject,
            "window_start": JULY + day * DAY, "window_end": JULY + (day + 1) * DAY, "value": value, "low": low,
            "high": high, "rows": rows, "model_version": 1 if day < 30 else 2,
            "detail_json": msgspec.json.encode(detail).decode(), "computed_at": now(),
        }
        for measure, subject, value, low, high, detail in found
    ]  # fmt: skip


def _alert(
    name: str, measure: str, subject: str, severity: str, status: str, value: float, limit: float, day: int, at: int,
    detail: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    start = JULY + day * DAY
    return {
        "id": name, "branch": "main", "monitor": "delays", "measure": measure, "subject": subject, "severity": severity,
        "status": status, "value": value, "threshold": limit, "window_start": start, "window_end": start + DAY,
        "detail_json": msgspec.json.encode(detail).decode(), "opened_at": at,
        "closed_at": at + 3600 * US if status == "resolved" else None,
    }  # fmt: skip
