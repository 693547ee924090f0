"""The card of a version: what its evaluation wrote when it was registered, and what is known of it since.

Of a version from outside it is written from what its client said.
"""

from __future__ import annotations

import html
from datetime import UTC, datetime
from typing import Any

from bascule.evaluation.card import front_matter
from bascule.history import Workspace
from bascule.project.modelling import metrics_of, run_of, show
from bascule.registry.versions import ModelVersion
from bascule.sizes import format_size
from bascule.tracking.reading import read_run

MOST_METRICS = 40
MOST_NAMES = 12
FAIR = ("fairness", "parity", "disparate", "equal_opportunity", "equalized")
LIMITS = "The numbers hold for rows like those that it was measured on; monitoring says whether later rows are."
STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --line: #d9dee7; --page: #ffffff; --band: #f5f7fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf2; --soft: #a3adbf; --line: #333c4c; --page: #12161e; --band: #1a202b }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.25rem }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; color: var(--soft) }
ul { padding-left: 1.2rem; margin: .4rem 0 }
code { font: .88em ui-monospace, monospace; background: var(--band); padding: .1em .3em; border-radius: 4px;
  overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 600 }
@media print { main { max-width: none; padding: 0 } h2 { break-after: avoid } tr { break-inside: avoid } }
"""


def card(ws: Workspace, version: ModelVersion) -> str:
    """Return a version's card as Markdown: what it is for, data, metrics, slices, lineage, licence, safety, limits."""
    told = show(ws, version)
    if version.card:
        begun = ws.store.get(version.card).decode("utf-8", "replace").rstrip() + "\n"
    else:
        begun = "\n".join(_from_outside(ws, version, told))
    parts = [_schema(told), _fairness(ws, version), _environment(told), _lineage(told), _licence(told), _safety(told)]
    parts.append(_runtime(told))
    parts.append(_decided(told))
    return begun + "\n" + "\n".join(part for part in parts if part) + ("" if version.card else _limits())


def page(text: str) -> str:
    """Return a card as a page of its own, which opens without a network. Nothing in the text can run there."""
    from markdown_it import MarkdownIt

    body = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    drawn = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link"]).render(body)
    drawn = drawn.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    title = next((line[2:] for line in body.splitlines() if line.startswith("# ")), "Model")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{drawn}</main>\n"
        "</body>\n</html>\n"
    )


def _from_outside(ws: Workspace, version: ModelVersion, told: dict[str, Any]) -> list[str]:
    run = run_of(ws, version)
    metrics = version.metrics or metrics_of(ws, run)
    front = {"model": version.model, "version": version.version, "format": version.format, "digest": told["digest"]}
    front |= {"author": version.created_by, "created_at": _moment(version.created_at), "metrics": metrics}
    purpose = told["description"] or "Nobody has said what it is for. Describe the version to have it here."
    details = [
        f"- **Purpose**: {_text(purpose)}",
        f"- **Format**: {version.format}" + (f", {', '.join(map(_code, told['flavors']))}" if told["flavors"] else ""),
        f"- **Size**: {format_size(told['bytes'])} in {len(told['files'])} files",
        f"- **Registered by**: {_text(version.created_by)}, {_moment(version.created_at)}",
        f"- **Stage**: {told['stage']}" if told["stage"] not in ("", "None") else "",
        f"- **Aliases**: {', '.join(map(_code, told['aliases']))}" if told["aliases"] else "",
        *(f"- **{_text(key)}**: {_text(value)}" for key, value in told["tags"].items()),
    ]
    known = read_run(ws, run["id"]) if run else None
    return [
        front_matter(front),
        f"# {_text(version.model)} version {version.version}\n",
        "## Details\n\n" + "\n".join(line for line in details if line) + "\n",
        _data(ws, known, run),
        "## Metrics\n\n" + (_metrics(metrics) if metrics else "None were recorded.\n"),
        _params(known),
    ]


def _data(ws: Workspace, known: dict[str, Any] | None, run: dict[str, Any] | None) -> str:
    from sqlalchemy import select

    from bascule.catalog.schema import dataset_uses, datasets

    rows = []
    if run and run["number"] is not None:
        query = select(datasets.c.name, datasets.c.digest, dataset_uses.c.context).join(
            dataset_uses, dataset_uses.c.dataset == datasets.c.id
        )
        with ws.catalog.read() as conn:
            found = conn.execute(query.where(dataset_uses.c.subject == run["number"])).all()
        rows = [[_text(one.name), _code(one.digest), _text(one.context or "")] for one in found]
    rows += [[_code(path), _code(version), "read"] for path, version in (known["inputs"] if known else {}).items()]
    if not rows:
        return "## Data\n\nNo data set was recorded with its run.\n"
    return "## Data\n\n" + _table(["data", "version", "used for"], rows)


def _metrics(metrics: dict[str, float]) -> str:
    rows = [[_code(name), f"{value:.6g}"] for name, value in sorted(metrics.items())[:MOST_METRICS]]
    more = len(metrics) - len(rows)
    return _table(["metric", "value"], rows) + (f"\n{more} more are in the run.\n" if more > 0 else "")


def _params(known: dict[str, Any] | None) -> str:
    params = known["params"] if known else {}
    rows = [[_code(name), _text(str(value)[:200])] for name, value in sorted(params.items())[:MOST_METRICS]]
    return "## Parameters\n\n" + _table(["parameter", "value"], rows) if rows else ""


