"""What holds for every command: one JSON document with --json, tables that people can read, no odd options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from bascule.cli.commands import COMMANDS, SERVERS
from bascule.cli.main import application, plain
from bascule.server.ports import free_port

Bascule = Callable[..., Any]

# How each command may be called on a project whose model serves; `{…}` is filled in by the test.
CALLS = {
    "status": "",
    "log": "-n 3",
    "branch": "trial",
    "switch": "trial",
    "diff": "main~1 main",
    "merge": "trial main",
    "cherry-pick": "main",
    "restore": "tables/orders --from main",
    "revert": "main",
    "tag": "v1",
    "init": "more --label late --into elsewhere",
    "ingest": "orders more/orders.csv",
    "table create": "late more/late.csv --key n",
    "table show": "late",
    "table append": "late --sql from_late_where_n<0",
    "table overwrite": "late --sql from_late",
    "table upsert": "late more/late.csv",
    "table delete": "late --where n=3",
    "table columns": "late --order late",
    "table layout": "late --partition size",
    "table rename": "late later",
    "table drop": "later",
    "files add": "photos more",
    "files status": "photos",
    "files diff": "photos main",
    "files checkout": "photos copy",
    "files list": "photos *.csv",
    "files cat": "photos orders.csv",
    "files remove": "photos",
    "contract suggest": "weather",
    "contract test": "orders",
    "contract show": "orders",
    "contract diff": "main~1 main",
    "contract import": "more/suite.json --table orders",
    "contract export": "orders --format dbt",
    "ci init": "github",
    "ci run": "--into main --output report",
    "ci ready": "trial main",
    "ci comment": "report/comment.md",
    "ci lint": "",
    "import feast": "feast --into imported",
    "features list": "",
    "features show": "weather",
    "features impact": "orders.minutes_late",
    "features select": "",
    "features materialise": "",
    "features skew": "",
    "features get": "weather --entity depot=north",
    "features sql": "orders --feature weather --prediction-time ordered_at --dialect snowflake",
    "features unused": "",
    "features duplicates": "",
    "stream run": "--once",
    "stream status": "",
    "stream replay": "clicks",
    "training-set get": "orders --feature weather --prediction-time ordered_at --name rainy",
    "training-set list": "",
    "training-set show": "rainy",
    "training-set check": "rainy",
    "private budget": "orders --epsilon 1",
    "private ask": "orders count --epsilon 0.1",
    "private show": "",
    "pii scan": "orders",
    "pii show": "",
    "anonymise": "orders --quasi distance,weight",
    "contract history": "orders",
    "profile": "orders --against main --columns weight --columns order_id",
    "mock": "orders",
    "run": "",
    "run show": "last",
    "run compare": "last~1 last",
    "run diff": "last~1 last",
    "runs show": "last",
    "runs compare": "last~1 last",
    "runs diff": "last~1",
    "step run": "define",
    "plan": "",
    "why": "train",
    "track": "{python} -c print('hello')",
    "sync": "",
    "model list": "delays",
    "model show": "delays",
    "model compare": "delays 1",
    "model card": "delays --format html -o card.html",
    "model approve": "delays 1 --reason good",
    "model reject": "delays 1 --reason bad",
    "model alias": "delays champion 1",
    "model delete": "delays@1 --reason bad",
    "model restore": "delays@1",
    "model scan": "delays",
    "model trust": "delays --reason ours",
    "model distrust": "delays --reason not_ours",
    "model retry": "",
    "model sign": "delays",
    "model verify": "delays",
    "optimize": "delays --keep --seconds 0.2 --batch-sizes 1,8 --candidates compiled --no-memory",
    "deploy": "",
    "rollback": "delays --yes",
    "deployment show": "delays",
    "deployment traffic": "delays 1=100",
    "deployment power": "delays --effect 0.02 --base 0.01",
    "preview": "",
    "promote": "delays",
    "advance": "delays",
    "predict": "delays --example",
    "monitor": "",
    "token create": "ci",
    "token list": "",
    "token revoke": "ci",
    "sql": "select_'nan'::double_as_x,_now()_as_t,_[1,2]_as_l",
    "runs": "",
    "models": "delays production",
    "explain": "{prediction}",
    "reproduce": "delays",
    "audit verify": "",
    "audit log": "",
    "doctor": "--deep",
    "compact": "",
    "gc": "--dry-run",
    "retention": "",
    "retention set": "main --keep 90d",
    "retention remove": "main",
    "retention unnamed": "7d",
    "hold add": "tables/orders --reason drill",
    "hold list": "",
    "hold remove": "tables/orders",
    "import mlflow": "mlruns",
    "migrate": "--to-storage moved --dry-run",
    "export": "plain --all",
    "forget": "orders order_id=p1 --dry-run",
}
# These ask for another state than the one that the others leave.
REFUSED = {"model trust": 2, "model distrust": 2, "promote": 2, "advance": 2, "ci comment": 2}
REFUSED |= {"model delete": 2, "model restore": 2}  # it is in service, and so not deleted
REFUSED |= {"stream run": 2, "stream replay": 2}  # the project has none


def words() -> Iterator[tuple[str, App]]:
    """Yield every command with the words that call it."""
    app = application()
    for name in COMMANDS:
        command = app[name]
        if command.default_command:
            yield name, command
        for below in command:
            if not below.startswith("-"):
                yield f"{name} {below}", command[below]


@pytest.fixture
def serving(trained: Path, bascule: Bascule) -> dict[str, str]:
    """The project with a version in service and one answer; returns what stands for `{…}` in a call."""
    assert bascule("deploy").code == 0
    (trained / "more").mkdir()
    head, row, *_ = (trained / "data" / "orders").glob("*.csv").__next__().read_text("utf-8").splitlines()
    rows = [",".join([f"new{n}", *row.split(",")[1:]]) for n in range(50)]
    (trained / "more" / "orders.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    (trained / "elsewhere").mkdir()
    late = [f"{n},{n % 7},{n % 3 == 0}" for n in range(300)]
    (trained / "more" / "late.csv").write_text("\n".join(["n,size,late", *late]) + "\n", encoding="utf-8")
    suite = '{"name": "s", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "n"}}]}'
    (trained / "more" / "suite.json").write_text(suite, encoding="utf-8")
    (trained / "feast").mkdir()
    (trained / "feast" / "feature_store.yaml").write_text("project: drivers\n", encoding="utf-8")
    (trained / "mlruns" / "0").mkdir(parents=True)
    (trained / "mlruns" / "0" / "meta.yaml").write_text("experiment_id: '0'\nname: Default\n", encoding="utf-8")
    answer = bascule("predict", "delays", "--example", "--json").json()
    return {"python": sys.executable, "prediction": answer["prediction_id"]}


def test_every_command_is_called_here() -> None:
    assert {name for name, _ in words()} == {*CALLS, *SERVERS}


@pytest.mark.slow
def test_every_command_prints_one_document(serving: dict[str, str], bascule: Bascule) -> None:
    for name, call in CALLS.items():
        arguments = [
            one.replace("_", " ") if name == "sql" or one.startswith("from_") else one
            for one in call.format(**serving).split()
        ]
        said = bascule(*name.split(), "--json", *arguments)
        document = json.loads(said.out, parse_constant=pytest.fail)  # NaN is not JSON
        assert said.code == REFUSED.get(name, 0), (name, said)
        assert isinstance(document, dict | list), name
        assert ("hint" in document) == (name in REFUSED), name


@pytest.mark.slow
def test_every_mistake_is_one_document_too(serving: dict[str, str], bascule: Bascule) -> None:
    for name, _ in words():
        said = bascule(*name.split(), "--json", "--no-such-option")
        if name == "track":  # the command that it runs may have any option
            continue
        assert said.code == 2, name
        assert said.json()["error"].startswith("Unknown option"), name


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_prints_one_document_when_it_answers(name: str, trained: Path) -> None:
    port = free_port("127.0.0.1", with_next=True)
    command = [sys.executable, "-m", "bascule", name, "--json", "--port", str(port)]
    with subprocess.Popen(command, cwd=trained, stdout=subprocess.PIPE, text=True, env={**os.environ}) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline()]
        while not _is_document("".join(lines)):
            lines.append(server.stdout.readline())
            assert lines[-1], "".join(lines)
        server.send_signal(signal.SIGTERM)
        assert "url" in json.loads("".join(lines) + server.stdout.read())
        assert server.wait(30) == 0


def _is_document(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


@pytest.mark.slow
def test_nothing_prints_a_python_object(serving: dict[str, str], bascule: Bascule) -> None:
    for name, call in CALLS.items():
        arguments = [
            one.replace("_", " ") if name == "sql" or one.startswith("from_") else one
            for one in call.format(**serving).split()
        ]
        said = bascule(*name.split(), *arguments)
        text = said.out.replace("print('hello')", "")
        assert said.code == REFUSED.get(name, 0), (name, said)
        for sign in ("{'", "('", "['", "None", "datetime.", "Struct("):
            assert sign not in text, (name, said.out)


@pytest.mark.slow
def test_every_option_is_explained_and_none_is_odd() -> None:
    for name, command in words():
        for argument in command.assemble_argument_collection(default_parameter=plain(), parse_docstring=True):
            if argument.show:
                assert argument.parameter.help, f"bascule {name}: {argument.name} is not explained"
                assert not [one for one in argument.names if one.startswith("--empty")], name


@pytest.mark.slow
def test_a_count_is_a_whole_number_within_bounds(parcels: Path, bascule: Bascule) -> None:
    asked = []
    for name, command in words():
        for argument in command.assemble_argument_collection(default_parameter=plain(), parse_docstring=True):
            if argument.hint is not int:
                continue
            needs = name in ("diff", "anonymise", "profile", "mock", "contract test", "optimize")
            needs = needs or name.startswith(("files", "pii", "private", "training-set"))
            call = CALLS[name].split() if needs else ["select 1"] if name == "sql" else []
            for option in argument.names:
                if option in call:
                    del call[call.index(option) : call.index(option) + 2]
                for count in ("-1", "1.5", "99999999999999999999", "9" * 500, "1e3", "many"):
                    said = bascule(*name.split(), option, count, *call)
                    assert said.code == 2, (name, option, said)
                    assert count[:40] in said.err, (name, option, said)
                    assert "whole number from" in said.err, (name, option, said)
                    assert said.out == "", (name, option, said)
                asked.append((name, option))
    assert {("log", "-n"), ("diff", "--rows"), ("audit log", "--limit"), ("up", "--port")} <= set(asked)


@pytest.mark.parametrize("command", ["log", "runs", "audit log"])
def test_a_list_of_nothing_is_refused(command: str, parcels: Path, bascule: Bascule) -> None:
    said = bascule(*command.split(), "-n", 0)
    assert (said.code, said.out) == (2, "")
    assert "is not a whole number from 1 to" in said.err


@pytest.mark.slow
def test_a_comparison_may_show_no_rows(serving: dict[str, str], bascule: Bascule) -> None:
    assert bascule("ingest", "orders", "more/orders.csv").code == 0
    for rows in (0, 2):
        (table,) = bascule("diff", "main~1", "--path", "tables/orders", "--rows", rows, "--json").json()
        assert len(table["sample"]) == rows
