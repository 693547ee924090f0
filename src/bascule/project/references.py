"""What the sections of a project say about one another and about files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from bascule.durations import parse_duration
from bascule.errors import InputError, suggestion
from bascule.project.file import ProjectFile
from bascule.project.pythonviews import PLACE
from bascule.project.sections import Deployment, FeatureView, Steps, Stream, Training

#: What the rooms below know; their modules are too heavy to be imported for reading a file, so a test compares.
AGGREGATES = (
    *("count", "sum", "mean", "min", "max", "variance", "stddev", "first", "last"),
    *("distinct", "approx_distinct", "percentile", "approx_percentile", "top_k"),
)
ALSO_CALLED = (
    *("avg", "var", "var_samp", "std", "stddev_samp", "first_n", "last_n", "count_distinct"),
    *("approx_count_distinct", "quantile", "median", "approx_quantile"),
)
TRAINERS = ("lightgbm", "linear")
KINDS = ("text", "integer", "number", "boolean", "time", "date")
HIGHER_IS_BETTER = ("accuracy", "auc", "r2")
_AGGREGATE = re.compile(r"\s*([a-z_]\w*)\s*\(\s*(\*|\"[^\"]+\"|[A-Za-z_]\w*)\s*(?:,[^,)]*)?\)\s*", re.IGNORECASE)
_QUALIFIED = re.compile(r"\b([A-Za-z_]\w*)\.[A-Za-z_]\w*")
_BRACED = re.compile(r"\{[^{}]+\}")
_TEXT = re.compile(r"'(?:[^']|'')*'")


def check_references(project: ProjectFile) -> None:
    """Check names against what they name, files against the disk, and settings against each other.

    Raises:
        ProjectFileError: at the first thing that does not hold, in the order of the sections.
    """
    for check in CHECKS:
        check(project)


def _contracts(project: ProjectFile) -> None:
    for table, contract in project.contract.items():
        key = ("contract", table)
        if table not in project.source and table not in project.stream:
            hint = f"{suggestion(table, list(project.source), 'source')} A table that came by hand needs one, too."
            raise project.problem(key, f"there is no [source.{table}].", hint)
        if not project.path(contract.file).is_file():
            hint = "Write one, or remove the section."
            raise project.problem((*key, "file"), f"there is no file {contract.file}.", hint)


def _keys(project: ProjectFile) -> None:
    lists = [(("source", name, "key"), source.key) for name, source in project.source.items()]
    lists += [(("entity", name, "keys"), entity.keys) for name, entity in project.entity.items()]
    for key, columns in lists:
        doubled = next((one for one in columns if columns.count(one) > 1), None)
        if doubled:
            raise project.problem(key, f"names the column {doubled!r} twice.")


def _feature_views(project: ProjectFile) -> None:
    for name, view in project.views().items():
        key = ("features", name)
        if view.entity not in project.entity:
            raise project.problem(
                (*key, "entity"),
                f"there is no [entity.{view.entity}].",
                suggestion(view.entity, list(project.entity), "entity"),
            )
        for setting, message, hint in _view_problems(view):
            raise project.problem((*key, setting), message, hint)
        if view.hop is not None:
            _hop(project, name, view)
        if not PLACE.fullmatch(view.sql):  # what Python gives is asked for when it is needed
            project.sql("features", name, "sql")
        _aggregates(project, name, view)


def _hop(project: ProjectFile, name: str, view: FeatureView) -> None:
    key, hop = ("features", name, "hop"), parse_duration(view.hop or "")
    odd = next((window for window in view.windows if hop == 0 or parse_duration(window) % hop), None)
    if odd is not None or not view.windows:
        told = f"the window {odd} is no multiple of {view.hop}." if odd else "there are no windows to cut into tiles."
        raise project.problem(key, told, "Take one that divides every window, such as 1m for 5m, 1h and 1d.")
    if view.known_time is not None:
        raise project.problem(key, "a tile counts an event from when it came: known_time means nothing beside it.")
    if not project.stream:
        hint = "Only views of a stream have a hop: write [stream.TABLE], or remove it."
        raise project.problem(key, "the project has no stream.", hint)


def _streams(project: ProjectFile) -> None:
    for name, stream in project.stream.items():
        key = ("stream", name)
        if name in project.source:
            hint = "Name the stream's table otherwise: what one writes the other does not know of."
            raise project.problem(key, f"there is a [source.{name}] already, which writes the same table.", hint)
        for column, kind in stream.columns.items():
            if kind not in KINDS:
                raise project.problem(
                    (*key, "columns", column), f"there is no kind {kind!r}.", suggestion(kind, KINDS, "kind")
                )
        for setting, columns in (("time", (stream.time,)), ("key", stream.key)):
            odd = next((column for column in columns if column not in stream.columns), None)
            if odd is not None:
                hint = suggestion(odd, list(stream.columns), "column")
                raise project.problem((*key, setting), f"there is no column {odd!r} in columns.", hint)
        if stream.path.startswith("table:"):
            _followed(project, name, stream)
        if stream.columns[stream.time] != "time":
            kind = stream.columns[stream.time]
            raise project.problem((*key, "time"), f"{stream.time!r} is of kind {kind}.", 'Its kind must be "time".')


def _followed(project: ProjectFile, name: str, stream: Stream) -> None:
    """A stream that follows a table: not its own, and with no options but its own."""
    table = stream.path.removeprefix("table:")
    if not table or table == name:
        told = "names no table." if not table else "a stream cannot follow the table that it writes."
        raise project.problem(("stream", name, "path"), told, "Name another table of the lake: table:raw_clicks.")
    odd = next((option for option in stream.options if option != "changes"), None)
    if odd is not None:
        hint = suggestion(odd, ["changes"], "option")
        raise project.problem(("stream", name, "options", odd), "a table has no such option.", hint)
    changes = stream.options.get("changes", "refuse")
    if changes not in ("refuse", "keep"):
        hint = suggestion(changes, ["refuse", "keep"], "choice")
        raise project.problem(("stream", name, "options", "changes"), f"{changes!r} is not known.", hint)


def _view_problems(view: FeatureView) -> Iterator[tuple[str, str, str]]:
    if view.event_time is None:
        for setting in ("known_time", "ttl", "windows", "aggregates"):
            if getattr(view, setting):
                yield setting, "means nothing without event_time.", "Name the column with the moment of each row."
    if view.windows and not view.aggregates:
        yield "windows", "there is nothing to aggregate.", 'Write aggregates = { late = "mean(late)" }.'
    if view.aggregates and not view.windows:
        yield "aggregates", "there are no windows to aggregate over.", 'Write windows = ["1d", "7d"].'
    if view.windows and view.ttl:
        yield "ttl", "means nothing beside windows, which forget by themselves.", "Remove ttl."
    if view.windows and view.fields:
        yield "fields", "means nothing beside windows: the aggregates are the features.", "Remove fields."


def _aggregates(project: ProjectFile, name: str, view: FeatureView) -> None:
    for feature, text in view.aggregates.items():
        key = ("features", name, "aggregates", feature)
        match = _AGGREGATE.fullmatch(text)
        if match is None:
            raise project.problem(
                key, f"{text!r} is not an aggregate.", 'Write one of one column, such as "mean(late)".'
            )
        if match[1].lower() not in (*AGGREGATES, *ALSO_CALLED):
            raise project.problem(
                key, f"there is no aggregate {match[1]!r}.", suggestion(match[1], AGGREGATES, "aggregate")
            )


def _request_views(project: ProjectFile) -> None:
    views = project.views()
    for name, view in project.request_views().items():
        for feature, text in view.expressions.items():
            for named in _QUALIFIED.findall(_TEXT.sub("''", text)):
                if named not in views:
                    raise project.problem(
                        ("features", name, "expressions", feature),
                        f"{text!r} reads from {named!r}, which is not a feature view.",
                        suggestion(named, list(views), "feature view"),
                    )


def _services(project: ProjectFile) -> None:
    for name, service in project.service.items():
        for place, feature in enumerate(service.features):
            view = feature.split(".")[0]
            if view not in project.features:
                key = ("service", name, "features", place)
                hint = suggestion(view, list(project.features), "feature view")
                raise project.problem(key, f"there is no [features.{view}].", hint)


def _training(project: ProjectFile) -> None:
    training = project.training
    if training is None:
        return
    for place, name in enumerate(training.features):
        if name not in project.features:
            raise project.problem(
                ("training", "features", place),
                f"there is no [features.{name}].",
                suggestion(name, list(project.features), "feature view"),
            )
    known = [*project.features, *training.request]
    for place, name in enumerate(training.trusted):
        if name.split(".")[0] not in known:
            raise project.problem(
                ("training", "trusted", place),
                f"there is no feature view and no request column {name.split('.')[0]!r}.",
                suggestion(name.split(".")[0], known, "feature"),
            )
    if not training.features and not training.request:
        raise project.problem(
            ("training",), "names neither features nor request columns.", "Write features = […] or request = […]."
        )
    project.sql("training", "population")
    if training.label_time and not training.prediction_time:
        raise project.problem(("training", "label_time"), "means nothing without prediction_time.")
    if training.cut_off:
        try:
            datetime.fromisoformat(training.cut_off)
        except ValueError:
            hint = "Write it as 2013-07-01 or 2013-07-01T00:00:00Z."
            raise project.problem(("training", "cut_off"), f"{training.cut_off!r} is not a time.", hint) from None
    for setting, message, hint in _split_problems(training):
        raise project.problem(("training", "split", setting), message, hint)


def _split_problems(training: Training) -> Iterator[tuple[str, str, str]]:
    sizes = {"validation": training.split.validation, "test": training.split.test}
    spans = [name for name, size in sizes.items() if isinstance(size, str)]
    if len(spans) == 1:
        yield spans[0], "is a span of time, the other part is a share.", "Write both as spans or both as shares."
    for name, size in sizes.items():
        if isinstance(size, str) and not training.prediction_time:
            yield name, "is a span of time, but there is no prediction_time.", "Write a share such as 0.15."
        if isinstance(size, str) and parse_duration(size) == 0:
            yield name, "is empty.", 'Write a span such as "30d".'
    if sum(size for size in sizes.values() if isinstance(size, float)) >= 1:
        yield "test", "and validation leave nothing to train on.", "Make them smaller; 0.15 each is usual."
    if training.split.group and training.prediction_time:
        yield "group", "is for splits without prediction_time.", "Remove it: the split goes by time."


def _needs(project: ProjectFile) -> None:
    for name, needed in (
        ("model", "training"),
        ("training", "model"),
        ("deployment", "model"),
        ("monitoring", "deployment"),
        ("retrain", "training"),
    ):
        if getattr(project, name) is not None and getattr(project, needed) is None:
            raise project.problem((name,), f"needs the section [{needed}], which is missing.")


def _steps(project: ProjectFile) -> None:
    if project.model is not None and project.model.steps != Steps():
        from bascule.project.graphs import check_steps  # it loads the engines

        check_steps(project)


def _trainer(project: ProjectFile) -> None:
    if project.model is None or ":" in project.model.trainer or project.model.trainer in TRAINERS:
        return
    hint = suggestion(project.model.trainer, TRAINERS, "trainer")
    message = f"there is no trainer {project.model.trainer!r}."
    raise project.problem(("model", "trainer"), message, f"{hint} Or write module:function for one of your own.")


def _gates(project: ProjectFile) -> None:
    floor = project.gates.slice_floor
    if floor is None:
        return
    key = ("gates", "slice_floor")
    if not project.gates.slices:
        raise project.problem(key, "means nothing without slices.", 'Write slices = ["a column"].')
    higher = floor.metric in HIGHER_IS_BETTER
    wanted, unfit = ("minimum", "maximum") if higher else ("maximum", "minimum")
    if getattr(floor, wanted) is None or getattr(floor, unfit) is not None:
        better = "higher" if higher else "lower"
        raise project.problem(
            key, f"of {floor.metric} needs {wanted} and no {unfit}: {better} is better.", f"Write {wanted} = a number."
        )


def _delivery(project: ProjectFile) -> None:
    if project.deployment is None:
        return
    steps = project.deployment.steps
    if steps[-1] != 100 or list(steps) != sorted(set(steps)):
        raise project.problem(
            ("deployment", "steps"), f"{list(steps)} must grow and end at 100.", "Write steps = [10, 100]."
        )
    _strategy(project, project.deployment)
    _service(project, project.deployment)
    branches: dict[str, str] = {}
    for name, environment in project.deployment.environments.items():
        if (other := branches.setdefault(environment.branch, name)) != name:
            raise project.problem(
                ("deployment", "environments", name, "branch"),
                f"{environment.branch!r} is the branch of {other!r} already.",
                "Give each environment a branch of its own.",
            )


def _service(project: ProjectFile, rules: Deployment) -> None:
    """Settings of workers, where there are none: the model answers in the server, where nothing could keep them."""
    if rules.service.workers or (project.model is not None and project.model.steps != Steps()):
        return
    for key in ("timeout", "queue", "memory"):
        if ("deployment", "service", key) in project.lines:
            raise project.problem(
                ("deployment", "service", key),
                "means something to workers only; there are none, so the model answers in the server itself.",
                "Write workers = 1, or more, beside it.",
            )


# What each key of [deployment] means something to.
_MEANT_FOR = {
    "steps": ("canary",),
    "share": ("ab", "bandit"),
    "goal": ("ab", "bandit"),
    "floor": ("bandit",),
    "keep": ("blue_green",),
}


def _strategy(project: ProjectFile, rules: Deployment) -> None:
    strategy, goal = rules.strategy, rules.goal
    for key, meant in _MEANT_FOR.items():
        # A project that `init` wrote has the canary's steps, and keeps them where its strategy is changed.
        if key != "steps" and ("deployment", key) in project.lines and strategy not in meant:
            told = " and ".join(repr(one) for one in meant)
            raise project.problem(("deployment", key), f"means something to {told} only; the strategy is {strategy!r}.")
    if strategy not in ("ab", "bandit") and goal is None and not rules.guardrails.measures:
        return
    from bascule.delivery.strategies import GOAL_HINT, read_plan, sql_problem  # its room is too heavy for other files

    if strategy in ("ab", "bandit") and goal is None:
        raise project.problem(
            ("deployment", "strategy"), f"{strategy!r} needs a goal: what is to be better.", GOAL_HINT
        )
    try:
        if goal is not None:
            read_plan({"goal": msgspec.structs.asdict(goal)})
    except InputError as error:
        raise project.problem(("deployment", "goal", "measure"), error.message, error.hint) from error
    for name, measure in rules.guardrails.measures.items():
        if why := sql_problem(measure.sql):
            place = ("deployment", "guardrails", "measures", name, "sql")
            raise project.problem(place, f"{why}.", "Such as: select prediction_id, score as value from predictions")


def _monitoring(project: ProjectFile) -> None:
    if project.monitoring is None:
        return
    k, n = project.monitoring.drift.persistence
    if k > n:
        key = ("monitoring", "drift", "persistence")
        raise project.problem(key, f"asks for {k} of {n} periods.", "The first number may not exceed the second.")


def _retrain(project: ProjectFile) -> None:
    if project.retrain is None:
        return
    if project.retrain.when and project.monitoring is None:
        raise project.problem(("retrain", "when"), "needs the section [monitoring], which is missing.")
    # What reads rules and calendars is the room that follows them; it is too heavy for projects without them.
    from bascule.monitoring import read_trigger

    for setting in ("when", "schedule"):
        value = getattr(project.retrain, setting)
        if value is not None:
            try:
                read_trigger({"name": "retrain", "monitor": "", "rule": {setting: value}})
            except InputError as error:
                raise project.problem(("retrain", setting), error.message, error.hint) from None


def _merge(project: ProjectFile) -> None:
    for check in project.merge.checks:
        if check.endswith(".sql") and not project.path(check).is_file():
            raise project.problem(("merge", "checks"), f"there is no file {check}.", "Write it, or remove the check.")


def _forget(project: ProjectFile) -> None:
    for name, link in project.forget.link.items():
        key = ("forget", "link", name)
        if (link.table is None) == (link.files is None):
            raise project.problem(
                key, "leads to a table or to files, to one of the two.", "Write table = … or files = …"
            )
        if link.table is not None and not link.columns:
            raise project.problem(
                key, "says no columns: all rows would be the subject's.", 'Write columns = { customer = "id" }'
            )
        if link.files is not None and not _BRACED.search(link.path or ""):
            raise project.problem(
                key,
                "has no path with a column in braces: all files would be the subject's.",
                'Write path = "people/{id}/**"',
            )


CHECKS: tuple[Callable[[ProjectFile], None], ...] = (
    _contracts,
    _keys,
    _feature_views,
    _request_views,
    _services,
    _streams,
    _needs,
    _training,
    _trainer,
    _steps,
    _gates,
    _delivery,
    _monitoring,
    _retrain,
    _merge,
    _forget,
)
