"""Ask and prove, as Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bascule.naming import PRODUCTION
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.catalog.audit import AuditReport
    from bascule.project.caring import Finding
    from bascule.project.reproducing import Reproduction
    from bascule.registry import ModelSummary, ModelVersion


class AskingVerbs(Bound):
    """Ask and prove: each method is the command of that name."""

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
