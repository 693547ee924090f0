"""Bascule: git for the whole ML system.

`bascule.open()` gives the project that one stands in and `bascule.init()` begins one. Each command of the command line
is a function here too, which works on the project of the current folder: `bascule.run()`, `bascule.merge("dev")`,
`bascule.explain(prediction)`. See `bascule.verbs`; nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bascule.verbs import OpenProject as OpenProject
    from bascule.verbs import feature_view as feature_view
    from bascule.verbs import init as init
    from bascule.verbs import open as open

    _here = open()
    status = _here.status
    log = _here.log
    branches = _here.branches
    branch = _here.branch
    delete_branch = _here.delete_branch
    protect = _here.protect
    switch = _here.switch
    diff = _here.diff
    merge = _here.merge
    cherry_pick = _here.cherry_pick
    revert = _here.revert
    restore = _here.restore
    tags = _here.tags
    tag = _here.tag
    ingest = _here.ingest
    table = _here.table
    tables = _here.tables
    files = _here.files
    file_sets = _here.file_sets
    suggest_contract = _here.suggest_contract
    check_contract = _here.check_contract
    read_contract = _here.read_contract
    diff_contracts = _here.diff_contracts
    import_contract = _here.import_contract
    export_contract = _here.export_contract
    scan_pii = _here.scan_pii
    masks = _here.masks
    anonymise = _here.anonymise
    explain_contract = _here.explain_contract
    contract_history = _here.contract_history
    profile = _here.profile
    mock = _here.mock
    step = _here.step
    plan = _here.plan
    why = _here.why
    track = _here.track
    sync = _here.sync
    deploy = _here.deploy
    optimize = _here.optimize
    undo_optimize = _here.undo_optimize
    rollback = _here.rollback
    foresee_rollback = _here.foresee_rollback
    show_deployment = _here.show_deployment
    set_traffic = _here.set_traffic
    deployment_power = _here.deployment_power
    preview = _here.preview
    promote = _here.promote
    advance = _here.advance
    predict = _here.predict
    predict_table = _here.predict_table
    monitor = _here.monitor
    sql = _here.sql
    set_privacy_budget = _here.set_privacy_budget
    privacy_budgets = _here.privacy_budgets
    ask_privately = _here.ask_privately
    runs = _here.runs
    read_run = _here.read_run
    compare_runs = _here.compare_runs
    diff_runs = _here.diff_runs
    models = _here.models
    versions = _here.versions
    version = _here.version
    card = _here.card
    explain = _here.explain
    reproduce = _here.reproduce
    verify_audit = _here.verify_audit
    audit_log = _here.audit_log
    doctor = _here.doctor
    compact = _here.compact
    gc = _here.gc
    retention = _here.retention
    set_retention = _here.set_retention
    remove_retention = _here.remove_retention
    hold = _here.hold
    holds = _here.holds
    release_hold = _here.release_hold
    migrate = _here.migrate
    export = _here.export
    import_mlflow = _here.import_mlflow
    forget = _here.forget
    ci_init = _here.ci_init
    ci_run = _here.ci_run
    ci_ready = _here.ci_ready
    ci_comment = _here.ci_comment
    ci_lint = _here.ci_lint
    create_token = _here.create_token
    tokens = _here.tokens
    revoke_token = _here.revoke_token
    show_model = _here.show_model
    compare_models = _here.compare_models
    model_card = _here.model_card
    approve_model = _here.approve_model
    delete_model = _here.delete_model
    restore_model = _here.restore_model
    deleted_models = _here.deleted_models
    alias_model = _here.alias_model
    reject_model = _here.reject_model
    scan_model = _here.scan_model
    trust_model = _here.trust_model
    distrust_model = _here.distrust_model
    retry_models = _here.retry_models
    sign_model = _here.sign_model
    verify_model = _here.verify_model
    feature_views = _here.feature_views
    read_feature_view = _here.read_feature_view
    feature_services = _here.feature_services
    feature_impact = _here.feature_impact
    features_sql = _here.features_sql
    unused_features = _here.unused_features
    duplicate_features = _here.duplicate_features
    import_feast = _here.import_feast
    materialise = _here.materialise
    get_online_features = _here.get_online_features
    feature_skew = _here.feature_skew
    select_features = _here.select_features
    run_streams = _here.run_streams
    streams = _here.streams
    replay_stream = _here.replay_stream
    push_events = _here.push_events
    get_training_set = _here.get_training_set
    training_sets = _here.training_sets
    read_training_set = _here.read_training_set
    check_training_set = _here.check_training_set


def run(
    name: str | None = None,
    *,
    experiment: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    id: str | None = None,
    parent: str | None = None,
    force: str = "",
    watcher: Any = None,
) -> Any:
    """Record a run of one's own when anything is said of it: `with bascule.run("try 1") as run: run.log(loss=0.3)`.

    Without a word of it, it is the project's pipeline that runs, as `bascule run` does; see `OpenProject.run`.

    Args:
        name: what people call the run.
        experiment: under which it is kept with others; made when it is new.
        tags, params: what is known of it from the beginning.
        id: of a run that is there, or that other processes write too, to write more to.
        parent: the run that it is below; the one whose `with` block one is in, by itself.
        force, watcher: of the pipeline.

    Returns:
        The run, with `log`, `metric`, `metrics`, `param`, `params`, `tag`, `text`, `figure`, `table`, `artifact`,
        `reads`, `writes`, `run` and `finish`; or the pipeline's `Result`.

    Raises:
        InputError: something is said of both.
        ValueError: an id that can be none.
    """
    said: dict[str, Any] = {
        "name": name,
        "experiment": experiment,
        "tags": tags,
        "params": params,
        "id": id,
        "parent": parent,
    }
    if all(value is None for value in said.values()):
        return import_module(f"{__name__}.verbs").open().run(force=force, watcher=watcher)
    if force or watcher is not None:
        from bascule.errors import InputError

        raise InputError(
            "A run of one's own has neither `force` nor `watcher`: they are the pipeline's.",
            hint="Run the pipeline with bascule.run(force=…), and record a run with bascule.run(name=…).",
        )
    return start_run(**said)


def start_run(name: str | None = None, **said: Any) -> Any:
    """Begin a run of one's own, also without a word of it; otherwise as `run`."""
    return import_module(f"{__name__}.capture").module("bascule_run").start(name, **said)


def active_run() -> Any:
    """Return the run that is going on here: the innermost `with` block's, else the tracked script's, else None."""
    return import_module(f"{__name__}.capture").module("bascule_run").active()


def load_ipython_extension(shell: Any) -> None:
    """Record a notebook from here on: `%load_ext bascule`."""
    import_module(f"{__name__}.capture").module("bascule_notebook").load(shell)


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name == "verbs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    verbs = import_module(f"{__name__}.verbs")
    if name in verbs.__all__:
        return getattr(verbs, name)
    if name in verbs.VERBS:
        return getattr(verbs.open(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    verbs = import_module(f"{__name__}.verbs")
    return sorted([*globals(), *verbs.__all__, *verbs.VERBS])
