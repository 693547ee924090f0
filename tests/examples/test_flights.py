"""The demo's story, told to its end as `make demo ARGS=--exit` tells it, and what is in the records afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule.server.ports import free_port

DEMO = Path(__file__).parents[2] / "examples" / "flights" / "demo.py"
JULY_TO_SEPTEMBER = 29_428 + 29_381 + 27_529

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


class Told:
    """The demo's project after the demo, and what it printed."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.text = folder, text

    def bascule(self, *words: str) -> Any:
        """Run a command there and return its document."""
        done = subprocess.run(
            [sys.executable, "-m", "bascule", *words, "--json"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Ask the records and the lake."""
        return list(self.bascule("sql", sql))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story is told once."""
    folder = tmp_path_factory.mktemp("story") / "flights"
    done = subprocess.run(
        [
            sys.executable,
            str(DEMO),
            "--exit",
            "--folder",
            str(folder),
            "--port",
            str(free_port("127.0.0.1", with_next=True)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Told(folder, done.stdout)


def test_every_answer_was_kept_once_and_the_outcomes_followed(told: Told) -> None:
    (found,) = told.ask(
        "select count(*) as rows, count(distinct prediction_id) as ids from predictions where event_time < '2013-10-01'"
    )
    assert found["rows"] == found["ids"] >= JULY_TO_SEPTEMBER
    (outcomes,) = told.ask("select count(distinct prediction_id) as known from ground_truth")
    assert outcomes["known"] > 0.95 * JULY_TO_SEPTEMBER


def test_the_versions_came_and_went_as_the_story_says(told: Told) -> None:
    actions = [row["action"] for row in told.ask("select action from rollouts where action <> 'hold' order by at")]
    assert actions == ["deploy", "start", "promote", "start", "rollback", "rollback"]
    (job,) = told.ask("select status, reason from jobs where kind = 'retrain'")
    assert job["status"] == "done"
    assert "quality.auc < training.auc - 0.03" in job["reason"]
    shares = told.ask("select version, arm, count(*) as n from predictions group by all")
    canaries = {row["version"]: row["n"] for row in shares if row["arm"] == "canary"}
    assert set(canaries) == {2, 3}
    assert max(canaries.values()) < 0.2 * JULY_TO_SEPTEMBER / 3


def test_the_broken_batch_left_nothing(told: Told) -> None:
    (found,) = told.ask("select count(*) as rows, max(distance) as longest from flights")
    assert found["longest"] < 6_000
    assert found["rows"] == 166_158 + 29_425 + 29_327 + 27_574
    assert "key is unique" in told.text
    assert "distance is in miles" in told.text


def test_one_answer_is_explained_and_its_model_made_again(told: Told) -> None:
    for link in (
        "prediction ",
        "truth ",
        "deployment ",
        "model ",
        "gates ",
        "run ",
        "code ",
        "training set ",
        "people",
    ):
        assert link in told.text
    assert "Identical: delays version 1 came out byte for byte" in told.text
    assert "manual rollback" in told.text


def test_everything_is_whole(told: Told) -> None:
    assert "The audit log is whole" in told.text
    assert told.bascule("doctor")["ok"]
