"""References between the objects of a branch, as `bascule doctor` looks at them."""

from __future__ import annotations

from typing import Any

from bascule.history import Workspace
from bascule.project.caring import Finding, examine

WAITS = "deployments/delays: version 4 of models/delays waits to be rolled out, and is not there"
DEPLOYMENT = {
    "kind": "deployment",
    "name": "delays",
    "model": "delays",
    "traffic": [{"version": 2, "weight": 100}],
    "rollout": None,
    "trail": [],
    "revision": 3,
}


def looked(workspace: Workspace) -> list[Finding]:
    return [found for found in examine(workspace) if found.subject == "references"]


def test_what_leads_nowhere_is_named(local_workspace: Workspace) -> None:
    history, store = local_workspace.history, local_workspace.store
    version = {"version": 1, "artifact": store.put(b"a model"), "card": None}
    model: dict[str, Any] = {"kind": "model", "name": "delays", "versions": {"1": version}, "aliases": {}}
    history.commit("main", {"models/delays": model}, message="Register version 1")
    assert [found.level for found in looked(local_workspace)] == ["ok"]

    history.create_branch("dev")
    broken = model | {"versions": {"1": version | {"card": "c" * 64}}, "aliases": {"production": 5}}
    contract = {"kind": "contract", "table": "orders", "text": ""}
    view = {"kind": "feature_view", "name": "rain", "sql": "with w as (select * from weather) select * from w"}
    changes = {"models/delays": broken, "deployments/delays": DEPLOYMENT | {"waits": 4}}
    history.commit("dev", changes | {"contracts/orders": contract, "features/rain": view}, message="Break it")
    history.create_branch("dev2", "dev")
    found = looked(local_workspace)
    assert [(one.level, one.message.partition(";")[0]) for one in found] == [
        ("note", "on dev, dev2: contracts/orders is about tables/orders, which is not there"),
        ("damage", "on dev, dev2: deployments/delays serves version 2 of models/delays, which is not there"),
        (
            "note",
            f"on dev, dev2: {WAITS}",
        ),
        ("note", "on dev, dev2: features/rain is about tables/weather, which is not there"),
        ("damage", "on dev, dev2: models/delays: the card cccccccccccccccc of version 1 is missing"),
        ("damage", "on dev, dev2: models/delays: production is version 5, which is not there"),
    ]
