"""Finding, recording, choosing and taking back what answers for a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from bascule.catalog import actor, new_id, now, schema
from bascule.delivery.adopting import adopted, readied
from bascule.errors import CheckFailed, InputError, NotFound
from bascule.evaluation import GateSettings
from bascule.evaluation.settings import main_metric
from bascule.history import Commit, Workspace
from bascule.naming import model_path
from bascule.project.linking import is_elsewhere
from bascule.project.modelling import find_version
from bascule.project.optimizing.examples import examples_of
from bascule.project.place import Place
from bascule.registry import ModelVersion
from bascule.registry.approvals import subject_of
from bascule.registry.bundles import packed
from bascule.registry.runtimes import set_runtime
from bascule.registry.seals import set_seal
from bascule.registry.versions import served
from bascule.serving.engines import Engine, Recipe
from bascule.serving.optimizing import NAMES, TOLERANCE, Asked, Found, Optimized, Prices, optimize_bundle, read_prices
from bascule.serving.optimizing.prices import NAME as PRICES
from bascule.serving.optimizing.search import SIZES, single
from bascule.serving.pickled import PICKLED, PickledRuntime, consented, packed_torchscript, pickled_runtime
from bascule.training import ModelBundle, unpack_model

FASTEST = "fastest"
ROWS = 2_000
MOST_ROWS = 100_000


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about a version's engines, and what became of it.

    Attributes:
        id: of its records.
        model: the version, as `delays@3`.
        source: where the rows came from.
        found: the candidates.
        currency: of the costs; empty without a price list.
        chosen: what answers now by this choice; None when it was left as it was.
        before: what answered till now; None for the version's own library.
        commit: of the choice.
    """

    id: str
    model: str
    source: str
    found: Optimized
    currency: str
    chosen: Recipe | None
    before: Recipe | None
    commit: str | None

    def as_dict(self) -> dict[str, Any]:
        """All of it as one JSON object, without the files."""
        told: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self, found=without_files(self.found)))
        del told["found"]["artifacts"]
        return told


def without_files(found: Optimized) -> Optimized:
    """Return it without the bytes of the files."""
    return msgspec.structs.replace(found, artifacts={})


def optimize(
    place: Place,
    name: str,
    version: int | str | None = None,
    *,
    choose: str = FASTEST,
    keep: bool = False,
    candidates: Sequence[str] = (),
    batch_sizes: Sequence[int] = (),
    rows: int = ROWS,
    table: str | None = None,
    tolerance: float = TOLERANCE,
    seconds: float = 10.0,
    prices: Path | None = None,
    memory: bool = True,
    tell: Callable[[str], None] | None = None,
) -> Optimization:
    """Find out which engines answer as a version does and how fast, and let the chosen one answer from now on.

    Args:
        choose: `fastest`, which may differ by size of request, or a candidate's name.
        keep: choose nothing.
        candidates: names; all when empty.
        batch_sizes: rows of a request; 1, 8, 32, 128 and 1,000 when empty.
        rows: how many real rows are taken.
        table: where they are taken from; the version's training set, or its input example, when None.
        prices: a price list; `prices.toml` beside the project file when None and there is one.
        memory: also load each engine in a process of its own.

    Raises:
        NotFound: there is no such model, version, table, price list or candidate.
        InputError: a number makes no sense, or the version cannot be loaded.
        CheckFailed: nobody consented to a version that runs code when it is loaded, or the candidate that was named
            does not answer as the original; nothing was changed.
    """
    workspace, branch = place.workspace, place.branch
    found_version = find_version(workspace, branch, name, version)
    if not 1 <= rows <= MOST_ROWS:
        raise InputError(f"{rows:,} rows cannot be taken; 1 to {MOST_ROWS:,} can.", hint=f"{ROWS:,} is usual.")
    if choose != FASTEST and choose not in NAMES:
        raise NotFound("candidate", choose, [FASTEST, *NAMES])
    listed = _prices_of(place, prices)
    packed = _packed(workspace, branch, found_version)
    bundle = unpack_model(packed)
    own = _in_a_process(workspace, found_version, bundle)
    names = tuple(candidates) or NAMES
    asked = Asked(
        names=names if choose in (FASTEST, *names) else (*names, choose),
        sizes=tuple(batch_sizes) or SIZES,
        tolerance=tolerance,
        seconds=seconds,
        metric=_metric(place, bundle.signature.output.task),
        prices=listed,
        memory=memory,
        tell=tell or (lambda text: None),
    ).checked()
    asked.tell("reading rows")
    examples = examples_of(place, found_version, bundle, rows, table)
    found = optimize_bundle(packed, bundle, examples.rows, asked, examples.labelled, own)
    made = _told(found_version, found, examples.source, listed)
    if not keep:
        made = msgspec.structs.replace(made, chosen=_chosen(found, choose, found_version))
    return _kept(workspace, branch, found_version, made)


