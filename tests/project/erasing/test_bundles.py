"""Bundles of models that hold a forgotten subject: the policy decides, and they go when nothing needs them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from bascule.catalog import audit
from bascule.catalog.schema import audit as audit_table
from bascule.catalog.schema import jobs, settings
from bascule.errors import Expired, InputError, NotFound
from bascule.history import Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.project import withdrawing
from bascule.project.caring import examine
from bascule.project.collecting import collect
from bascule.project.forgetting import Forgetting, forget_subject
from bascule.project.sections import Forget
from bascule.registry.bundles import packed
from bascule.registry.withdrawals import KEY
from bascule.serving.loading import Loader
from bascule.training import Field, Output, Signature, TrainedModel, pack_model
from tests.project.erasing.world import traces

WHO = "zoë.quast@example.org"


def model(ws: Workspace, numbers: Sequence[int], production: int, **beside: Any) -> Object:
    """A model of which version 1 has the person in its bundle, its card and its graph; later ones do not."""
    versions = {}
    for n in numbers:
        bundle = ws.store.put(b"\x82\xa5magic\xff" + (WHO.encode() if n == 1 else b"nobody") + bytes([n]))
        card = ws.store.put(f"# Card {n}\n{WHO if n == 1 else 'nobody'} is an example".encode())
        versions[str(n)] = {"version": n, "artifact": bundle, "card": card, "training_set": "t", **beside}
    return {"kind": "model", "name": "mails", "versions": versions, "aliases": {"production": production}}


def serves(number: int) -> Object:
    return {"kind": "deployment", "name": "mails", "model": "mails", "traffic": [{"version": number, "weight": 100}]}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "ws")
    Lake(made).append("people", [{"email": WHO, "n": 1}, {"email": "bob@example.org", "n": 2}])
    made.history.commit("main", {"models/mails": model(made, [1], 1), "deployments/mails": serves(1)}, message="Serve")
    return made


def forget(ws: Workspace, policy: str | None = None, **options: Any) -> Forgetting:
    reason = options.pop("reason", "")
    asked = Forget(policy=policy, within="20d")  # type: ignore[arg-type]
    return forget_subject(ws, "people", {"email": WHO}, policy=asked, reason=reason, **options)


def bundle(ws: Workspace) -> str:
    return str(ws.history.get("main", "models/mails")["versions"]["1"]["artifact"])


def told(ws: Workspace) -> list[tuple[str, str]]:
    return [(one.level, one.message) for one in examine(ws) if one.subject == "models"]


def due_now(ws: Workspace) -> None:
    with ws.catalog.write() as conn:
        key = KEY + bundle(ws)
        note = json.loads(conn.execute(select(settings.c.value).where(settings.c.key == key)).scalar_one())
        conn.execute(update(settings).where(settings.c.key == key).values(value=json.dumps({**note, "due": 1})))


@pytest.mark.slow
def test_without_a_policy_nothing_changes(ws: Workspace) -> None:
    planned = forget(ws, dry_run=True)
    assert [one["models"] for one in planned.waiting] == [["mails@1"]]
    with pytest.raises(InputError, match=r"bundle of mails@1 holds the subject's values") as refused:
        forget(ws)
    assert "--withdraw" in refused.value.hint
    assert ws.history.get("main", "tables/people")["rows"] == 2
    with pytest.raises(InputError, match="names the subject"):
        forget(ws, "justify", reason=f"{WHO} may stay")


@pytest.mark.slow
def test_it_goes_when_the_retrained_one_ships(ws: Workspace, tmp_path: Path) -> None:
    old = bundle(ws)
    done = forget(ws, "retrain")
    assert (done.models, done.withdrawn, len(done.action["jobs"])) == (("mails@1",), (), 1)
    assert done.waiting[0]["why"] == "deployments/mails on main need it"
    assert told(ws) == [("note", f"the bundle of mails@1 holds a subject that was forgotten: {done.waiting[0]['why']}")]
    assert collect(ws).collected == ()
    ws.history.commit("main", {"models/mails": model(ws, [1, 2], 2), "deployments/mails": serves(2)}, message="Ship")
    ws.history.create_branch("late", "main~1")  # a branch on which the old one serves still needs it
    assert collect(ws).collected == ()
    ws.history.delete_branch("late", force=True)
    assert [(one.kind, one.table) for one in collect(ws, dry_run=True).collected] == [("withdrawn", "mails@1")]
    assert ws.store.has(old)
    assert "nothing needs it; `bascule gc` deletes it" in told(ws)[0][1].replace(", and nothing", "; nothing", 0)
    assert [(one.kind, one.table) for one in collect(ws).collected][-1] == ("withdrawn", "mails@1")
    assert (ws.store.has(old), told(ws)) == (False, [])
    assert all(one.level != "damage" for one in examine(ws, deep=True))
    with pytest.raises(Expired, match=r"bundle of mails@1 expired on .*: it held a subject that was forgotten"):
        Loader(ws, lambda branch: lambda text: None).load("mails", 1, old)  # type: ignore[arg-type, return-value]
    with pytest.raises(NotFound):
        packed(ws, "0" * 64)
    with ws.catalog.read() as conn:
        assert conn.execute(
            select(audit_table.c.subject).where(audit_table.c.action == "withdraw")
        ).scalars().all() == ["models/mails"]
        assert len(conn.execute(select(jobs.c.id)).all()) == 1
    again = forget(ws, "retrain")
    assert (again.withdrawn, again.waiting, again.models) == ((), (), ())
    ws.close()
    assert traces(tmp_path / "ws", WHO) == []


@pytest.mark.slow
def test_what_is_due_goes_and_what_is_late_is_told(ws: Workspace) -> None:
    done = forget(ws, "schedule")
    assert done.waiting[0]["due"] == done.action["due"]
    due_now(ws)
    assert told(ws)[0][0] == "damage"
    assert "was to be gone by 1970-01-01" in told(ws)[0][1]
    assert collect(ws).collected == ()  # nobody takes away what serves
    ws.history.commit("main", {"deployments/mails": None}, message="Serve nothing")
    assert [one.kind for one in collect(ws).collected][-1] == "withdrawn"


@pytest.mark.slow
def test_it_stays_for_a_reason_or_goes_at_once(ws: Workspace, tmp_path: Path) -> None:
    done = forget(ws, "justify", reason="the law of 1911")
    assert done.waiting[0]["why"] == "it stays: the law of 1911"
    ws.history.commit("main", {"deployments/mails": None}, message="Serve nothing")
    assert collect(ws).collected == ()
    assert "the law of 1911" in told(ws)[0][1]
    with ws.catalog.read() as conn:
        proof = conn.execute(select(audit_table.c.detail_json).where(audit_table.c.action == "forget")).scalars().all()
    assert json.loads(proof[-1])["waiting"][0]["reason"] == "the law of 1911"
    assert forget(ws, withdraw=True).withdrawn == ("mails@1",)
    assert traces(tmp_path / "ws", WHO) == []


@pytest.mark.slow
def test_what_proves_keeps_its_names_and_loses_the_value(ws: Workspace, tmp_path: Path) -> None:
    """Commits keep their ids, objects their digests, the audit chain its hashes; and any other change still shows."""
    text = {"kind": "contract", "table": "people", "text": f"# ask {WHO}\nkind: DataContract\n"}
    made = ws.history.commit("main", {"contracts/people": text}, message=f"For {WHO}", author=WHO, meta={"who": WHO})
    digest = ws.history.digest("main", "contracts/people")
    with ws.catalog.write() as conn:
        audit.append(conn, actor=WHO, action="look", subject=f"people/{WHO}", detail={"who": WHO, "n": 1})
    before = audit.verify(ws.catalog)
    done = forget(ws, withdraw=True)
    assert done.kept == ()
    ws.close()
    found = [name for name in traces(tmp_path / "ws", WHO) if "blobs" not in name]
    assert found == []

    ws = Workspace.open(tmp_path / "ws")
    assert ws.history.digest("main", "contracts/people") == digest
    assert ws.history.get("main", "contracts/people")["text"] == "# ask (forgotten)\nkind: DataContract\n"
    commit = ws.history.commit_by_id(made.id)
    assert (commit.message, commit.author, commit.meta["who"]) == ("For (forgotten)", "(forgotten)", "(forgotten)")
    after = audit.verify(ws.catalog)
    assert after.ok
    assert (before.redacted, after.redacted > 0) == (0, True)
    with ws.catalog.write() as conn:
        row = conn.execute(select(audit_table).where(audit_table.c.action == "look")).one()
        assert (row.actor, json.loads(row.detail_json)) == ("(forgotten)", {"n": 1, "who": "(forgotten)"})
        conn.execute(update(audit_table).where(audit_table.c.seq == row.seq).values(actor="somebody"))
    assert audit.verify(ws.catalog).first_bad == row.seq
    ws.close()


def test_a_number_among_what_a_bundle_keeps_of_its_inputs_is_found(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = Signature(inputs=(Field(name="customer", type="bigint"),), output=Output(task="regression"))

    def bundle(*numbers: float) -> str:
        rows = np.array(numbers)[:, np.newaxis] if numbers else None
        model = TrainedModel(format="onnx", artifact=b"x", signature=signature, background=rows)
        return local_workspace.store.put(pack_model(model))

    having, other, none = bundle(1.0, 48213977.0, np.nan), bundle(48213978.0), bundle()
    every = {having: ["a@1"], other: ["a@2"], none: ["a@3"]}
    monkeypatch.setattr(withdrawing, "bundles", lambda workspace: every)
    assert withdrawing.bundles_with(local_workspace, [b"48213977"]) == {having: ["a@1"]}
    assert withdrawing.bundles_with(local_workspace, [b"ann@example.org"]) == {}
