"""A unit keeps its version: in every process, over HTTP and gRPC, and as documented so that others can compute it."""

from __future__ import annotations

import json
import urllib.request
from hashlib import blake2b

import pytest

from bascule.delivery import deploy, read_deployment
from bascule.history import Workspace
from bascule.project.querying import query
from bascule.serving import Split
from tests.protocols.openinference.conftest import Served, Worker, serving, worker
from tests.serving.conftest import flights

triton = pytest.importorskip("tritonclient.grpc")

UNITS = [f"customer {n}" for n in range(60)]
GOAL = {"goal": {"measure": "outcome"}}


def over_http(port: int, unit: str) -> int:
    body = json.dumps({"instances": flights(1, seed=4).to_pylist(), "unit": unit}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/delays/predict", body, timeout=20) as answer:
        return int(json.load(answer)["model_version"])


def over_grpc(port: int, units: list[str]) -> list[int]:
    from tests.protocols.openinference.test_grpc import inputs_of

    inputs = inputs_of(flights(1, seed=4))
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        found = [client.infer("delays", inputs, parameters={"unit": unit}).get_response() for unit in units]
    return [int(one.model_version) for one in found]


def by_hand(salt: str, unit: str, share: int) -> int:
    """The hash of docs/delivery.md, written down once more."""
    key = blake2b(salt.encode(), digest_size=16).digest()
    place = int.from_bytes(blake2b(unit.encode(), digest_size=8, salt=key).digest(), "little") & (2**63 - 1)
    return 2 if place % 10_000 < share * 100 else 1


@pytest.mark.slow
def test_a_unit_has_one_version_in_every_process_over_http_and_grpc(served: Workspace) -> None:
    served.history.commit("main", {"deployments/delays": None}, message="Begin anew")
    deploy(served, "main", "delays", "delays", 1, strategy="all_at_once", by="ann")
    deploy(served, "main", "delays", "delays", 2, strategy="ab", plan=GOAL | {"share": 40}, by="ann")
    held = read_deployment(served, "main", "delays")
    split = Split(held)
    expected = [split.arm(unit).version for unit in UNITS]
    assert 10 < expected.count(2) < 40
    assert [by_hand(held["rollout"]["id"], unit, 40) for unit in UNITS] == expected

    def asked(process: Worker) -> tuple[list[int], list[int]]:
        return [over_http(process.port, unit) for unit in UNITS], over_grpc(process.grpc_port, UNITS)

    with worker(served.folder) as first, worker(served.folder) as second:
        assert asked(first) == asked(second) == (expected, expected)
    with worker(served.folder) as again:
        assert [over_http(again.port, unit) for unit in UNITS] == expected
    rows = query(served, "select unit, count(distinct version) as n, count(*) as asked from predictions group by unit")
    assert len(rows) == len(UNITS)
    assert {(row["n"], row["asked"]) for row in rows} == {(1, 5)}


@pytest.mark.parametrize(("strategy", "answers", "unseen"), [("shadow", 1, 2), ("blue_green", 2, 1)])
def test_one_answers_and_the_other_is_asked_unseen(
    local_workspace: Workspace, strategy: str, answers: int, unseen: int
) -> None:
    from tests.serving.conftest import bundle_bytes, put_versions

    ws = local_workspace
    put_versions(ws, {1: bundle_bytes(seed=0), 2: bundle_bytes(seed=1)})
    deploy(ws, "main", "delays", "delays", 1, strategy="all_at_once", by="ann")
    deploy(ws, "main", "delays", "delays", 2, strategy=strategy, by="ann")
    found: Served
    with serving(ws) as found:
        assert {over_http(found.port, unit) for unit in UNITS[:5]} == {answers}
        rows = query(ws, "select version, arm, shadow, probability from predictions")
    assert len(rows) == 5
    for row in rows:
        told = json.loads(row["shadow"])
        assert (row["version"], told["version"], row["probability"]) == (answers, unseen, 1.0)
        assert told["latency_us"] >= 0