def _told(version: ModelVersion, found: Optimized, source: str, prices: Prices | None) -> Optimization:
    return Optimization(
        id=new_id("opt"),
        model=version.name(),
        source=source,
        found=found,
        currency=prices.currency if prices else "",
        chosen=None,
        before=_before(version),
        commit=None,
    )


def undo(place: Place, name: str, version: int | str | None = None) -> tuple[ModelVersion, Commit]:
    """Let a version's own library answer again.

    Raises:
        NotFound: there is no such version, or nothing was chosen for it.
    """
    workspace, branch = place.workspace, place.branch
    found = find_version(workspace, branch, name, version)
    message = f"Let {found.name()} be answered by its own library again"
    return found, set_runtime(workspace, branch, found.model, found.version, None, message=message)


def _prices_of(place: Place, path: Path | None) -> Prices | None:
    if path is not None:
        return read_prices(path)
    beside = place.folder / PRICES
    return read_prices(beside) if beside.is_file() else None


def _packed(workspace: Workspace, branch: str, version: ModelVersion) -> bytes:
    held = workspace.history.get(branch, _path(version))["versions"][str(version.version)]
    artifact = str(served(held)["artifact"])
    if is_elsewhere(artifact):  # nobody served what a client registered: it is read as a deployment would read it
        artifact = str(readied(workspace, branch, version)["artifact"])
    return packed(workspace, artifact)


def _in_a_process(workspace: Workspace, version: ModelVersion, bundle: ModelBundle) -> PickledRuntime | None:
    """Return a version that runs code when it is loaded in a process of its own; None for one that is data.

    Raises:
        InputError: nobody consented to its bytes, or they cannot be loaded.
    """
    if bundle.format != PICKLED:
        return None
    own = pickled_runtime(workspace, subject_of(version), bundle)
    own.agreed = lambda digest: True  # what is loaded further was made of it a moment before
    own.start()
    return own


def _path(version: ModelVersion) -> str:
    return model_path(version.model)


def _metric(place: Place, task: Any) -> str | None:
    asked = place.file.gates.metric if place.has_file else None
    return main_metric(GateSettings(metric=asked), task)


def _before(version: ModelVersion) -> Recipe | None:
    return msgspec.convert(version.runtime["recipe"], Recipe) if version.runtime else None


def _chosen(found: Optimized, choose: str, version: ModelVersion) -> Recipe:
    if choose == FASTEST:
        return found.fastest
    one = found.named(choose)
    assert one is not None
    if not one.eligible or one.engine is None:
        raise CheckFailed(
            f"{choose} cannot answer for {version.name()}: {one.reason}.",
            details=[msgspec.to_builtins(one)],
            hint="Look at what differs: bascule optimize "
            f"{version.model}@{version.version} --keep; a wider --tolerance may be right for you.",
        )
    return single(found, one.engine)


