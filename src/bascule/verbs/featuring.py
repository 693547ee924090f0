"""Features, as Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from datetime import datetime

    from bascule.project.gathering import GivenSet
    from bascule.project.impact import Alike, Impact
    from bascule.project.viewing import FeatureInfo, ServiceInfo


class FeatureVerbs(Bound):
    """Features: each method is the command of that name."""

    def feature_views(self, *, tag: str | None = None, owner: str | None = None) -> list[FeatureInfo]:
        """Return the branch's feature views: what they give, who owns them, how fresh they are served.

        Args:
            tag: only those with this tag.
            owner: only those of this owner.
        """
        from bascule.project.viewing import list_features

        return list_features(self.place, tag, owner)

    def read_feature_view(self, name: str) -> FeatureInfo:
        """Return one feature view of the branch, with its definition."""
        from bascule.project.viewing import read_feature

        return read_feature(self.place, name)

    def feature_services(self) -> list[ServiceInfo]:
        """Return the branch's feature services, with their versions."""
        from bascule.project.viewing import list_services

        return list_services(self.place)

    def feature_impact(self, column: str) -> list[Impact]:
        """Return what breaks when a column changes: features, training sets, models and deployments that read it.

        Args:
            column: TABLE.COLUMN, or TABLE for any column of it.
        """
        from bascule.project.impact import impact

        return impact(self.place, column)

    def unused_features(self) -> list[str]:
        """Return the features that no model, no service and no expression reads, as `view.feature`."""
        from bascule.project.impact import unused

        return unused(self.place)

    def duplicate_features(self) -> list[Alike]:
        """Return the features that compute the same thing under several names."""
        from bascule.project.impact import duplicates

        return duplicates(self.place)

    def get_training_set(
        self,
        rows: Any,
        features: Sequence[str] = (),
        *,
        known_at: str | datetime | None = None,
        at: str | None = None,
        name: str = "",
        prediction_time: str | None = None,
        where: str = "",
        label: str = "",
        maturity: str | None = None,
        split: str = "",
        validation: str | float = 0.15,
        test: str | float = 0.15,
        group: Sequence[str] = (),
        folds: int = 5,
        seed: int = 0,
    ) -> GivenSet:
        """Join features to entity rows as they were known then, and keep the result under a name and a digest.

        For each row, in order, there is exactly one row: its columns, then the features. Types never change; a null key
        matches nothing. The same rows asked for in the same way are the same set.

        Args:
            rows: keys and the prediction time: a SELECT over tables, a table's name, a file (CSV, Parquet, JSON), or
                rows as Arrow, pandas, Polars or dicts.
            features: views, features (`view.field`, also `view:field`) and services (`name` or `service:name`); all of
                the project's training by default.
            known_at: what became known after this moment is left out, and the tables are read as the branch had them
                then; where it has no state as old, as they are now, and a note says so.
            at: read this state's tables instead.
            name: what it is for; the set is called `NAME@<first 8 of its id>`.
            prediction_time: the column that says as of when features are read; the project's own, or the only time.
            where: an SQL condition on the rows.
            label: an SQL expression over the rows' columns, kept as the column `label`.
            maturity: how long after the prediction time a label becomes known; one that is not known yet is null.
            split: `time` (the last rows are `test`, those before `validation`), `entity` (by the hash of the keys) or
                `folds` (the column `fold`, by the hash of the group); none by default.
            validation, test: their sizes, as spans of time or shares.
            group: the columns whose values stay together; the keys of the features' entities by default.
            folds: how many.
            seed: another one divides entities and folds in another way.
        """
        from bascule.project.gathering import get_training_set

        return get_training_set(
            self.place,
            rows,
            features,
            known_at=known_at,
            at=at,
            name=name,
            prediction_time=prediction_time,
            where=where,
            label=label,
            maturity=maturity,
            split=split,
            validation=validation,
            test=test,
            group=group,
            folds=folds,
            seed=seed,
        )

    def training_sets(self) -> list[GivenSet]:
        """Return the training sets that were asked for, the newest first."""
        from bascule.project.gathering import given_sets

        return given_sets(self.place)

    def read_training_set(self, name: str) -> GivenSet:
        """Return a training set that was asked for, by its name or the beginning of its id."""
        from bascule.project.gathering import given_set

        return given_set(self.place, name)
