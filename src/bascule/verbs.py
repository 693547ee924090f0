"""The commands as Python: `bascule.open()` gives a project, and its methods are what the command line says.

Each verb has the name, the arguments and the results of its command: what `--json` prints is the result's `as_dict()`.
`bascule.run()`, `bascule.merge("dev")` and so on, without a project, mean the one of the current folder. Rooms are
imported when a verb is called, so `import bascule` costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bascule.naming import PRODUCTION

if TYPE_CHECKING:
    from bascule.catalog.audit import AuditReport
    from bascule.contracts import Report
    from bascule.history import Commit, Workspace
    from bascule.history.holds import Hold
    from bascule.history.refs import Ref
    from bascule.lake.filesets import FileSet
    from bascule.lake.maintenance import Collection, Compaction, Retention, Tell
    from bascule.project import ProjectFile
    from bascule.project.batches import Batch
    from bascule.project.caring import Finding
    from bascule.project.comparing import Comparison
    from bascule.project.forgetting import Forgetting
    from bascule.project.init import InitReport
    from bascule.project.migrating import Migration
    from bascule.project.overview import Entry, Status
    from bascule.project.place import Place
    from bascule.project.predicting import Predicted
    from bascule.project.publishing import Published
    from bascule.project.receipt import Receipt
    from bascule.project.reproducing import Reproduction
    from bascule.project.runner import Result, Watcher
    from bascule.project.shipping import Moved
    from bascule.project.tabling import BranchTable, TableDescription
    from bascule.project.watching import Watched
    from bascule.project.why import Outlook
    from bascule.registry import ModelSummary, ModelVersion
    from bascule.server.tokens import Token
    from bascule.tracking.ambient import Tracked

__all__ = ["OpenProject", "init", "open"]


def open(folder: Path | str | None = None, *, workspace: str | None = None, branch: str | None = None) -> OpenProject:
    """Open the project that a folder lies in, the current one by default.

    Nothing is read before a verb is called.

    Args:
        folder: in or below the project's folder.
        workspace: the workspace's folder; BASCULE_WORKSPACE, the project file and `.bascule` come after it.
        branch: the branch to work on; the current one when None.
    """
    from bascule.project.place import Place

    return OpenProject(Place(Path(folder) if folder is not None else None, workspace, branch))


def init(
    data: Path | str | None = None,
    label: str | None = None,
    *,
    into: Path | str = ".",
    template: str | None = None,
    name: str | None = None,
    catalog: str = "",
    storage: str = "",
    git: bool = True,
) -> InitReport:
    """Look at a folder of data, write a project in plain text and make its workspace; see `begin_project`."""
    from bascule.project.beginning import begin_project

    return begin_project(data, label, into, template=template, name=name, catalog=catalog, storage=storage, git=git)


class OpenProject:
    """A project with its workspace and its current branch. Each method is the command of that name."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def __repr__(self) -> str:
        return f"OpenProject({str(self.place.start)!r})"

    def __enter__(self) -> OpenProject:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections to the workspace; the next verb opens them anew."""
        self.place.close()

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.place.folder

    @property
    def file(self) -> ProjectFile:
        """The project file, read and checked."""
        return self.place.file

    @property
    def workspace(self) -> Workspace:
        """The workspace."""
        return self.place.workspace

    # The history ------------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return the current branch, what it holds, what it has that main has not, and what is served."""
        from bascule.project.overview import status

        return status(self.place)

    def log(
        self, ref: str | None = None, *, path: str | None = None, limit: int | None = 20, full_history: bool = False
    ) -> list[Entry]:
        """Return the commits of a branch, youngest first, with what each changed; a merge stands for what it brought.

        Args:
            full_history: also the commits that merges brought.
        """
        from bascule.project.overview import log

        return log(self.place, ref, path=path, limit=limit, full_history=full_history)

    def branches(self) -> list[Ref]:
        """Return all branches."""
        return self.workspace.history.branches()

    def branch(self, name: str, *, at: str | None = None) -> Ref:
        """Make a branch at a state, the current branch by default. It costs no copy, whatever the data."""
        return self.workspace.history.create_branch(name, at or self.place.branch)

    def delete_branch(self, name: str, *, force: bool = False) -> None:
        """Remove a branch's name; with `force` even if main does not have all of it."""
        if name == self.place.branch:
            from bascule.errors import InputError

            others = [ref.name for ref in self.branches() if ref.name != name]
            other = "main" if "main" in others else next(iter(others), "")
            hint = f"Switch to another one first: bascule switch {other}" if other else "It is the only one; it stays."
            raise InputError(f"{name!r} is the current branch.", hint=hint)
        self.workspace.history.delete_branch(name, force=force)

    def protect(self, name: str, protected: bool = True) -> None:
        """Set whether required checks hold what lands on a branch, and nobody may delete it."""
        self.workspace.history.protect(name, protected)

    def switch(self, name: str, *, create: bool = False) -> None:
        """Make a branch the current one; where git is followed this is `git switch`."""
        self.place.switch(name, create=create)

    def diff(
        self,
        before: str,
        after: str | None = None,
        *,
        path: str | Sequence[str] = "",
        rows: int = 5,
        stat: bool = False,
        whole: bool | None = None,
    ) -> list[Comparison]:
        """Compare two states, the second one by default the current branch, each kind of object in its own words.

        Args:
            path: only paths that begin so, or so.
            rows: show at most so many rows of a table that were added, removed and changed, each.
            stat: only say which paths differ; no data is read.
            whole: read whole tables for each column's figures; None does so for small ones.
        """
        from bascule.project.comparing import compare

        return compare(self.workspace, before, after or self.place.branch, path, rows, stat=stat, whole=whole)

    def merge(
        self,
        source: str,
        into: str | None = None,
        *,
        message: str | None = None,
        ours: Iterable[str] = (),
        theirs: Iterable[str] = (),
        rows: Iterable[str] | None = None,
        cells: bool = False,
        conflicts: Path | None = None,
        ship: bool = True,
        squash: bool = False,
    ) -> Published:
        """Merge a branch after its checks, and ship what is new; see `publish`.

        Args:
            into: the branch that was named when the project was opened, else the current one, else main.
            rows: merge tables that both sides changed row by row, by their keys: these, or all when none is named.
            cells: with `rows`, merge a row of which each side changed other columns.
            conflicts: with `rows`, a file that gets every row in conflict, as JSON lines.
            squash: land as one commit that does not lead to those of the source.
        """
        from bascule.project.publishing import publish
        from bascule.project.required import required_of
        from bascule.project.settling import RowRules

        return publish(
            self.workspace,
            source,
            into or self.place.target(source),
            ours=ours,
            theirs=theirs,
            rows=RowRules.of(rows, cells, conflicts) if rows is not None else None,
            message=message,
            ship=ship,
            squash=squash,
            required=required_of(self.place),
        )

    def cherry_pick(
        self,
        ref: str,
        *,
        message: str | None = None,
        ours: Iterable[str] = (),
        theirs: Iterable[str] = (),
        ship: bool = True,
    ) -> Published:
        """Bring what one commit changed onto the current branch, after the checks of a merge; see `pick`."""
        from bascule.project.publishing import pick
        from bascule.project.required import required_of

        told: dict[str, Any] = {"message": message, "ours": ours, "theirs": theirs, "ship": ship}
        return pick(self.workspace, ref, self.place.branch, required=required_of(self.place), **told)

    def revert(self, ref: str, *, message: str | None = None, force: str | None = None) -> Commit:
        """Undo one commit on the current branch by a new one.

        Args:
            force: why to land it although a check refuses the state that comes out.
        """
        from bascule.project.required import required_of
        from bascule.project.reverting import revert

        return revert(self.workspace, ref, self.place.branch, message, force=force, required=required_of(self.place))

    def restore(self, paths: Sequence[str], source: str, *, message: str | None = None) -> Published:
        """Give paths of the current branch the objects that they have at another state, after a merge's checks."""
        from bascule.project.publishing import restore
        from bascule.project.required import required_of

        required = required_of(self.place)
        return restore(self.workspace, paths, source, self.place.branch, message=message, required=required)

    def tags(self) -> list[Ref]:
        """Return all tags."""
        return self.workspace.history.tags()

    def tag(self, name: str, at: str | None = None) -> Ref:
        """Name a state for good, the current branch by default."""
        return self.workspace.history.tag(name, at or self.place.branch)

    # From data to a model ---------------------------------------------------------------------------------------------

    def ingest(
        self,
        table: str,
        source: Path | str,
        *,
        key: Sequence[str] = (),
        mode: Literal["append", "replace"] | None = None,
        dates: Literal["day-first", "month-first"] | None = None,
        message: str | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> Batch:
        """Bring files into a table: written on a branch of their own, checked there, merged when they pass."""
        from bascule.project.bringing import ingest

        return ingest(self.place, table, source, key=key, mode=mode, dates=dates, message=message, tell=tell)

    def table(self, name: str, *, at: str | None = None) -> BranchTable:
        """Return a table: look at it and read it, create, append, overwrite, upsert, delete, change or drop it.

        Args:
            at: the state that is read; the current branch by default.
        """
        from bascule.project.tabling import BranchTable

        return BranchTable(self.place, name, at)

    def tables(self, at: str | None = None) -> list[TableDescription]:
        """Return the tables of a state, the current branch by default."""
        from bascule.project.tabling import list_tables

        return list_tables(self.place, at)

    def files(self, name: str, *, at: str | None = None) -> FileSet:
        """Return a set of files: add a folder to it, check it out, or read it by path without a checkout.

        What is added to a protected branch is held to the checks that the project requires.

        Args:
            name: the set; it begins with its first `add`.
            at: the state that is read; the current branch by default.
        """
        from bascule.lake.filesets import FileSet
        from bascule.project.admitting import admission

        branch = self.place.branch
        guard = admission(self.workspace, branch, self.place.folder)
        return FileSet(self.workspace, name, branch, at, guard=guard)

    def file_sets(self, at: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the sets of files at a state, by name, with the object of each: how many files, how many bytes."""
        from bascule.lake.filesets import file_sets

        return dict(file_sets(self.workspace, at or self.place.branch))

    def suggest_contract(self, table: str) -> str:
        """Return a contract that a table keeps, as commented text to review."""
        from bascule.project.contracting import suggest_contract

        return suggest_contract(self.place, table)

    def check_contract(self, table: str) -> Report:
        """Check a table against its contract."""
        from bascule.project.contracting import check_contract

        return check_contract(self.place, table)

    def run(self, *, force: str = "", watcher: Watcher | None = None) -> Result:
        """Bring the branch up to date with the project: every step whose inputs changed runs, and no other."""
        from bascule.project.runner import run_project

        return run_project(self.file, self.workspace, self.place.branch, watcher, force=force)

    def step(self, name: str, *, force: str = "", watcher: Watcher | None = None) -> Receipt:
        """Run one step if its inputs changed, and return its receipt."""
        from bascule.project.runner import run_project

        done = run_project(self.file, self.workspace, self.place.branch, watcher, only=name, force=force)
        return done.receipts[0]

    def plan(self) -> list[Outlook]:
        """Return the steps, which of them would run, and why."""
        from bascule.project.why import outlook

        return outlook(self.file, self.workspace, self.place.branch)

    def why(self, step: str) -> Outlook:
        """Return why a step would run, or why there is nothing to do: which term of its cache key differs."""
        from bascule.errors import NotFound

        found = {row.step: row for row in self.plan()}
        if step not in found:
            raise NotFound("step", step, found)
        return found[step]

    def track(self, command: Sequence[str], *, output: Any = None) -> Tracked:
        """Run any script, unchanged, and record what it read, set, measured and made."""
        from bascule.tracking.ambient import track

        return track(self.workspace, self.folder, command, self.place.branch, output=output)

    # Serve and ship ---------------------------------------------------------------------------------------------------

    def deploy(
        self,
        name: str | None = None,
        version: str | int = PRODUCTION,
        *,
        model: str | None = None,
        strategy: str | None = None,
        reason: str = "",
    ) -> Moved:
        """Bring a version into service: the first at once, a later one by canary steps that judge it."""
        from bascule.project.shipping import deploy_version

        return deploy_version(self.place, name, str(version), model=model, strategy=strategy, reason=reason)

    def rollback(self, name: str, *, reason: str = "") -> Moved:
        """Give a deployment the stable traffic that it had before."""
        from bascule.delivery import rollback
        from bascule.project.shipping import move

        return move(self.place, rollback, name, reason)

    def promote(self, name: str, *, reason: str = "") -> Moved:
        """Give a canary all traffic now."""
        from bascule.delivery import promote
        from bascule.project.shipping import move

        return move(self.place, promote, name, reason)

    def advance(self, name: str, *, reason: str = "") -> Moved:
        """Give a canary its next share of the traffic now."""
        from bascule.delivery import advance
        from bascule.project.shipping import move

        return move(self.place, advance, name, reason)

    def predict(self, name: str, values: Mapping[str, Any] | None = None, *, example: bool = False) -> Predicted:
        """Ask a deployment about one row. The answer is logged like any other."""
        from bascule.project.predicting import predict

        return predict(self.place, name.removeprefix("deployments/"), values or {}, example=example)

    def monitor(self, name: str | None = None) -> list[Watched]:
        """Measure drift and quality of what is served; open and close alerts; fire triggers."""
        from bascule.project.watching import watch

        return watch(self.workspace, self.place.branch, name)

    # Ask and prove ----------------------------------------------------------------------------------------------------

    def sql(self, query: str, params: Sequence[Any] | None = None, *, at: str | None = None) -> list[dict[str, Any]]:
        """Ask the lake at any state, the records and the log of predictions; all rows are returned."""
        from bascule.project.querying import query as ask

        return ask(self.workspace, query, params, at or self.place.branch)

    def runs(self, limit: int = 20) -> list[dict[str, Any]]:
        """Return the last runs, youngest first."""
        from bascule.tracking.reading import list_runs

        return list_runs(self.workspace, limit)

    def read_run(self, run: str) -> dict[str, dict[str, Any]]:
        """Return one run by its id or the start of it: parameters, metrics, what it read and wrote."""
        from bascule.tracking.reading import read_run

        return read_run(self.workspace, run)

    def models(self) -> list[ModelSummary]:
        """Return the models of the branch."""
        from bascule.registry import list_models

        return list_models(self.workspace, self.place.branch)

    def versions(self, model: str) -> list[ModelVersion]:
        """Return the versions of a model."""
        from bascule.registry import list_versions

        return list_versions(self.workspace, self.place.branch, model)

    def version(self, model: str, which: str | int = PRODUCTION) -> ModelVersion:
        """Return one version of a model, by number or alias."""
        from bascule.registry import get_version

        return get_version(self.workspace, self.place.branch, model, which)

    def card(self, model: str, which: str | int = PRODUCTION) -> str:
        """Return a version's card, as Markdown; empty when it has none."""
        found = self.version(model, which)
        return self.workspace.store.get(found.card).decode() if found.card else ""

    def explain(self, prediction: str) -> dict[str, Any]:
        """Return which data, code, model, person and approval made an answer."""
        from bascule.project.explaining import explain_prediction

        return explain_prediction(self.workspace, prediction)

    def reproduce(self, model: str, version: str | int | None = None) -> Reproduction:
        """Train a version again from what was recorded, and compare byte by byte.

        Args:
            model: the model, or MODEL@VERSION.
            version: a number or an alias; production when neither says.
        """
        from bascule.project.reproducing import reproduce

        name, _, wanted = model.partition("@")
        found = self.version(name, version if version is not None else wanted or PRODUCTION)
        quiet = lambda message, done=0, total=None: None  # noqa: E731
        return reproduce(self.workspace, self.place.branch, name, found.version, quiet)

    def verify_audit(self) -> AuditReport:
        """Walk the hash chain of the audit log."""
        from bascule.catalog import audit

        return audit.verify(self.workspace.catalog)

    def audit_log(self, limit: int = 30) -> list[dict[str, Any]]:
        """Return the last entries of the audit log, youngest first; `at` in UTC."""
        from bascule.catalog import audit

        return audit.last(self.workspace.catalog, limit)

    def doctor(self, *, deep: bool = False) -> list[Finding]:
        """Look whether everything that the workspace promises holds; `deep` reads every blob and data file too."""
        from bascule.project.caring import examine

        return examine(self.workspace, deep)

    # Look after -------------------------------------------------------------------------------------------------------

    def compact(
        self, *tables: str, target_size: int | None = None, dry_run: bool = False, tell: Tell | None = None
    ) -> list[Compaction]:
        """Make small files of the branch's tables (all of them when none is named) into large ones, and commit.

        Args:
            target_size: about how large a file becomes, in bytes; 128 MiB when None.
            tell: is told what is going on, how far it is, and of how many.
        """
        from bascule.lake import Lake
        from bascule.lake.maintenance import compact_tables

        return compact_tables(Lake(self.workspace), tables, self.place.branch, target_size, dry_run=dry_run, tell=tell)

    def gc(self, *, dry_run: bool = False, grace: int | None = None, tell: Tell | None = None) -> Collection:
        """Delete what no kept state, no record and no hold leads to.

        Args:
            grace: leave alone what is younger, in microseconds; a day when None.
            tell: is told what is going on, how far it is, and of how many.
        """
        from bascule.lake.maintenance import collect

        return collect(self.workspace, dry_run=dry_run, grace=grace, tell=tell)

    def retention(self) -> Retention:
        """Return how long states are kept."""
        from bascule.lake.maintenance import retention

        with self.workspace.catalog.read() as conn:
            return retention.load(conn)

    def set_retention(
        self,
        branches: str | None = None,
        *,
        keep: str | None = None,
        last: int | None = None,
        idle: str | None = None,
        unnamed: str | None = None,
    ) -> Retention:
        """Say how long the states of some branches are kept, or of deleted ones (`unnamed`); spans such as `90d`."""
        from bascule.lake.maintenance import retention

        return retention.change(self.workspace.catalog, branches, keep=keep, last=last, idle=idle, unnamed=unnamed)

    def remove_retention(self, branches: str) -> Retention:
        """Take a rule away."""
        from bascule.catalog import actor
        from bascule.lake.maintenance import retention

        return retention.save(self.workspace.catalog, self.retention().without_rule(branches), actor())

    def hold(self, subject: str, *, reason: str) -> Hold:
        """Put a legal hold on a branch, a tag, a commit, or a path such as `tables/flights` in every state."""
        from bascule.history import holding

        return holding.hold(self.workspace, subject, reason)

    def holds(self, *, released: bool = False) -> list[Hold]:
        """Return the legal holds that last; with `released`, also those that ended."""
        from bascule.history import holds

        with self.workspace.catalog.read() as conn:
            return holds.listed(conn, released=released)

    def release_hold(self, which: str) -> list[Hold]:
        """End a hold by its id, or all holds on a subject."""
        from bascule.catalog import actor
        from bascule.history import holds

        with self.workspace.catalog.write() as conn:
            return holds.release(conn, which, actor())

    def migrate(
        self,
        *,
        to_catalog: str | None = None,
        to_storage: str | None = None,
        dry_run: bool = False,
        progress: Callable[[str, int, int | None], None] = lambda what, done, total: None,
    ) -> Migration:
        """Move the workspace to another catalog and another storage, either way, with every id kept.

        Args:
            to_catalog: a database's URL, or `sqlite` for the workspace's folder; None leaves it where it is.
            to_storage: `s3://bucket/prefix`, a folder, or `disk` for the workspace's folder; None leaves it.
            dry_run: say what would be moved, and whether it can be; change nothing.
        """
        from bascule.project.migrating import migrate

        workspace = self.workspace
        try:
            return migrate(workspace, catalog=to_catalog, storage=to_storage, dry_run=dry_run, progress=progress)
        finally:
            self.close()

    def forget(
        self,
        table: str,
        subject: Mapping[str, Any],
        *,
        dry_run: bool = False,
        reason: str = "",
        despite_hold: str = "",
    ) -> Forgetting:
        """Remove a subject's rows from every state of a table, the online store and the logs; leave a proof.

        Args:
            subject: column to value, as many as name the subject.
            despite_hold: why it is done although a legal hold stands against it.
        """
        from bascule.project.forgetting import forget_subject

        return forget_subject(
            self.workspace, table, dict(subject), dry_run=dry_run, reason=reason, despite_hold=despite_hold
        )

    def create_token(self, name: str, role: str = "reader") -> tuple[Token, str]:
        """Make an access token and return it with its secret, which is kept nowhere else."""
        from bascule.server.tokens import create_token

        return create_token(self.workspace.catalog, name, role)

    def tokens(self) -> list[Token]:
        """Return all tokens: names and roles, never the secrets."""
        from bascule.server.tokens import list_tokens

        return list_tokens(self.workspace.catalog)

    def revoke_token(self, name: str) -> Token:
        """Take a token back, by name or id."""
        from bascule.server.tokens import revoke_token

        return revoke_token(self.workspace.catalog, name)


#: The methods that `bascule.NAME` calls on the project of the current folder.
VERBS = frozenset(
    name
    for name, value in vars(OpenProject).items()
    if not name.startswith("_") and name != "close" and not isinstance(value, property)
)
