"""Look after a workspace, as Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from bascule.errors import NotFound
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.history.holds import Hold
    from bascule.lake.maintenance import Collection, Compaction, Retention, Tell
    from bascule.project.forgetting import Forgetting
    from bascule.project.migrating import Migration
    from bascule.protocols.mlflow.importing import Imported
    from bascule.protocols.plain import Exported
    from bascule.server.tokens import Token


class CaringVerbs(Bound):
    """Look after: each method is the command of that name."""

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
        """Delete what no kept state, no record and no hold leads to, and runs that were deleted long enough ago.

        Args:
            grace: leave alone what is younger, in microseconds; a day when None.
            tell: is told what is going on, how far it is, and of how many.
        """
        from bascule.project.collecting import collect

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

    def export(
        self,
        folder: Path | str,
        *paths: str,
        all: bool = False,
        ref: str | None = None,
        tell: Tell | None = None,
    ) -> Exported:
        """Write what a state holds as plain files into a new folder: Parquet, MLflow's layout, ONNX, ODCS.

        Args:
            folder: where to; it is made.
            paths: what is written: `tables/flights`, or `tables` for all tables.
            all: all that the state holds, every record, the training sets and the artifacts of runs.
            ref: a branch, a tag or a commit; the current branch when None.
            tell: is told what is going on, how far it is, and of how many.
        """
        from bascule.protocols.plain import export

        return export(self.workspace, Path(folder), paths, everything=all, ref=ref or self.place.branch, tell=tell)

    def import_mlflow(
        self,
        source: str,
        *,
        artifacts: Sequence[Path] = (),
        conflicts: str = "refuse",
        dry_run: bool = False,
        progress: Callable[[str, int, int | None], None] = lambda what, done, total: None,
    ) -> Imported:
        """Copy what an MLflow server, database or `mlruns` folder holds, with ids kept; repeating it goes on.

        Args:
            source: `http://HOST:PORT`, `sqlite:///FILE`, or a folder.
            artifacts: folders that files of runs may be read from besides the source's own.
            conflicts: what happens to an experiment whose name or number is taken: `refuse`, `skip` or `merge`.
            dry_run: say what would be brought over; write nothing.
        """
        from bascule.catalog import actor
        from bascule.protocols.mlflow.importing import open_source, take

        found = open_source(source, artifacts)
        try:
            return take(
                self.workspace,
                found,
                self.place.branch,
                author=actor(),
                conflicts=conflicts,
                dry_run=dry_run,
                progress=progress,
            )
        finally:
            found.close()

    def forget(
        self,
        table: str,
        subject: Mapping[str, Any],
        *,
        dry_run: bool = False,
        reason: str = "",
        despite_hold: str = "",
        policy: Literal["retrain", "schedule", "justify"] | None = None,
        withdraw: bool = False,
    ) -> Forgetting:
        """Remove a subject from every state of a table and all places beside it; leave a proof.

        What `[forget]` of the project file says is heeded: linked tables and files, and what happens to models.

        Args:
            subject: column to value, as many as name the subject.
            despite_hold: why it is done although a legal hold stands against it.
            policy: what happens to models that learned from it, if not what the project file says.
            withdraw: delete bundles of models that hold the subject's values as soon as no deployment needs them.
        """
        from bascule.project.forgetting import forget_subject, with_policy

        asked = with_policy(self.file.forget if self.place.has_file else None, policy)
        if not dry_run:
            cast("Any", self).sync()  # what scripts told is looked through where records are
        return forget_subject(
            self.workspace,
            table,
            dict(subject),
            dry_run=dry_run,
            reason=reason,
            despite_hold=despite_hold,
            policy=asked,
            withdraw=withdraw,
        )

    def create_token(self, name: str, role: str = "reader", works_on: str | None = None) -> tuple[Token, str]:
        """Make an access token and return it with its secret, which is kept nowhere else.

        Args:
            works_on: the branch on which clients of MLflow work with it, unless their address names one.

        Raises:
            NotFound: there is no such branch.
        """
        from bascule.server.tokens import create_token

        known = [one.name for one in self.workspace.history.branches()]
        if works_on is not None and works_on not in known:
            raise NotFound("branch", works_on, known)
        return create_token(self.workspace.catalog, name, role, branch=works_on or "")

    def tokens(self) -> list[Token]:
        """Return all tokens: names and roles, never the secrets."""
        from bascule.server.tokens import list_tokens

        return list_tokens(self.workspace.catalog)

    def revoke_token(self, name: str) -> Token:
        """Take a token back, by name or id."""
        from bascule.server.tokens import revoke_token

        return revoke_token(self.workspace.catalog, name)
