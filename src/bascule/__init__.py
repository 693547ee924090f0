"""Bascule: git for the whole ML system.

`bascule.open()` gives the project that one stands in and `bascule.init()` begins one. Each command of the command line
is a function here too, which works on the project of the current folder: `bascule.run()`, `bascule.merge("dev")`,
`bascule.explain(prediction)`. See `bascule.verbs`; nothing is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bascule.verbs import OpenProject as OpenProject
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
    run = _here.run
    step = _here.step
    plan = _here.plan
    why = _here.why
    track = _here.track
    deploy = _here.deploy
    rollback = _here.rollback
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
    forget = _here.forget
    ci_init = _here.ci_init
    ci_run = _here.ci_run
    ci_ready = _here.ci_ready
    ci_comment = _here.ci_comment
    ci_lint = _here.ci_lint
    create_token = _here.create_token
    tokens = _here.tokens
    revoke_token = _here.revoke_token


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
