"""What made one prediction, as boxes and arrows: tables, training set, code, run, version, approvals, deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.web.graph import Edge, Node
from bascule.web.render import href
from bascule.web.text import NOTHING, metric, number, plural, short, short_name

Link = Mapping[str, Any]
BROUGHT = "brought in "


def lineage(chain: Mapping[str, Link]) -> tuple[list[Node], list[Edge]]:
    """Return the nodes and edges of a chain as `reads.predictions.explain` returns it. Missing links are left out."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    if training := chain.get("training_set"):
        for path, table in (chain.get("tables") or {}).items():
            nodes.append(_table(path, table, (chain.get("contracts") or {}).get(path)))
            edges.append(Edge(path, "training_set"))
        nodes.append(_training_set(training))
        edges.append(Edge("training_set", "run" if chain.get("run") else "version"))
    if run := chain.get("run"):
        nodes.append(_run(run))
        edges.append(Edge("run", "version"))
        if (code := chain.get("code")) and (code.get("code_commit") or code.get("code_snapshot")):
            nodes.append(_code(code))
            edges.append(Edge("code", "run"))
    nodes.append(_version(chain["version"], chain.get("evaluation") or {}, chain["deployment"]))
    edges.append(Edge("version", "deployment"))
    for place, decision in enumerate((chain.get("approvals") or {}).get("decisions", [])):
        nodes.append(_approval(place, decision))
        edges.append(Edge(f"approval{place}", "deployment"))
    nodes.append(_deployment(chain["deployment"]))
    edges.append(Edge("deployment", "prediction"))
    nodes.append(_prediction(chain["prediction"], chain.get("truth") or {}))
    return nodes, edges


def people(chain: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return who had a hand in an answer, each person once, with what they did."""
    told = (chain.get("people") or {}).get("names") or []
    decisions = (chain.get("approvals") or {}).get("decisions", [])
    known = {
        (chain.get("run") or {}).get("user_name"),
        chain["version"].get("created_by"),
        (chain["deployment"].get("change") or {}).get("actor"),
        *(table.get("author") for table in (chain.get("tables") or {}).values()),
        *(decision["actor"] for decision in decisions),
    }
    names = sorted((str(name) for name in known if name), key=len, reverse=True)
    found: dict[str, list[str]] = {}
    for line in told:
        name = next((name for name in names if line.startswith(f"{name} ")), "")
        deeds = found.setdefault(name or NOTHING, [])
        deed = line.removeprefix(name).strip()
        if deeds and deed.startswith(BROUGHT) and deeds[-1].startswith(BROUGHT):
            deeds[-1] += f", {deed.removeprefix(BROUGHT)}"
        else:
            deeds.append(deed)
    return sorted(found.items())


def _table(path: str, table: Link, contract: Link | None) -> Node:
    name = path.partition("/")[2]
    lines = [f"{number(table.get('rows'))} rows"]
    if contract and contract.get("checks"):
        lines.append(f"{contract['passed']} of {contract['checks']} checks ok")
    if table.get("author"):
        lines.append(f"by {short_name(table['author'])}")
    tone = "bad" if contract and contract.get("failed") else ""
    where = href(f"/data/{name}", table["commit"]) if table.get("commit") else href(f"/data/{name}")
    return Node(path, "table", name, tuple(lines), where, tone)


def _training_set(training: Link) -> Node:
    lines = (f"{number(training.get('rows'))} rows", f"{plural(len(training.get('features') or ()), 'feature')}")
    where = href(f"/commits/{training['commit']}") if training.get("commit") else ""
    return Node("training_set", "training set", str(training["name"]), (short(training["id"]), *lines), where)


def _run(run: Link) -> Node:
    lines = (short(run["id"]), f"by {short_name(run.get('user_name'))}")
    return Node("run", "run", str(run.get("step") or run["name"]), lines, href(f"/runs/{run['id']}"))


def _code(code: Link) -> Node:
    lines = ["with changes, kept"] if code.get("code_dirty") else []
    if code.get("code_snapshot"):
        lines.append(f"snapshot {short(code['code_snapshot'])}")
    return Node(
        "code",
        "code",
        f"git {short(code.get('code_commit'))}" if code.get("code_commit") else "not in git",
        tuple(lines),
    )


def _version(version: Link, evaluation: Link, deployment: Link) -> Node:
    gates = evaluation.get("gates") or []
    passed = sum(bool(gate["passed"]) for gate in gates)
    lines = [f"{passed} of {len(gates)} gates passed" if gates else "gates: none on record"]
    lines.append(f"by {short_name(version.get('created_by'))}")
    where = href(f"/models/{version['model']}/{version['version']}", deployment["commit"])
    tone = "ok" if version.get("passed") else "bad"
    return Node(
        "version", "model version", f"{version['model']}, version {version['version']}", tuple(lines), where, tone
    )


def _approval(place: int, decision: Link) -> Node:
    lines = (str(decision.get("reason") or ""),)
    tone = {"approved": "ok", "refused": "bad"}.get(decision["decision"], "warn")
    return Node(
        f"approval{place}", "decision", f"{decision['decision']} by {short_name(decision['actor'])}", lines, "", tone
    )


def _deployment(deployment: Link) -> Node:
    change = deployment.get("change") or {}
    lines = [f"revision {deployment['revision']}, on {deployment['branch']}"]
    lines += [f"version {share['version']}: {share['weight']} %" for share in deployment.get("traffic", [])[:2]]
    if change:
        lines.append(f"{change['action']} by {short_name(change['actor'])}")
    where = href(f"/deployments/{deployment['name']}", deployment["branch"])
    return Node("deployment", "deployment", str(deployment["name"]), tuple(lines), where)


def _prediction(prediction: Link, truth: Link) -> Node:
    lines = [f"score {metric(prediction.get('score'))}", f"by the {prediction['arm']} arm"]
    became = truth.get("class") or (metric(truth["label"]) if truth.get("label") is not None else "not known")
    lines.append(f"outcome {became}")
    return Node("prediction", "prediction", short(str(prediction["prediction_id"]), 10), tuple(lines), "", "focus")