def _kept(workspace: Workspace, branch: str, version: ModelVersion, made: Optimization) -> Optimization:
    """Write the records, and with a choice the files, the evidence and the commit: all of it or nothing."""
    rows = _records(branch, version, made)

    def record(conn: Connection, commit: Commit | None = None) -> None:
        told = [{**row, "commit_id": commit.id if commit else None} for row in rows]
        conn.execute(insert(schema.optimizations), told)

    recipe = made.chosen
    plain = recipe is not None and all(stage.engine.kind == "native" for stage in recipe.stages)
    if recipe is None or (plain and made.before is None):
        with workspace.catalog.write() as conn:
            record(conn)
        return made
    if plain:
        message = f"Let {version.name()} be answered by its own library again: nothing is faster"
        commit = set_runtime(workspace, branch, version.model, version.version, None, message=message, also=record)
        return msgspec.structs.replace(made, commit=commit.id)
    if version.place and not version.files:
        adopted(workspace, branch, version, by=actor())  # what was optimized is what is served from now on
    for stage in recipe.stages:
        if stage.engine.artifact:
            _put(workspace, version, stage.engine, made.found.artifacts[stage.engine.artifact])
    runtime = {
        "recipe": msgspec.to_builtins(recipe),
        "evidence": workspace.store.put(msgspec.json.encode(evidence(made), order="deterministic")),
        "optimization": made.id,
        "chosen_by": actor(),
        "chosen_at": now(),
    }
    message = f"Let {version.name()} be answered by {recipe.names()}"
    commit = set_runtime(workspace, branch, version.model, version.version, runtime, message=message, also=record)
    return msgspec.structs.replace(made, commit=commit.id)


def _put(workspace: Workspace, version: ModelVersion, engine: Engine, data: bytes) -> None:
    """Keep an engine's file; one that runs code when it is loaded with the consent that its model has."""
    workspace.store.put(data)
    if engine.kind == "torchscript":
        digest = packed_torchscript(data, 0).digest
        if not consented(workspace, subject_of(version), digest):
            reason = "the TorchScript that bascule optimize made of it"
            set_seal(workspace, "trust", subject_of(version), digest, reason)


def evidence(made: Optimization) -> dict[str, Any]:
    """Return what stays of it in the store: all figures, and no row, since rows may be somebody's."""
    told = made.as_dict()
    for one in told["found"]["candidates"]:
        if one["parity"] and one["parity"]["example"]:
            one["parity"]["example"]["inputs"] = {}
    return told


def _records(branch: str, version: ModelVersion, made: Optimization) -> list[dict[str, Any]]:
    at, who = now(), actor()
    rows = []
    for one in made.found.candidates:
        common = {
            "optimization": made.id,
            "branch": branch,
            "model": version.model,
            "version": version.version,
            "candidate": one.name,
            "parity": one.eligible if one.parity is not None else None,
            "worst": _finite(one.parity.worst) if one.parity is not None else None,
            "reason": one.reason,
            "size": one.size,
            "memory": one.memory,
            "load_ms": one.load_ms,
            "metric": one.accuracy.metric if one.accuracy else None,
            "metric_value": one.accuracy.value if one.accuracy else None,
            "metric_change": one.accuracy.change if one.accuracy else None,
            "currency": made.currency or None,
            "actor": who,
            "at": at,
        }
        rows += [{**common, "id": new_id("op"), **row} for row in _by_size(one, made.chosen, made.found.batch_sizes)]
    return rows


def _by_size(one: Found, chosen: Recipe | None, sizes: Sequence[int]) -> list[Mapping[str, Any]]:
    told: list[Mapping[str, Any]] = [
        {
            "batch_size": row.rows,
            "p50_us": row.p50_us,
            "p99_us": row.p99_us,
            "throughput": row.throughput,
            "cost_per_million": row.cost,
            "chosen": chosen is not None and engine_at(chosen, row.rows) == one.name,
        }
        for row in one.figures
    ]
    nothing = dict.fromkeys(("batch_size", "p50_us", "p99_us", "throughput", "cost_per_million"))
    return told or [{**nothing, "chosen": False}]


def engine_at(recipe: Recipe, rows: int) -> str:
    """Return the name of what answers a request of so many rows."""
    return next(stage.engine.name for stage in reversed(recipe.stages) if stage.rows <= rows)


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None
