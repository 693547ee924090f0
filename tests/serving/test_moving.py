"""From segments into record tables: each segment once, whoever moves it and whenever they are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bascule.catalog import now
from bascule.history import Workspace
from bascule.lake.records import RecordTable
from bascule.project.querying import query
from bascule.serving import (
    IdSource,
    JournalLimits,
    PredictionLog,
    Query,
    Rows,
    TruthLog,
    find_prediction,
    move_segments,
    record,
    score,
    unmoved,
)
from bascule.serving.log import Truth, check_segments, predictions, read_segment, truths
from bascule.serving.log.segment import segment_paths
from tests.serving.test_predictions import ROW, deployment_of

SMALL = JournalLimits(segment_bytes=1_000)


def write(ws: Workspace, count: int, log: PredictionLog | None = None) -> list[str]:
    """Log predictions; with a log of one's own it stays open."""
    made = log or PredictionLog(ws.log_folder, SMALL)
    deployment, ids = deployment_of(ws), IdSource()
    found: list[str] = []
    for _ in range(count):
        answer = score(deployment, Query(Rows(1, ROW)))
        record(answer, ids, made)
        made.journal.commit()
        found += answer.ids
    if log is None:
        made.journal.close()
    return found


def moved(ws: Workspace, name: str = "predictions") -> list[dict[str, Any]]:
    schema = {"predictions": predictions.SCHEMA, "ground_truth": truths.SCHEMA}[name]
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        rows: list[dict[str, Any]] = (
            connection.sql(f"select * from {RecordTable(ws, name, schema).scan()}").to_arrow_table().to_pylist()
        )
    return rows


def test_closed_segments_are_moved_once(served: Workspace) -> None:
    ids = write(served, 25)
    before = unmoved(served, "predictions").to_pylist()
    segments = len(segment_paths(served.log_folder / "predictions"))
    assert segments > 2
    report = move_segments(served)
    assert report.rows["predictions"] == 25
    assert report.segments == segments
    rows = sorted(moved(served), key=lambda row: str(row["prediction_id"]))
    assert rows == before
    assert [row["prediction_id"] for row in rows] == ids
    assert segment_paths(served.log_folder / "predictions") == []
    assert move_segments(served).rows.get("predictions", 0) == 0
    assert len(moved(served)) == 25


def test_a_move_that_was_killed_between_table_and_file_is_finished(served: Workspace) -> None:
    write(served, 25)
    paths = segment_paths(served.log_folder / "predictions")
    table = RecordTable(served, "predictions", predictions.SCHEMA)
    table.move_segment(paths[0].name, predictions.to_arrow(read_segment(paths[0]).payloads))
    # Whoever reads now, before the file is gone, sees each row once.
    assert query(served, "select count(*) as n, count(distinct prediction_id) as ids from predictions") == [
        {"n": 25, "ids": 25}
    ]
    assert check_segments(served).segments == len(paths) - 1
    move_segments(served)
    assert len(moved(served)) == 25
    assert not any(path.exists() for path in paths)


def test_segments_of_the_living_stay_until_they_are_asked_for(served: Workspace) -> None:
    log = PredictionLog(served.log_folder)
    ids = write(served, 3, log)
    report = move_segments(served)
    assert (report.segments, report.open) == (0, 1)
    assert unmoved(served, "predictions").num_rows == 3
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(0.02):
            log.journal.tick()

    thread = threading.Thread(target=live)
    thread.start()
    report = move_segments(served, sealing=True)
    assert report.rows["predictions"] == 3
    stop.set()
    thread.join()
    more = write(served, 1, log)
    assert find_prediction(served, more[0]) is not None
    log.journal.close()
    assert {row["prediction_id"] for row in moved(served)} == set(ids)


def test_a_prediction_is_found_moved_or_not(served: Workspace) -> None:
    (prediction_id,) = write(served, 1)
    before = find_prediction(served, prediction_id)
    assert before is not None
    assert before["version"] == 1
    move_segments(served)
    assert find_prediction(served, prediction_id) == before
    assert find_prediction(served, IdSource().next(now())) is None


def test_ground_truth_that_is_sent_again_is_kept_once(served: Workspace) -> None:
    ids = write(served, 3)

    def send(*rows: tuple[str, float, int]) -> None:
        log = TruthLog(served.log_folder)
        for prediction_id, label, moment in rows:
            log.append(Truth(prediction_id, "delays", label, moment, now()))
        log.journal.commit()
        log.journal.close()

    send((ids[0], 1.0, 100), (ids[0], 1.0, 100), (ids[1], 0.0, 200))
    report = move_segments(served)
    assert report.rows["ground_truth"] == 2
    send((ids[0], 1.0, 100), (ids[1], 1.0, 300), (ids[2], 1.0, 300))
    report = move_segments(served)
    assert (report.rows["ground_truth"], report.repeated) == (2, 1)
    found = Counter((row["prediction_id"], row["label"]) for row in moved(served, "ground_truth"))
    assert found == {(ids[0], 1.0): 1, (ids[1], 0.0): 1, (ids[1], 1.0): 1, (ids[2], 1.0): 1}


def test_a_damaged_segment_gives_what_is_whole_and_is_kept(served: Workspace) -> None:
    write(served, 5)
    path = segment_paths(served.log_folder / "predictions")[0]
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
    report = move_segments(served)
    assert len(report.damaged) == 1
    assert Path(report.damaged[0]).exists()
    assert 0 < len(moved(served)) < 6
    assert move_segments(served).damaged == ()


def test_two_movers_do_not_double_anything(served: Workspace) -> None:
    write(served, 40)
    failed: list[BaseException] = []

    def move() -> None:
        try:
            move_segments(Workspace.open(served.folder))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=move) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(moved(served)) == 40


MOVE = """
import sys
from bascule.history import Workspace
from bascule.serving import move_segments
print("begun", flush=True)
move_segments(Workspace.open(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_mover_killed_at_any_moment_loses_and_doubles_nothing(served: Workspace) -> None:
    generator = random.Random(5)
    total = 0
    for _ in range(8):
        total += len(write(served, 12))
        mover = subprocess.Popen([sys.executable, "-c", MOVE, str(served.folder)], stdout=subprocess.PIPE)
        assert mover.stdout is not None
        mover.stdout.readline()
        time.sleep(generator.random() * 0.25)
        os.kill(mover.pid, signal.SIGKILL)
        mover.wait()
        mover.stdout.close()
    move_segments(served)
    rows = [row["prediction_id"] for row in moved(served)]
    assert len(rows) == len(set(rows)) == total
