"""Serve and ship, as Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bascule.naming import PRODUCTION
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.project.predicting import Predicted
    from bascule.project.scoring import ScoredTable
    from bascule.project.shipping import Moved
    from bascule.project.watching import Watched


class ShippingVerbs(Bound):
    """Serve and ship: each method is the command of that name."""

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

    def predict_table(
        self, table: str, model: str, *, into: str | None = None, where: str = "", new: bool = False
    ) -> ScoredTable:
        """Score every row of a table, or its new ones, into another one, which says by what and from what."""
        if new:
            from bascule.project.filling import score_new

            return score_new(self.place, table, model, into=into, where=where)
        from bascule.project.scoring import score_table

        return score_table(self.place, table, model, into=into, where=where)

    def monitor(self, name: str | None = None) -> list[Watched]:
        """Measure drift and quality of what is served; open and close alerts; fire triggers."""
        from bascule.project.watching import watch

        return watch(self.workspace, self.place.branch, name)
