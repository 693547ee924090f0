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
            version: a number or an alias of the model; production when neither says.
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
