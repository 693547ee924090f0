"""What each kind of entry means: a table of functions that take what is collected of a run, and the entry.

An entry that its function cannot read is left out, with a word in the run's tags: one strange entry loses no other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bascule.tracking.ambient import meanings
from bascule.tracking.ambient.environs import environment_of
from bascule.tracking.ambient.journal import Entry
from bascule.tracking.ambient.told import Begun, Finished, Told
from bascule.tracking.status import ENDED

Meaning = Callable[[Told, Entry], None]


def params(run: Told, entry: Entry) -> None:
    """Parameters by their names."""
    run.params({key: value for key, value in entry["values"].items() if value is not None})


def tags(run: Told, entry: Entry) -> None:
    """Labels by their names."""
    run.tags(entry["values"])


def metric(run: Told, entry: Entry) -> None:
    """One point of a metric."""
    run.metric(entry["key"], entry["value"], int(entry.get("step") or 0), entry["at"])


def touch(run: Told, entry: Entry) -> None:
    """Something that has a version of its own was read or written."""
    path, version = str(entry["path"]), str(entry["version"])
    (run.reads if entry["mode"] == "r" else run.writes)(path, version, entry.get("rows"), entry.get("size"))


def model(run: Told, entry: Entry) -> None:
    """A fitted model, in a file of the session."""
    path = Path(entry["path"])
    run.writes(f"model.{entry['format']}", run.keep(path), size=path.stat().st_size)


def artifact(run: Told, entry: Entry) -> None:
    """A file of the session that is kept with the run."""
    run.artifact(entry["name"], Path(entry["path"]))


def seed(run: Told, entry: Entry) -> None:
    """A seed that was set. It may be set again: the first one is what the run began with."""
    name = str(entry["name"])
    run.params({name if name.endswith("seed") else f"{name}.seed": str(entry["value"])})


def start(run: Told, entry: Entry) -> None:
    """An interpreter began."""
    if not run.environment:
        run.environment = environment_of(entry)


def child(run: Told, entry: Entry) -> None:
    """A run below another one."""
    run.begun = Begun(
        entry["name"] or run.id, entry["parent"], entry["at"], bool(entry.get("resumes")), entry.get("experiment")
    )


def finish(run: Told, entry: Entry) -> None:
    """A run that was begun by name was closed."""
    run.finished = ended(entry)


def ended(entry: Entry) -> Finished:
    """Return how a run was closed; a word that is none of ours is told as a failure."""
    status, error = str(entry["status"]), entry.get("error")
    if status not in ENDED:
        status, error = "failed", error or f"It was closed as {status[:60]!r}."
    return Finished(status, error, int(entry["at"]))


def warning(run: Told, entry: Entry) -> None:
    """Something that was not captured, and why."""
    run.warn(str(entry["text"]))


#: What each kind means; `meanings` has those of frameworks and tables.
KINDS: dict[str, Meaning] = {
    "params": params,
    "tags": tags,
    "metric": metric,
    "touch": touch,
    "model": model,
    "artifact": artifact,
    "seed": seed,
    "start": start,
    "run": child,
    "finish": finish,
    "warning": warning,
    **meanings.KINDS,
}