def _schema(told: dict[str, Any]) -> str:
    parts = []
    for side, columns in told["schema"].items():
        rows = [[_code(one["name"]), _code(one["type"]), "yes" if one["nullable"] else "no"] for one in columns]
        if rows:
            parts.append(f"### {side.capitalize()}\n\n" + _table(["name", "Arrow type", "may be missing"], rows))
    notes = "".join(f"- {_text(one)}\n" for one in told["notes"])
    return "## Schema\n\n" + "\n".join(parts) + (f"\n{notes}" if notes else "") if parts else ""


def _fairness(ws: Workspace, version: ModelVersion) -> str:
    metrics = version.metrics or metrics_of(ws, run_of(ws, version))
    found = {name: value for name, value in metrics.items() if any(word in name.lower() for word in FAIR)}
    return "## Fairness\n\n" + _metrics(found) if found else ""


def _environment(told: dict[str, Any]) -> str:
    made, files = told["environment"]["made_in"], told["environment"]["files"]
    lines = []
    if made.get("python"):
        machine = f"{made.get('system', '')} {made.get('machine', '')}".strip()
        lines.append(f"- Made with Python {_text(made['python'])} on {_text(machine)}")
    for name, text in list(files.items())[:1]:  # the others say the same in other words
        wanted = [line.strip() for line in text.splitlines() if line.strip()]
        shown = ", ".join(_code(one) for one in wanted[:MOST_NAMES]) + (" …" if len(wanted) > MOST_NAMES else "")
        lines.append(f"- `{name}`: {shown}")
    return "## Environment\n\n" + "\n".join(lines) + "\n" if lines else ""


def _lineage(told: dict[str, Any]) -> str:
    names = {"run": "Run", "user_name": "Run by", "code_commit": "Code", "training_set": "Training set"}
    names |= {"source": "Source", "logged_model": "Logged model", "evaluation": "Evaluation", "commit_id": "State"}
    found = told["lineage"]
    lines = [f"- **{name}**: {_code(found[key])}" for key, name in names.items() if found.get(key)]
    return "## Lineage\n\n" + ("\n".join(lines) if lines else "Nothing was recorded.") + "\n"


def _runtime(told: dict[str, Any]) -> str:
    held = told["runtime"]
    if not held:
        return ""
    lines = [
        f"- **Answered by**: {_text(told['answered_by'])}, instead of its own library",
        f"- **Chosen by**: {_text(held['chosen_by'])}, {_moment(held['chosen_at'])}",
        f"- **Evidence**: {_code(held['evidence'])}, compared row by row (`bascule sql`: `optimizations`)",
    ]
    return "## Runtime\n\n" + "\n".join(lines) + "\n"


def _licence(told: dict[str, Any]) -> str:
    said = _text(told["licence"]) if told["licence"] else "None was said; the tag `license` of a version says it."
    return f"## Licence\n\n{said}\n"


def _safety(told: dict[str, Any]) -> str:
    safe, signed = told["safety"], told["signed"]
    words = {
        "safe": "It holds data only; loading it runs no code.",
        "pickle": "Loading it runs code: it holds pickles or sources. A worker loads it only with recorded consent.",
        "dangerous": "Loading it could do anything: its pickles call what commands, files or networks are reached by, "
        "carry code, or hide what they call. A worker loads it only with recorded consent.",
    }
    lines = [words[safe["level"]], ""]
    for one in safe["pickles"][:MOST_NAMES]:
        named = ", ".join(_code(name) for name in one["dangerous"][:MOST_NAMES])
        whole = "" if one["complete"] else ", and could not be read to its end"
        lines.append(
            f"- {_code(one['path'])} names {len(one['globals'])} things{whole}" + (f": {named}" if named else "")
        )
    lines += [f"- {_text(one)} is run" for one in safe["code"][:MOST_NAMES]]
    trusted = safe["trusted"]
    if trusted:
        lines.append(f"- {_text(trusted['actor'])} consented to load these bytes: {_text(trusted['reason'])}")
    if signed:
        lines.append(f"- Signed by {_text(signed['actor'])} with the key {_code(signed['key_id'] or '')}")
    lines.append(f"- Digest of all files: {_code(told['digest'])}")
    return "## Safety\n\n" + "\n".join(lines) + "\n"


def _decided(told: dict[str, Any]) -> str:
    rows = [
        [_moment(one["at"]), _text(one["actor"]), one["decision"], _text(one["reason"])] for one in told["decisions"]
    ]
    return "## Decisions\n\n" + (_table(["when", "who", "decision", "why"], rows) if rows else "Nobody decided yet.\n")


def _limits() -> str:
    return f"\n## Limits\n\n- {LIMITS}\n- It was not evaluated here: its metrics are what its client said.\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(one.replace("|", "\\|").replace("\n", " ") for one in line) + " |" for line in lines
        )
        + "\n"
    )


def _code(text: Any) -> str:
    return f"`{str(text).replace('`', chr(39))[:300]}`"


def _text(text: Any) -> str:
    """Return what somebody wrote, so that it means nothing in Markdown."""
    plain = " ".join(str(text)[:2000].split())
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!~" else sign for sign in plain)


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
