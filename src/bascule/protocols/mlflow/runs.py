"""Endpoints of runs: made, told, read and searched."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from bascule.catalog import now
from bascule.errors import InputError
from bascule.protocols.mlflow.experiments import VIEW_NUMBERS, experiment_number, number_of
from bascule.protocols.mlflow.limits import (
    DIGEST,
    ID,
    LATEST_TIME,
    MODEL,
    NAME,
    PARAM,
    RUN_TAG,
    checked_key,
    checked_value,
    counted,
    tags_of,
)
from bascule.protocols.mlflow.messages import Answer, Ask, Fields
from bascule.tracking import inputs, remote
from bascule.tracking import search as searching
from bascule.tracking.documents import documents
from bascule.tracking.experiments import ACTIVE, DELETED
from bascule.tracking.points import Context, Point
from bascule.tracking.search.runs import VIEWS
from bascule.tracking.status import FIELDS, NUMBERS, OURS

MOST = 50_000
MOST_EXPERIMENTS = 1_000


class Info(msgspec.Struct, frozen=True, gc=False):
    """A run without what it was told; times in milliseconds."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | msgspec.UnsetType
    artifact_uri: str
    lifecycle_stage: str


def run_of(told: Fields) -> str:
    """Return the id of the run that a request names, in either of its two fields."""
    found = told.text("run_id") or told.text("run_uuid")
    return found or told.text("run_id", required=True)


def create(ask: Ask) -> Answer:
    """Make a run."""
    told = ask.told
    tags = tags_of(told.objects("tags"), RUN_TAG, cut=True)
    name, tagged = told.text("run_name", most=RUN_TAG), tags.get(remote.NAME_TAG, "")
    if name and tagged and name != tagged:
        raise InputError(
            f"Both 'run_name' ({name[:60]!r}) and the tag {remote.NAME_TAG} ({tagged[:60]!r}) were given, and differ.",
            hint="Give one of them.",
        )
    started = told.integer("start_time", 0, least=0, most=LATEST_TIME)
    row = remote.add_run(
        ask.tracker,
        number_of(told, default="0"),
        user=told.text("user_id", most=NAME) or ask.user,
        name=name or tagged or remote.random_name(),
        started_at=started * 1000 if started else now(),
        tags=tags,
        branch=tags.get("bascule.branch") or ask.branch,
    )
    # What was just written is not read back: this is half of the work.
    told_tags = [{"key": key, "value": value} for key, value in {**tags, remote.NAME_TAG: row["name"]}.items()]
    about = info(SimpleNamespace(**row, finished_at=None))
    return Answer({"run": {"info": about, "data": {"tags": told_tags}, "inputs": {}}})


def get(ask: Ask) -> Answer:
    """Return a run."""
    return Answer(b'{"run":' + one_run(ask, run_of(ask.told)) + b"}")


def one_run(ask: Ask, run: str) -> bytes:
    """Return a run as JSON text."""
    with ask.tracker.workspace.catalog.read() as conn:
        row = remote.demand_run(conn, run)
    return encoded(ask, [row])[0]


def encoded(ask: Ask, rows: Sequence[Any]) -> list[bytes]:
    """Return runs as JSON texts."""
    held = documents(ask.tracker, [row.number for row in rows if row.number is not None])
    empty = b'"data":{},"inputs":{}'
    encode = msgspec.json.Encoder().encode
    return [b'{"info":%b,%b}' % (encode(info(row)), held.get(row.number, empty)) for row in rows]


def info(row: Any) -> Info:
    """Return what the wire calls a run's info."""
    run, experiment = row.id, row.experiment_id
    return Info(
        run,
        run,
        row.name,
        str(experiment),
        row.user_name,
        FIELDS.get(row.status, "RUNNING"),
        row.started_at // 1000,
        msgspec.UNSET if row.finished_at is None else row.finished_at // 1000,
        row.artifact_uri or f"mlflow-artifacts:/{experiment}/{run}/artifacts",
        row.lifecycle,
    )


def update(ask: Ask) -> Answer:
    """Change how a run stands, when it ended, or its name."""
    told = ask.told
    run = run_of(told)
    status = told.choice("status", tuple(OURS), NUMBERS)
    ended = told.integer("end_time", 0, least=0, most=LATEST_TIME)
    remote.update_run(
        ask.tracker,
        run,
        status=OURS[status] if status else None,
        ended_at=ended * 1000 if ended else None,
        name=told.text("run_name", most=RUN_TAG) or None,
    )
    with ask.tracker.workspace.catalog.read() as conn:
        return Answer({"run_info": info(remote.demand_run(conn, run))})


def delete(ask: Ask) -> Answer:
    """Delete a run; it can be restored."""
    remote.set_run_lifecycle(ask.tracker, run_of(ask.told), DELETED)
    return Answer()


def restore(ask: Ask) -> Answer:
    """Restore a deleted run."""
    remote.set_run_lifecycle(ask.tracker, run_of(ask.told), ACTIVE)
    return Answer()


def log_metric(ask: Ask) -> Answer:
    """Keep one point of a metric."""
    point, context = _point(ask.told, "")
    remote.log_batch(
        ask.tracker, run_of(ask.told), remote.Batch(points=(point,), contexts={0: context} if any(context) else {})
    )
    return Answer()


def log_param(ask: Ask) -> Answer:
    """Keep a parameter."""
    key = checked_key(ask.told.text("key", required=True), "key")
    value = (ask.told.given("value") or "")[:PARAM]
    remote.log_batch(ask.tracker, run_of(ask.told), remote.Batch(params={key: value}))
    return Answer()


