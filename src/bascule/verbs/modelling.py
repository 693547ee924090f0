"""Models and their versions: shown, compared, decided about, vouched for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bascule.errors import InputError
from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.history import Commit
    from bascule.project.deleting import Deleted, Restored
    from bascule.project.modelling import Compared
    from bascule.project.optimizing import Optimization
    from bascule.registry import ModelVersion
    from bascule.registry.approvals import Decided
    from bascule.registry.seals import Seal
    from bascule.tracking.vouching import Safety, Verified

Which = str | int | None


class ModelVerbs(Bound):
    """`bascule model …`: each method is the command of that name."""

    def show_model(self, name: str, version: Which = None) -> dict[str, Any]:
        """Return all that is known of a version: schema, environment, licence, lineage, decisions, safety."""
        from bascule.project.modelling import show

        return show(self.workspace, self._found(name, version))

    def compare_models(self, name: str, before: str | int, after: Which = None) -> Compared:
        """Compare two versions; `before` and `after` are versions or aliases, or `MODEL@VERSION` of another model."""
        from bascule.project.modelling import compare_versions
        from bascule.registry.versions import said_version

        model = said_version(name)[0]
        sides = [
            self._found(str(one), None) if "@" in str(one) else self._found(f"{model}@", one) for one in (before, after)
        ]
        return compare_versions(self.workspace, *sides)

    def model_card(self, name: str, version: Which = None, *, format: Literal["markdown", "html"] = "markdown") -> str:
        """Return a version's card as Markdown, or as a page that opens without a network."""
        from bascule.project import cards

        text = cards.card(self.workspace, self._found(name, version))
        return cards.page(text) if format == "html" else text

    def approve_model(self, name: str, version: Which = None, *, reason: str) -> Decided:
        """Approve a version, with the reason."""
        from bascule.registry.approvals import decide

        return decide(self.workspace, self._found(name, version), "approved", reason)

    def reject_model(self, name: str, version: Which = None, *, reason: str) -> Decided:
        """Reject a version, with the reason."""
        from bascule.registry.approvals import decide

        return decide(self.workspace, self._found(name, version), "rejected", reason)

    def delete_model(self, name: str, version: Which = None, *, reason: str) -> Deleted:
        """Delete a version from the branch, or without one the whole model; refused while anything uses it."""
        from bascule.project.deleting import delete

        return delete(self.workspace, self.place.branch, name, version, reason=reason, folder=self.place.folder)

    def restore_model(self, name: str, version: int | None = None, *, reason: str = "") -> Restored:
        """Bring a deleted version back, or of a model all that were deleted together last, until gc purged them."""
        from bascule.project.deleting import restore

        return restore(self.workspace, self.place.branch, name, version, reason=reason, folder=self.place.folder)

    def deleted_models(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the versions that were deleted from the branch and can be restored, youngest first."""
        from bascule.registry.deletions import as_dict, deleted

        return [as_dict(one) for one in deleted(self.workspace, self.place.branch, name)]

    def alias_model(self, name: str, alias: str, version: Which = None, *, remove: bool = False) -> dict[str, Any]:
        """Point an alias to a version, or remove it; return the model, the alias and the version, None when removed.

        Raises:
            InputError: neither a version nor `remove` is given, or both are.
        """
        from bascule.registry import get_version, set_alias

        if (version is None) != remove:
            raise InputError("An alias points to a version, or is removed.", hint="Give a VERSION, or --remove.")
        set_alias(self.workspace, self.place.branch, name, alias, version)
        number = None if remove else get_version(self.workspace, self.place.branch, name, alias).version
        return {"model": name, "alias": alias, "version": number}

    def scan_model(self, name: str, version: Which = None) -> Safety:
        """Look for what would run if a version were loaded; nothing is loaded."""
        from bascule.tracking.vouching import safety

        return safety(self.workspace, self._found(name, version))

    def trust_model(self, name: str, version: Which = None, *, reason: str) -> Seal:
        """Consent to load a version's pickles, for its present bytes alone."""
        from bascule.tracking.vouching import trust

        return trust(self.workspace, self._found(name, version), reason)

    def distrust_model(self, name: str, version: Which = None, *, reason: str) -> list[Seal]:
        """Take consent back."""
        from bascule.registry import seals
        from bascule.registry.approvals import checked_reason, subject_of

        text = checked_reason(reason, "Taking consent back")
        return seals.revoke(self.workspace, "trust", subject_of(self._found(name, version)), text)

    def retry_models(self) -> int:
        """Let model files that were refused on this machine be tried again at their next load; return how many."""
        from bascule.training.trials import forget_refusals

        return forget_refusals()

    def sign_model(self, name: str, version: Which = None, *, reason: str = "") -> Seal:
        """Sign a version's record and files with the workspace's key."""
        from bascule.tracking.vouching import sign

        return sign(self.workspace, self._found(name, version), reason)

    def verify_model(self, name: str, version: Which = None) -> Verified:
        """Read every byte of a version and hold it to its record, its signature and the audit log."""
        from bascule.tracking.vouching import verify

        return verify(self.workspace, self._found(name, version))

    def optimize(
        self,
        name: str,
        version: Which = None,
        *,
        choose: str = "fastest",
        keep: bool = False,
        candidates: Sequence[str] = (),
        batch_sizes: Sequence[int] = (),
        rows: int = 2_000,
        table: str | None = None,
        tolerance: float = 1e-6,
        seconds: float = 10.0,
        prices: Path | None = None,
        memory: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> Optimization:
        """Find the fastest engine that answers as a version does, and let it answer; `keep` only looks."""
        from bascule.project.optimizing import optimize

        return optimize(
            self.place,
            name,
            version,
            choose=choose,
            keep=keep,
            candidates=candidates,
            batch_sizes=batch_sizes,
            rows=rows,
            table=table,
            tolerance=tolerance,
            seconds=seconds,
            prices=prices,
            memory=memory,
            tell=tell,
        )

    def undo_optimize(self, name: str, version: Which = None) -> Commit:
        """Let a version's own library answer again."""
        from bascule.project.optimizing import undo

        return undo(self.place, name, version)[1]

    def _found(self, name: str, version: Which) -> ModelVersion:
        from bascule.project.modelling import find_version

        return find_version(self.workspace, self.place.branch, name, version)
