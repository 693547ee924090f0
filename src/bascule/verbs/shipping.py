"""Serve and ship, as Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bascule.naming import PRODUCTION
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.lake.maintenance import Tell
    from bascule.project.deploying import Preview, Standing
    from bascule.project.foreseeing import Foreseen
    from bascule.project.powering import Rule
    from bascule.project.predicting import Predicted
    from bascule.project.releasing import WentBack
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
        also: Sequence[str | int] = (),
        model: str | None = None,
        strategy: str | None = None,
        share: int | None = None,
        goal: str | None = None,
        keep: str | None = None,
        reason: str = "",
    ) -> Moved:
        """Bring a version into service: the first at once, a later one by canary steps that judge it.

        Args:
            also: further versions, which an A/B test or a bandit compares at the same time.
        """
        from bascule.project.shipping import deploy_version

        how: dict[str, Any] = {"strategy": strategy, "share": share, "goal": goal, "keep": keep}
        return deploy_version(self.place, name, str(version), also=also, model=model, reason=reason, **how)

    def rollback(self, name: str, *, reason: str = "", expect: str | None = None) -> Moved | WentBack:
        """Give a deployment the stable traffic that it had before; or the whole branch the state of a release.

        Args:
            name: a deployment; or a tag or a commit, to which data, features, models and deployments go back together.
            expect: `foresee_rollback(name).state`: when it is in another state by now, nothing is done (`Conflict`).
        """
        from bascule.project.shipping import roll_back

        return roll_back(self.place, name, reason, expect)

    def foresee_rollback(self, name: str) -> Foreseen:
        """Return what a rollback would do, and change nothing: traffic, later rules, and all else of a release."""
        from bascule.project.foreseeing import foresee_rollback

        return foresee_rollback(self.place, name)

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

    def show_deployment(self, name: str) -> Standing:
        """Return what a deployment serves, and what its rollout has shown by now."""
        from bascule.project.deploying import stands

        return stands(self.place, name)

    def set_traffic(self, name: str, shares: Mapping[int, int] | Sequence[str], *, reason: str = "") -> Moved:
        """Share the traffic among versions by hand: `{3: 50, 4: 50}`. It ends a rollout that is under way."""
        from bascule.project.deploying import share_traffic

        return share_traffic(self.place, name, shares, reason=reason)

    def deployment_power(
        self,
        name: str,
        *,
        rule: Rule = "errors",
        effect: float,
        base: float | None = None,
        spread: float | None = None,
        share: int | None = None,
        probability: float = 0.8,
    ) -> dict[str, Any]:
        """Return how many requests it takes until a rollout sees an effect of some size, with what chance."""
        from bascule.project.deploying import power
        from bascule.project.powering import Question

        said: dict[str, Any] = {"rule": rule, "effect": effect, "base": base, "spread": spread, "share": share}
        return power(self.place, name, Question(probability=probability, **said))

    def preview(self, ref: str | None = None, *, url: str | None = None, grpc: str | None = None) -> Preview:
        """Return where a branch answers, so that it can be tried before it is merged."""
        from bascule.project.deploying import preview

        return preview(self.place, ref, url=url, grpc=grpc)

    def predict(self, name: str, values: Mapping[str, Any] | None = None, *, example: bool = False) -> Predicted:
        """Ask a deployment about one row. The answer is logged like any other."""
        from bascule.project.predicting import predict

        return predict(self.place, name.removeprefix("deployments/"), values or {}, example=example)

    def predict_table(
        self,
        table: str,
        model: str,
        *,
        into: str | None = None,
        where: str = "",
        new: bool = False,
        tell: Tell | None = None,
    ) -> ScoredTable:
        """Score every row of a table, or its new ones, into another one, which says by what and from what.

        Args:
            tell: is told what is going on, how many rows are done, and of how many.
        """
        from bascule.lake.maintenance.telling import quiet

        if new:
            from bascule.project.filling import score_new

            return score_new(self.place, table, model, into=into, where=where, tell=tell or quiet)
        from bascule.project.scoring import score_table

        return score_table(self.place, table, model, into=into, where=where, tell=tell or quiet)

    def monitor(self, name: str | None = None) -> list[Watched]:
        """Measure drift and quality of what is served; open and close alerts; fire triggers.

        Where `[monitoring.skew] every` is set, served features are compared with the offline join, too: the monitor
        `served features`.
        """
        from bascule.project.watching import watch_project

        return watch_project(self.place, name)
