"""Ask and prove, as Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bascule.naming import PRODUCTION
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.catalog.audit import AuditReport
    from bascule.lake.privacy.budget import Budget
    from bascule.project.caring import Finding
    from bascule.project.differing import RunsDiff, RunTable
    from bascule.project.private import PrivateAnswer
    from bascule.project.reproducing import Reproduction
    from bascule.project.step import Progress
    from bascule.registry import ModelSummary, ModelVersion


class AskingVerbs(Bound):
    """Ask and prove: each method is the command of that name."""

    def sql(
        self, query: str, params: Sequence[Any] | None = None, *, at: str | None = None, role: str | None = None
    ) -> list[dict[str, Any]]:
        """Ask the lake at any state, the records and the log of predictions; all rows are returned.

        Args:
            role: read as this role does: reader, writer, deployer or admin; with its masks on.
        """
        from bascule.project.querying import query as ask

        return ask(self.workspace, query, params, at or self.place.branch, role)

    def set_privacy_budget(self, table: str, epsilon: float, *, unit: str | None = None, rows_each: int = 1) -> Budget:
        """Give a table a privacy budget, or another one; what was spent stays spent.

        Args:
            epsilon: all that may be spent; 1 protects well, 10 hardly.
            unit: the column that names a person; each row is one when None.
            rows_each: how many rows of a person take part in a query, at most.
        """
        from bascule.project.private import set_privacy_budget

        return set_privacy_budget(self.place, table, epsilon, unit=unit, rows_each=rows_each)

    def privacy_budgets(self) -> list[Budget]:
        """Return all privacy budgets, and what is spent of each."""
        from bascule.project.private import privacy_budgets

        return privacy_budgets(self.place)

    def ask_privately(
        self,
        table: str,
        aggregate: Literal["count", "sum", "mean"],
        column: str | None = None,
        *,
        epsilon: float,
        low: float | None = None,
        high: float | None = None,
        by: str | None = None,
        keys: Sequence[str] = (),
        where: str | None = None,
    ) -> PrivateAnswer:
        """Ask for a count, a sum or a mean with noise, under the table's privacy budget.

        Args:
            epsilon: what is spent; less means more noise.
            low: the least value of the column that is possible, known without looking.
            high: the greatest one.
            by: a column of groups, of which those in `keys` are asked for.
            where: an SQL condition on a row.
        """
        from bascule.project.private import ask_privately

        return ask_privately(
            self.place, table, aggregate, column, epsilon=epsilon, low=low, high=high, by=by, keys=keys, where=where
        )

    def runs(
        self,
        limit: int = 20,
        *,
        experiment: str | None = None,
        kind: str | None = None,
        status: str | None = None,
        branch: str | None = None,
        since: str | None = None,
        text: str | None = None,
        filter: str = "",
        order: Sequence[str] = (),
        param: Sequence[str] = (),
        metric: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return runs, youngest first unless they are ordered; by default of all branches, kinds and experiments.

        Args:
            since: a span such as `7d`, or a day or a time, in UTC unless it says its zone.
            text: a part of the id, the name, the step or the person.
            filter, order: in MLflow's words: `metrics.auc > 0.8 AND params.depth = '6'`, `["metrics.auc DESC"]`.
            param, metric: names, or patterns with `*`, that each run is told with.
        """
        from bascule.tracking.listing import list_runs

        return list_runs(
            self.workspace,
            limit,
            experiment=experiment,
            kind=kind,
            status=status,
            branch=branch,
            since=since,
            text=text,
            filter=filter,
            order=order,
            params=param,
            metrics=metric,
        )

    def read_run(self, run: str) -> dict[str, Any]:
        """Return one run with all that is known of it.

        Args:
            run: its id, the start of it, or `last` (`last~1` is the one before).
        """
        from bascule.tracking.reading import read_run

        return read_run(self.workspace, run)

    def compare_runs(self, names: Sequence[str], *, all: bool = False) -> RunTable:
        """Return runs side by side: what differs in parameters, metrics, inputs and environment.

        Args:
            all: also what is the same in all of them.
        """
        from bascule.project.differing import compare_runs

        return compare_runs(self.workspace, names, everything=all)

    def diff_runs(self, before: str, after: str = "last") -> RunsDiff:
        """Return why two runs differ: code, data, environment, parameters; and what came of it."""
        from bascule.project.differing import diff_runs

        return diff_runs(self.workspace, before, after)

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

    def reproduce(
        self,
        what: str,
        version: str | int | None = None,
        *,
        environment: str = "auto",
        data: str = "recorded",
        tolerance: float = 1e-9,
        keep: Path | str | None = None,
        tell: Progress = lambda message, done=0, total=None: None,
    ) -> Reproduction:
        """Do a run again from what was recorded of it, and compare what comes out.

        Args:
            what: a run's id or the start of it; or a model, or MODEL@VERSION.
            version: a number or an alias of the model; production, else the latest, when neither says.
            environment: `recorded` is made by uv, `present` is the one that is here, `auto` that one if it is the same.
            data: `recorded` refuses files that are not as they were; `present` takes what is here.
            tolerance: the relative difference up to which numbers count as equal.
            keep: restore a script into this folder, and leave it there.
        """
        from bascule.project.reproducing import reproduce

        return reproduce(
            self.workspace,
            self.place.branch,
            self.folder,
            what,
            version,
            tell,
            environment=environment,
            data=data,
            tolerance=tolerance,
            keep=Path(keep) if keep is not None else None,
        )

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

        return examine(self.workspace, deep, settled=self.place.settled)