def set_tag(ask: Ask) -> Answer:
    """Set a tag of a run."""
    key = checked_key(ask.told.text("key", required=True), "key")
    value = (ask.told.given("value") or "")[:RUN_TAG]
    remote.log_batch(ask.tracker, run_of(ask.told), remote.Batch(tags={key: value}))
    return Answer()


def delete_tag(ask: Ask) -> Answer:
    """Take a tag of a run away."""
    remote.remove_tag(ask.tracker, run_of(ask.told), ask.told.text("key", required=True))
    return Answer()


def log_batch(ask: Ask) -> Answer:
    """Keep metrics, parameters and tags of a run: all of them or none."""
    told = ask.told
    run = told.text("run_id", required=True)
    metrics, params, tags = told.objects("metrics"), told.objects("params"), told.objects("tags")
    counted({"metrics": len(metrics), "params": len(params), "tags": len(tags)})
    points, contexts = [], {}
    for place, one in enumerate(metrics):
        point, context = _point(one, f"metrics[{place}].")
        points.append(point)
        if any(context):
            contexts[place] = context
    batch = remote.Batch(
        params=_params(params),
        tags=tags_of(tags, RUN_TAG, cut=True),
        points=tuple(points),
        contexts=contexts,
    )
    remote.log_batch(ask.tracker, run, batch)
    return Answer()


def log_model(ask: Ask) -> Answer:
    """Note a model as clients before version 3 do: in a tag that grows."""
    text = ask.told.text("model_json", required=True, most=MODEL)
    try:
        model = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise InputError("'model_json' is no JSON object.", hint="Send what the MLmodel file says, as JSON.") from None
    missing = [key for key in ("artifact_path", "flavors", "utc_time_created", "run_id") if key not in model]
    if missing:
        raise InputError(f"Model json is missing mandatory fields: {', '.join(missing)}.", hint="Send them too.")
    remote.note_model(ask.tracker, run_of(ask.told), model)
    return Answer()


def log_inputs(ask: Ask) -> Answer:
    """Note what a run read."""
    used = [_dataset(one) for one in ask.told.objects("datasets")]
    models = [one.text("model_id", required=True, most=ID) for one in ask.told.objects("models")]
    inputs.log_inputs(ask.tracker, ask.told.text("run_id", required=True), used, models)
    return Answer()


def log_outputs(ask: Ask) -> Answer:
    """Note the models that a run made."""
    made = [
        (one.text("model_id", required=True, most=ID), one.integer("step", 0)) for one in ask.told.objects("models")
    ]
    inputs.log_outputs(ask.tracker, ask.told.text("run_id", required=True), made)
    return Answer()


def search(ask: Ask) -> Answer:
    """Return a page of runs."""
    told = ask.told
    numbers = [experiment_number(text) for text in told.texts("experiment_ids")]
    if len(numbers) > MOST_EXPERIMENTS:
        raise InputError(f"At most {MOST_EXPERIMENTS:,} experiment_ids are searched at once.", hint="Ask in parts.")
    page = searching.search_runs(
        ask.tracker,
        numbers,
        filter=told.text("filter"),
        order_by=told.texts("order_by"),
        view=told.choice("run_view_type", tuple(VIEWS), VIEW_NUMBERS, "ACTIVE_ONLY"),
        limit=told.integer("max_results", 1000, least=1, most=MOST),
        token=told.text("page_token"),
    )
    parts = []
    if page.found:
        parts.append(b'"runs":[' + b",".join(encoded(ask, page.found)) + b"]")
    if page.token:
        parts.append(b'"next_page_token":' + msgspec.json.encode(page.token))
    return Answer(b"{" + b",".join(parts) + b"}")


def _point(told: Fields, where: str) -> tuple[Point, Context]:
    key = checked_key(told.text("key", required=True), f"{where}name")
    value = told.number("value")
    at = told.integer("timestamp", required=True, least=0, most=LATEST_TIME) * 1000
    context = Context(
        told.text("model_id", most=ID), told.text("dataset_name", most=NAME), told.text("dataset_digest", most=DIGEST)
    )
    return Point(key, value, at, told.integer("step", 0)), context


def _params(told: list[Fields]) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, one in enumerate(told):
        key = checked_key(one.text("key", required=True), f"params[{place}].key")
        if key in found:
            raise InputError(f"Duplicate parameter keys have been submitted: {key!r}.", hint="Send each key once.")
        found[key] = (one.given("value") or "")[:PARAM]
    return found


def _dataset(told: Fields) -> inputs.Dataset:
    one = told.object("dataset")
    tags = {}
    for tag in told.objects("tags"):
        key = checked_value(tag.text("key", required=True), 255, "datasets.tags.key")
        tags[key] = checked_value(tag.given("value") or "", 500, "datasets.tags.value")
    return inputs.Dataset(
        name=checked_value(one.text("name", required=True), NAME, "datasets.dataset.name"),
        digest=checked_value(one.text("digest", required=True), DIGEST, "datasets.dataset.digest"),
        source_type=one.text("source_type", required=True, most=NAME),
        source=checked_value(one.text("source", required=True), 65_535, "datasets.dataset.source"),
        schema=_limited(one.given("schema"), 1_048_575, "schema"),
        profile=_limited(one.given("profile"), 16_777_215, "profile"),
        tags=tags,
    )


def _limited(value: str | None, most: int, name: str) -> str | None:
    return None if value is None else checked_value(value, most, f"datasets.dataset.{name}")
