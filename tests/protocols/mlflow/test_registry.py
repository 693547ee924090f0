"""The registry over the wire: the models of a branch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bascule.catalog import schema
from bascule.delivery.traffic import out_of_service, planned
from bascule.errors import CheckFailed
from bascule.history import Workspace
from bascule.project import deleting
from bascule.project.collecting import collect
from bascule.project.deleting import restore
from bascule.registry import list_models
from bascule.registry.deletions import deleted
from bascule.server.tokens import create_token, list_tokens
from tests.project.test_deleting import wait
from tests.protocols.mlflow.conftest import Api


def rows(ws: Workspace, table: str) -> list[dict[str, Any]]:
    with ws.catalog.read() as conn:
        return [row._asdict() for row in conn.execute(schema.metadata.tables[table].select())]


def logged(api: Api, run: str) -> str:
    body = {"experiment_id": "0", "name": "model", "source_run_id": run}
    return str(api("POST", "logged-models", body)["model"]["info"]["model_id"])


@pytest.fixture
def registered(api: Api) -> Api:
    """An API with a model of two versions."""
    api("POST", "registered-models/create", {"name": "delays", "description": "late?"})
    for _ in range(2):
        run = api.run()
        model = logged(api, run)
        body = {"name": "delays", "source": f"models:/{model}", "model_id": model, "run_id": run}
        api("POST", "model-versions/create", body)
    return api


def test_a_registered_model_is_one_of_the_branch(registered: Api, local_workspace: Workspace) -> None:
    assert [(one.name, one.versions) for one in list_models(local_workspace, "main")] == [("delays", (2, 1))]
    found = registered("GET", "registered-models/get", name="delays")["registered_model"]
    assert (found["description"], [one["version"] for one in found["latest_versions"]]) == ("late?", ["2"])
    version = registered("GET", "model-versions/get", name="delays", version="1")["model_version"]
    assert (version["status"], version["current_stage"]) == ("READY", "None")
    uri = registered("GET", "model-versions/get-download-uri", name="delays", version="1")["artifact_uri"]
    assert uri == f"mlflow-artifacts:/0/models/{version['model_id']}/artifacts"


def test_branches_have_their_own_models_and_one_count(registered: Api, local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("dev")
    dev = Api(registered.http, "/branch/dev")
    run = dev.run()
    model = logged(dev, run)
    made = dev("POST", "model-versions/create", {"name": "delays", "source": f"models:/{model}", "model_id": model})
    assert made["model_version"]["version"] == "3"
    assert registered.refusal("GET", "model-versions/get", name="delays", version="3")[0] == 404
    local_workspace.history.merge("dev", "main")
    assert registered("GET", "model-versions/get", name="delays", version="3")["model_version"]["run_id"] == run
    local_workspace.history.revert("main")
    assert registered.refusal("GET", "model-versions/get", name="delays", version="3")[0] == 404


def test_a_version_that_is_none_and_a_source_that_is_anothers(registered: Api) -> None:
    moved = {"name": "delays", "version": "two", "stage": "Production", "archive_existing_versions": True}
    registered("POST", "model-versions/transition-stage", {**moved, "version": "1"})
    status, _, message = registered.refusal("POST", "model-versions/transition-stage", moved)
    assert (status, "must be an integer" in message) == (400, True)
    run = registered.run()
    body = {"name": "delays", "source": f"models:/{logged(registered, run)}"}
    for told in ({"model_id": logged(registered, run)}, {"run_link": "x" * 3000}):
        assert registered.refusal("POST", "model-versions/create", {**body, **told})[0] == 400
    prompt = {"name": "delays", "source": "x" * 3000, "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}
    assert registered.refusal("POST", "model-versions/create", prompt)[0] == 400


def test_what_is_served_is_neither_deleted_nor_renamed(registered: Api, local_workspace: Workspace) -> None:
    served = {**planned("late", "delays", "canary", {}), "traffic": [{"version": 2, "weight": 100}]}
    local_workspace.history.commit("main", {"deployments/late": served}, message="Deploy")
    for method, path, body in (
        ("DELETE", "model-versions/delete", {"name": "delays", "version": "2"}),
        ("DELETE", "registered-models/delete", {"name": "delays"}),
        ("POST", "registered-models/rename", {"name": "delays", "new_name": "other"}),
    ):
        status, code, message = registered.refusal(method, path, body)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
        assert "deployments/late on main serves it with 100 % of its traffic" in message
        assert "deploy another one: bascule deploy late VERSION" in message
    registered("DELETE", "model-versions/delete", {"name": "delays", "version": "1"})
    local_workspace.history.commit("main", {"deployments/late": out_of_service(served)}, message="End it")
    registered("DELETE", "registered-models/delete", {"name": "delays"})


@pytest.mark.slow
def test_on_a_protected_branch_only_who_may_deploy_takes_a_model_or_says_which_to_use(
    registered: Api, serve: Callable[..., Api], local_workspace: Workspace
) -> None:
    local_workspace.history.create_branch("dev")
    secrets = {role: create_token(local_workspace.catalog, role, role)[1] for role in ("writer", "deployer")}
    http = serve(require_tokens=True).http

    def as_role(role: str, below: str = "") -> Api:
        return Api(http, below, headers={"authorization": f"Bearer {secrets[role]}"})

    writer, version = as_role("writer"), {"name": "delays", "version": "2"}
    for method, path, body in (
        ("DELETE", "model-versions/delete", version),
        ("DELETE", "registered-models/delete", {"name": "delays"}),
        ("POST", "registered-models/rename", {"name": "delays", "new_name": "other"}),
        ("POST", "registered-models/alias", {"name": "delays", "alias": "champion", "version": "1"}),
        ("DELETE", "registered-models/alias", {"name": "delays", "alias": "champion"}),
        ("POST", "model-versions/transition-stage", {"name": "delays", "version": "1", "stage": "Production"}),
    ):
        assert writer.refusal(method, path, body)[:2] == (403, "PERMISSION_DENIED")
    assert len(registered("GET", "model-versions/search")["model_versions"]) == 2
    writer("POST", "registered-models/create", {"name": "hers"})  # to add is what training does
    as_role("writer", "/branch/dev")("DELETE", "model-versions/delete", version)
    as_role("writer", "/branch/dev")(
        "POST", "registered-models/alias", {"name": "delays", "alias": "a", "version": "1"}
    )
    as_role("deployer")("POST", "registered-models/alias", {"name": "delays", "alias": "a", "version": "1"})
    as_role("deployer")("DELETE", "model-versions/delete", version)
    assert [one.name for one in deleted(local_workspace, "main")] == ["delays@2"]


def test_what_a_client_deletes_from_a_protected_branch_passes_its_checks(
    registered: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise CheckFailed("The project asks for a review.", hint="Merge it.")

    monkeypatch.setattr(deleting, "admission", lambda *_: refuse)
    status, _, message = registered.refusal("DELETE", "model-versions/delete", {"name": "delays", "version": "2"})
    assert (status, "asks for a review" in message) == (400, True)
    assert len(registered("GET", "model-versions/search")["model_versions"]) == 2


def test_a_name_with_an_at_sign_is_one_name(registered: Api, local_workspace: Workspace) -> None:
    registered("POST", "registered-models/create", {"name": "delays@1"})
    registered("DELETE", "registered-models/delete", {"name": "delays@1"})
    assert deleted(local_workspace, "main") == []
    assert len(registered("GET", "model-versions/search")["model_versions"]) == 2


def test_a_renamed_model_goes_on_counting(registered: Api, local_workspace: Workspace) -> None:
    def version(model: str) -> str:
        body = {"name": model, "source": f"models:/{logged(registered, registered.run())}"}
        return str(registered("POST", "model-versions/create", body)["model_version"]["version"])

    registered("DELETE", "model-versions/delete", {"name": "delays", "version": "2"})
    registered("POST", "registered-models/rename", {"name": "delays", "new_name": "lateness"})
    first = registered("GET", "model-versions/get", name="lateness", version="1")
    assert version("lateness") == "3"  # neither the first, which is there, nor the second, which was
    assert registered("GET", "model-versions/get", name="lateness", version="1") == first
    recorded = {(row["model"], row["version"]) for row in rows(local_workspace, "model_versions")}
    assert recorded == {("delays", 1), ("delays", 2), ("lateness", 1), ("lateness", 2), ("lateness", 3)}

    registered("POST", "registered-models/create", {"name": "delays"})
    assert version("delays") == "3"
    registered("POST", "registered-models/rename", {"name": "lateness", "new_name": "late"})
    status, code, _ = registered.refusal("POST", "registered-models/rename", {"name": "delays", "new_name": "lateness"})
    assert (status, code) == (400, "RESOURCE_ALREADY_EXISTS")  # lateness@3 was another one


def test_a_token_or_a_runs_tag_chooses_the_branch(
    registered: Api, serve: Callable[..., Api], local_workspace: Workspace
) -> None:
    local_workspace.history.create_branch("dev")
    local_workspace.history.create_branch("other")
    tagged = registered.run(tags=[{"key": "bascule.branch", "value": "dev"}])

    def version(api: Api) -> str:
        body = {"name": "delays", "source": f"models:/{logged(api, tagged)}"}
        return str(api("POST", "model-versions/create", body)["model_version"]["version"])

    def has(branch: str, number: str) -> bool:
        return number in local_workspace.history.get(branch, "models/delays")["versions"]

    first = version(registered)
    assert (has("dev", first), has("main", first)) == (True, False)
    second = version(Api(registered.http, "/branch/main"))  # what the address says is said
    assert (has("dev", second), has("main", second)) == (False, True)

    _, secret = create_token(local_workspace.catalog, "ana", "writer", branch="other")
    ana = Api(serve(require_tokens=True).http, headers={"authorization": f"Bearer {secret}"})
    ana("POST", "registered-models/create", {"name": "hers"})
    assert local_workspace.history.read("other", "models/hers") is not None
    assert local_workspace.history.read("main", "models/hers") is None
    assert ana("GET", "runs/get", run_id=(run := ana.run()))["run"]["info"]["run_id"] == run
    assert {one["id"]: one["branch"] for one in rows(local_workspace, "runs")}[run] == "other"
    ana.below = "/branch/main"
    assert ana.refusal("GET", "registered-models/get", name="hers")[0] == 404
    assert [one.branch for one in list_tokens(local_workspace.catalog)] == ["other"]


def test_names_are_taken_once_and_may_have_spaces(api: Api, local_workspace: Workspace) -> None:
    for name in ("my model", "1st", "naïve~x", "A.b-c_d"):
        api("POST", "registered-models/create", {"name": name})
        refused = api.refusal("POST", "registered-models/create", {"name": name})
        assert refused[:2] == (400, "RESOURCE_ALREADY_EXISTS")
        assert api("GET", "registered-models/get", name=name)["registered_model"]["name"] == name
    assert len(list_models(local_workspace, "main")) == 4
    for name in ("a/b", "a:b", " ", "..", "x" * 300):
        assert api.refusal("POST", "registered-models/create", {"name": name})[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert api.refusal("GET", "registered-models/get", name="my modle")[2].count("'my model'") == 1


def test_aliases(registered: Api) -> None:
    registered("POST", "registered-models/alias", {"name": "delays", "alias": "champion", "version": "1"})
    registered("POST", "registered-models/alias", {"name": "delays", "alias": "champion", "version": "2"})
    found = registered("GET", "registered-models/alias", name="delays", alias="champion")["model_version"]
    assert (found["version"], found["aliases"]) == ("2", ["champion"])
    assert (
        registered("GET", "registered-models/alias", name="delays", alias="latest")["model_version"]["version"] == "2"
    )
    for _ in range(2):
        registered("DELETE", "registered-models/alias", {"name": "delays", "alias": "champion"})
    status, code, message = registered.refusal("GET", "registered-models/alias", name="delays", alias="champion")
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message.startswith("Registered model alias champion not found.")
    for alias in ("latest", "V2", "a b", "x" * 256):
        body = {"name": "delays", "alias": alias, "version": "1"}
        assert registered.refusal("POST", "registered-models/alias", body)[0] == 400
    body = {"name": "delays", "alias": "ok", "version": "9"}
    assert registered.refusal("POST", "registered-models/alias", body)[0] == 404


def test_stages(registered: Api) -> None:
    move: dict[str, Any] = {"name": "delays", "version": "1", "stage": "production"}
    found = registered("POST", "model-versions/transition-stage", move)["model_version"]
    assert found["current_stage"] == "Production"
    move |= {"version": "2", "archive_existing_versions": True}
    registered("POST", "model-versions/transition-stage", move)
    stages = registered("POST", "registered-models/get-latest-versions", {"name": "delays"})["model_versions"]
    assert {one["version"]: one["current_stage"] for one in stages} == {"1": "Archived", "2": "Production"}
    asked = {"name": "delays", "stages": ["Production"]}
    assert len(registered("POST", "registered-models/get-latest-versions", asked)["model_versions"]) == 1
    assert registered.refusal("POST", "model-versions/transition-stage", {**move, "stage": "Done"})[0] == 400
    assert registered.refusal("POST", "model-versions/transition-stage", {**move, "stage": "Archived"})[0] == 400


def test_versions_that_go_and_numbers_that_stay(registered: Api) -> None:
    registered("POST", "registered-models/alias", {"name": "delays", "alias": "champion", "version": "2"})
    registered("DELETE", "model-versions/delete", {"name": "delays", "version": "2"})
    assert "aliases" not in registered("GET", "registered-models/get", name="delays")["registered_model"]
    run = registered.run()
    model = logged(registered, run)
    body = {"name": "delays", "source": f"models:/{model}", "model_id": model}
    assert registered("POST", "model-versions/create", body)["model_version"]["version"] == "3"
    renamed = registered("POST", "registered-models/rename", {"name": "delays", "new_name": "lateness"})
    assert renamed["registered_model"]["name"] == "lateness"
    assert len(registered("GET", "model-versions/search", filter="name = 'lateness'")["model_versions"]) == 2
    registered("DELETE", "registered-models/delete", {"name": "lateness"})
    assert registered.refusal("GET", "registered-models/get", name="lateness")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def test_tags_and_searches(registered: Api) -> None:
    registered("POST", "registered-models/set-tag", {"name": "delays", "key": "team", "value": "ops"})
    registered("POST", "model-versions/set-tag", {"name": "delays", "version": "1", "key": "k", "value": "v"})
    registered(
        "POST",
        "registered-models/create",
        {"name": "ask", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
    )
    names = [one["name"] for one in registered("GET", "registered-models/search")["registered_models"]]
    assert names == ["delays"]
    prompts = registered("GET", "registered-models/search", filter="tags.`mlflow.prompt.is_prompt` = 'true'")
    assert [one["name"] for one in prompts["registered_models"]] == ["ask"]
    assert registered("GET", "registered-models/search", filter="tags.team = 'other'") == {}
    found = registered("GET", "model-versions/search", filter="tags.k = 'v' and version_number < 2")["model_versions"]
    assert [one["version"] for one in found] == ["1"]
    ordered = registered("GET", "model-versions/search", order_by="version_number ASC", max_results=1)
    assert [one["version"] for one in ordered["model_versions"]] == ["1"]
    more = registered(
        "GET", "model-versions/search", order_by="version_number ASC", page_token=ordered["next_page_token"]
    )
    assert [one["version"] for one in more["model_versions"]] == ["2"]
    registered("DELETE", "registered-models/delete-tag", {"name": "delays", "key": "none"})
    assert registered.refusal("GET", "registered-models/search", filter="owner = 'x'")[0] == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "//proc/self/root",
        "..\\..\\x",
        "C:\\x",
        "http://127.0.0.1/api/2.0/mlflow-artifacts/artifacts/../../etc",
        "s3://bucket/x",
        "dbfs:/x",
        "mlflow-artifacts:/0/RUN/artifacts/../../..",
        "mlflow-artifacts:/0/RUN/artifacts/%2e%2e/%2e%2e/x",
        "mlflow-artifacts:/0/OTHER/artifacts/model",
        "mlflow-artifacts://evil.example/0/RUN/artifacts",
        "runs:/OTHER/model",
        "runs:/RUN/../../x",
        "models:/m-none",
    ],
)
def test_a_source_that_the_request_does_not_own_is_refused(registered: Api, source: str) -> None:
    run, other = registered.run(), registered.run()
    text = source.replace("RUN", run).replace("OTHER", other)
    for tags in ([], [{"key": "mlflow.prompt.is_prompt", "value": "true"}]):
        body = {"name": "delays", "source": text, "run_id": run, "tags": tags}
        status, code, _ = registered.refusal("POST", "model-versions/create", body)
        assert status in (400, 404)
        assert code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
    assert len(registered("GET", "model-versions/search")["model_versions"]) == 2
    own = {"name": "delays", "source": f"mlflow-artifacts:/0/{run}/artifacts/model", "run_id": run}
    assert registered("POST", "model-versions/create", own)["model_version"]["version"] == "3"


def test_a_version_is_copied_to_another_model_as_clients_copy_it(registered: Api, local_workspace: Workspace) -> None:
    """As `MlflowClient.copy_model_version` does: the source is the version, by its name."""
    first = registered("GET", "model-versions/get", name="delays", version="1")["model_version"]
    registered("POST", "registered-models/create", {"name": "m-late"})
    body = {"name": "m-late", "source": "models:/delays/1", "run_id": first["run_id"], "model_id": first["model_id"]}
    made = registered("POST", "model-versions/create", body)["model_version"]
    assert (made["name"], made["version"], made["run_id"]) == ("m-late", "1", first["run_id"])
    places = {
        registered("GET", "model-versions/get-download-uri", name=name, version="1")["artifact_uri"]
        for name in ("delays", "m-late")
    }
    assert len(places) == 1
    again = registered("POST", "model-versions/create", {"name": "delays", "source": "models:/m-late/1"})
    assert again["model_version"].get("model_id", "") == ""
    for wrong, code in (
        ({"source": "models:/delays/9"}, 404),
        ({"source": "models:/none/1"}, 404),
        ({"run_id": "x"}, 400),
    ):
        assert registered.refusal("POST", "model-versions/create", {**body, **wrong})[0] == code


def test_what_a_client_deleted_is_restored_and_later_freed_with_its_run(
    registered: Api, local_workspace: Workspace
) -> None:
    ws = local_workspace
    run = registered("GET", "model-versions/get", name="delays", version="1")["model_version"]["run_id"]
    registered("DELETE", "model-versions/delete", {"name": "delays", "version": "1"})
    (one,) = deleted(ws, "main")
    assert (one.name, one.reason) == ("delays@1", "a client of the registry asked for it")
    status, _, message = registered.refusal("GET", "model-versions/get", name="delays", version="1")
    assert (status, "was deleted" in message) == (404, True)
    restore(ws, "main", "delays@1")
    assert registered("GET", "model-versions/get", name="delays", version="1")["model_version"]["run_id"] == run
    registered("DELETE", "registered-models/delete", {"name": "delays"})
    assert [one.name for one in deleted(ws, "main")] == ["delays@2", "delays@1"]
    assert restore(ws, "main", "delays@2").versions == (2,)
    described = registered("GET", "registered-models/get", name="delays")["registered_model"]
    assert described["description"] == "late?"
    registered("POST", "runs/delete", {"run_id": run})
    wait(ws)
    assert collect(ws, grace=0).versions == ("delays@1",)
    assert registered.refusal("GET", "runs/get", run_id=run)[0] == 404
