"""Commands that ask: sql, models, predict, explain, reproduce."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from bascule.cli.options import COMMON, Common, Limit
from bascule.cli.output import answer, cell, columns, moment, on_terminal, say
from bascule.counting import counted

MOST_CLASSES = 5
MOST_METRICS = 3
MOST_INPUTS = 6
SQL_DIGITS = 12
# On a terminal a cell of a table has so many signs at most.
WIDEST = 60


def sql(
    query: str,
    /,
    *,
    at: Annotated[
        str | None, Parameter(help="The state whose tables are read; the current branch if not given.")
    ] = None,
    limit: Annotated[Limit, Parameter(help="Print at most so many rows.")] = 100,
    role: Annotated[
        str | None,
        Parameter(help="Read as a role does, with its masks on: reader, writer, …", env_var="BASCULE_ROLE"),
    ] = None,
    common: Common = COMMON,
) -> None:
    """Ask the lake at any state, the records and the log of predictions, in one query.

    Tables are read as they are on the branch; flights@v1.2 or flights@main~3 reads another state in the same query.
    Records: runs, params, metrics, tags, inputs, outputs, check_results, evaluations, model_versions, approvals,
    alerts, jobs, monitor_points, rollouts, commits, refs, audit, training_sets, traces, spans, trace_facts,
    trace_assessments, predictions, ground_truth.
    A set of files is a table of its files: files.photos, or files."photos@v1".

    Args:
        query: one SELECT in DuckDB's SQL.
    """
    from bascule.project.querying import ask

    place = common.open().place
    names, rows, more = ask(place.workspace, query, at or place.branch, limit, role or None)
    document = [dict(zip(names, row, strict=True)) for row in rows]
    widest = WIDEST if on_terminal() else None
    text = columns(rows, names, none="(no rows)", digits=SQL_DIGITS, widest=widest)
    if widest and any(len(cell(one, SQL_DIGITS)) > widest for row in rows for one in row):
        text += "\n… cells are cut short; --json has them whole, and so has a file or a program that reads this."
    cut = f"… more than {limit} rows; --limit shows more."
    answer(common, document, f"{text}\n{cut}" if more else text)
    if more and common.json:
        say(cut)  # beside the document, which is the rows and nothing else


def models(name: str | None = None, version: str | None = None, /, *, common: Common = COMMON) -> None:
    """List models, the versions of one, or show a version's card.

    Args:
        name: a model.
        version: a number or an alias.
    """
    project = common.open()
    if name is None:
        rows = [_plain(model) for model in project.models()]
        shown = [
            (r["name"], len(r["versions"]), [f"{alias} {number}" for alias, number in r["aliases"].items()])
            for r in rows
        ]
        none = f"No models on branch {project.place.branch} yet; bascule run makes one."
        answer(common, rows, columns(shown, ("model", "versions", "aliases"), none=none))
    elif version is None:
        rows = [_plain(v) for v in project.versions(name)]
        lines = [
            (
                r["version"],
                r["aliases"],
                "passed" if r["passed"] else f"forced: {r['forced']}",
                _metric(r["metrics"]),
                moment(r["created_at"]),
                r["created_by"],
            )
            for r in rows
        ]
        answer(common, rows, columns(lines, ("version", "alias", "gates", "test", "registered", "by")))
    else:
        one, card = project.version(name, version), project.card(name, version)
        answer(common, {**_plain(one), "card": card}, card or f"{name} version {one.version}")


def predict(
    name: str,
    /,
    *values: Annotated[str, Parameter(help="What is asked about: COLUMN=VALUE, as many as the model wants.")],
    example: Annotated[
        bool, Parameter(help="Take what is not given from the newest example of the project.", negative="")
    ] = False,
    model: Annotated[
        str | None, Parameter(help="Score a whole table by this: MODEL, MODEL@3, MODEL@production or deployments/NAME.")
    ] = None,
    into: Annotated[
        str | None, Parameter(help="The table that the scored rows go to; TABLE_scored by default.")
    ] = None,
    where: Annotated[str, Parameter(help="Score only the rows for which this SQL condition is true.")] = "",
    new: Annotated[
        bool, Parameter(help="Score only the rows that have come since the last time, and append them.", negative="")
    ] = False,
    common: Common = COMMON,
) -> None:
    """Ask a deployment about one row, here, without a server; or with --model, score a whole table into another.

    Args:
        name: the deployment, as delays or deployments/delays; on main, as for rollback. With --model the table, as
            flights or flights@v1.2.
    """
    from bascule.errors import InputError

    if model is not None:
        if values or example:
            raise InputError("A table is scored as it is.", hint="Leave COLUMN=VALUE and --example out.")
        from bascule.cli.progress import moving

        with moving(common.json) as tell:
            scored = common.open().predict_table(name, model, into=into, where=where, new=new, tell=tell)
        text = f"{scored.source} scored by {scored.model}: {counted(scored.change.rows, 'row')} in {scored.table}"
        if new:
            text += f", {scored.change.rows - scored.change.rows_before:,} of them new"
        answer(common, scored.as_dict(), text)
        return
    if into is not None or where or new:
        raise InputError(
            "--into, --where and --new are for tables.", hint="Name the model that scores it: --model MODEL"
        )
    pairs = [part.partition("=") for part in values]
    if wrong := next((column for column, equals, _ in pairs if not column or not equals), None):
        raise InputError(f"{wrong!r} is not COLUMN=VALUE.", hint="For example: carrier=UA")
    given = {column: value for column, _, value in pairs}
    done = common.open().predict(name, given, example=example)
    said = _said(done.output)
    text = f"{said}\nby version {done.version} ({done.arm}) of {done.deployment} on {done.branch}; {done.prediction_id}"
    lines = [f"  {key} = {value}" for key, value in done.inputs.items() if key not in given]
    if lines:
        text += "\n" + "\n".join(["not given, and taken from the newest example:", *lines])
    answer(common, done.as_dict(), text)


def explain(prediction: str, /, *, common: Common = COMMON) -> None:
    """Show which data, code, model, person and approval made an answer.

    Args:
        prediction: the id that came with the answer.
    """
    chain = common.open().explain(prediction)
    answer(common, chain, _chain(chain))


def reproduce(
    what: str,
    version: str | None = None,
    /,
    *,
    environment: Annotated[
        str,
        Parameter(help="recorded: made by uv; present: the one that is here; auto: that one if it is the same."),
    ] = "auto",
    data: Annotated[
        str, Parameter(help="recorded: refuse files that are not as they were; present: take what is here.")
    ] = "recorded",
    tolerance: Annotated[float, Parameter(help="Numbers that differ by less than this share count as equal.")] = 1e-9,
    keep: Annotated[Path | None, Parameter(help="Restore a script into this folder, and leave it there.")] = None,
    common: Common = COMMON,
) -> int:
    """Do a run again from what was recorded, and compare byte by byte, then by numbers; ends with 1 when they differ.

    Code, environment and data are restored as they were; when something came out differently, what differs is listed.

    Args:
        what: a run's id or the start of it; or a model, or MODEL@VERSION.
        version: a number or an alias of the model; production, else the latest, when not given.
    """
    from bascule.cli.reproducing import verdict

    def tell(message: str, done: int = 0, total: int | None = None) -> None:
        if not done:
            say(f"  {message} …")

    done = common.open().reproduce(
        what, version, environment=environment, data=data, tolerance=tolerance, keep=keep, tell=tell
    )
    answer(common, done.as_dict(), verdict(done))
    return int(done.verdict == "different")


def _said(output: dict[str, Any]) -> str:
    """Return an answer in a line: the label and how likely, by class from the likeliest when there are many."""
    if "value" in output:
        return f"{output['value']:.6g}"
    found = output["probability"]
    if isinstance(found, float):
        return f"{output['label']}, probability {found:.4f}"
    best = sorted(found.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{name} {value:.4f}" for name, value in best[:MOST_CLASSES])
    return f"{output['label']}: {shown}" + (f" and {len(best) - MOST_CLASSES} more" if len(best) > MOST_CLASSES else "")


def _chain(chain: dict[str, Any]) -> str:
    from bascule.project.explaining import outcome

    p, d, v = chain["prediction"], chain["deployment"], chain["version"]
    place = f"{d['name']} revision {d['revision']} on {d['branch']}"
    t, r, c = chain["training_set"], chain["run"], chain["code"]
    truth = chain["truth"]
    score = "none" if p["score"] is None else f"{p['score']:.4f}"
    score += f" ({p['output']['label']})" if isinstance(p.get("output"), dict) and p["output"].get("label") else ""
    lines = [
        f"prediction    {p['prediction_id']}  score {score}  at {_at(p['at'])}  about {_at(p['event_time'])}",
        f"  truth       {outcome(truth)}, known {_at(truth['label_time'])}" if truth else "  truth       not known yet",
        f"deployment    {place}, arm {p['arm']}, commit {d['commit'][:10]}",
    ]
    lines[1:1] = _added(p)
    if change := d["change"]:
        lines.append(f"  last change {change['action']} by {change['actor']} at {_at(change['at'])}")
    lines.append(f"model         {v['model']} version {v['version']}, artifact {v['artifact'][:16]}, {v['format']}")
    if evaluation := chain["evaluation"]:
        gates = ", ".join(("" if g["passed"] else "NOT ") + g["name"] for g in evaluation["gates"])
        lines.append(f"  gates       {'passed' if evaluation['passed'] else 'refused'}: {gates}")
    lines += [f"  approval    {a['decision']} by {a['actor']}: {a['reason']}" for a in chain["approvals"]["decisions"]]
    if r:
        called = r["step"] or r.get("name")
        step = f" ({called})" if called else ""
        lines.append(f"run           {r['id']}{step} by {r['user_name']} on {r['branch']} at {_at(r['started_at'])}")
    if c:
        git = f"git {c['code_commit'][:10]}{' + changes' if c['code_dirty'] else ''}" if c["code_commit"] else "no git"
        lines.append(f"  code        {git}, snapshot {(c['code_snapshot'] or 'none')[:16]}")
    lines.append(_learned(t))
    for path, table in chain["tables"].items():
        checks = chain["contracts"].get(path) or {"checks": 0, "passed": 0}
        held = f"contract {checks['passed']}/{checks['checks']}" if checks["checks"] else "no contract"
        lines.append(
            f"  {path:20} {counted(table['rows'], 'row'):>14}  snapshot {table['snapshot']}  "
            f"commit {table['commit'][:10]}  {held}"
        )
    lines += ["people", *(f"  {who}" for who in chain["people"]["names"])]
    return "\n".join(lines)


def _added(prediction: dict[str, Any]) -> list[str]:
    """Return what the inputs added to an answer, as a line where that was told."""
    from bascule.project.explaining import added

    found = added(prediction)
    if found is None:
        return []
    about, numbers = found
    shown = [f"{name} {value:+.4g}" for name, value in list(numbers.items())[: MOST_INPUTS + 1]]
    more = f" and {len(numbers) - len(shown)} more" if len(numbers) > len(shown) else ""
    return [f"  why         {', '.join(shown)}{more} ({about})"]


def _learned(made: dict[str, Any]) -> str:
    if not made:
        return "training set  not known: a client registered the model"
    size = f"{counted(made['rows'], 'row')}, {counted(len(made['features']), 'feature')}"
    return f"training set  {made['name']}, {size}, commit {made['commit'][:10]}"


def _at(value: datetime | str) -> str:
    """Return a moment to the second."""
    return moment((datetime.fromisoformat(value) if isinstance(value, str) else value).replace(microsecond=0))


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _metric(metrics: dict[str, float]) -> str:
    tested = {name.removeprefix("test."): value for name, value in metrics.items() if name.startswith("test.")}
    return ", ".join(f"{name} {value:.4f}" for name, value in list(tested.items())[:MOST_METRICS])
