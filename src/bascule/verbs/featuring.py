"""Features, as Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from datetime import datetime

    from bascule.features.online.vectors import Vectors
    from bascule.project.examining import Examined
    from bascule.project.feast import FeastImport
    from bascule.project.gathering import GivenSet
    from bascule.project.impact import Alike, Impact
    from bascule.project.selecting import Selection
    from bascule.project.served import Materialised
    from bascule.project.skewing import SkewReport
    from bascule.project.streaming import StreamInfo, StreamPush, ViewLag
    from bascule.project.viewing import FeatureInfo, ServiceInfo
    from bascule.project.warehousing import FeatureSql


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
        features: Sequence[str] | str = (),
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
        group: Sequence[str] | str = (),
        folds: int = 5,
        seed: int = 0,
        engine: str = "",
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
            engine: who joins: `duckdb` or `spark`; that of `[joins]` in the project file by default.
        """
        from bascule.project.gathering import get_training_set

        return get_training_set(
            self.place,
            rows,
            [features] if isinstance(features, str) else features,
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
            group=[group] if isinstance(group, str) else group,
            folds=folds,
            seed=seed,
            engine=engine,
        )

    def features_sql(
        self,
        rows: str,
        features: Sequence[str] = (),
        *,
        dialect: str,
        prediction_time: str | None = None,
        known_at: str | datetime | None = None,
        schema: str = "",
    ) -> FeatureSql:
        """Return the query of a training set for Spark or a warehouse, over its own tables of the same names.

        It gives what `get_training_set` does, in any order; the engine's parser has read it. The SQL of views is
        translated, and what has no words in the engine is refused by its name.

        Args:
            rows: a SELECT over tables, or a table's name.
            features: as in `get_training_set`.
            dialect: `spark`, `databricks`, `snowflake`, `bigquery`, `trino` or `duckdb`.
            prediction_time: the column that says as of when features are read; the project's own, or the only time.
            known_at: what became known after this moment is left out.
            schema: where the engine has the tables; it is put before their names.
        """
        from bascule.project.warehousing import features_sql

        return features_sql(
            self.place,
            rows,
            features,
            dialect=dialect,
            prediction_time=prediction_time,
            known_at=known_at,
            schema=schema,
        )

    def import_feast(self, repository: Path | str, *, into: Path | str | None = None) -> FeastImport:
        """Write what a Feast repository declares into a project; its files are read and never run.

        Args:
            repository: the folder with feature_store.yaml.
            into: the project's folder; this one by default. A project that is there keeps what it has.
        """
        from bascule.project.feast import import_feast

        return import_feast(Path(repository), Path(into) if into is not None else self.place.start)

    def run_streams(
        self,
        *names: str,
        once: bool = False,
        stop: threading.Event | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> list[StreamInfo]:
        """Consume streams: count their events in features, and land them in their tables.

        Args:
            names: which streams; all of the project's if none is named.
            once: take over what is there now, and come back; otherwise go on until `stop` is set.
            say: told what somebody should know, a sentence each.

        Returns:
            How each is then.
        """
        from bascule.project.streaming import run_streams

        return run_streams(self.place, names, once=once, stop=stop, say=say)

    def streams(self) -> list[StreamInfo]:
        """Return how each stream is: how far behind, how fresh, what was set aside, what is waited for."""
        from bascule.project.streaming import list_streams

        return list_streams(self.place)

    def replay_stream(self, name: str, *, view: str | None = None) -> list[ViewLag]:
        """Count a stream's features anew from its table: readers see the old values, then the new ones.

        Args:
            view: only this feature view.
        """
        from bascule.project.streaming import replay_stream

        return replay_stream(self.place, name, view)

    def push_events(self, name: str, rows: Any, *, once: str = "") -> StreamPush:
        """Send events to a stream whose path is `push`. They are durable when this returns.

        Args:
            rows: a list of dicts (times as ISO text or datetime), or an Arrow table.
            once: what names this batch: one that comes again under the same name changes nothing.
        """
        from bascule.project.streaming.pushing import encoded, push_events

        data, kind = encoded(rows)
        place = self.place
        return push_events(place.file, place.workspace, name, data, kind, branch=place.branch, once=once)

    def training_sets(self) -> list[GivenSet]:
        """Return the training sets that were asked for, the newest first."""
        from bascule.project.gathering import given_sets

        return given_sets(self.place)

    def read_training_set(self, name: str) -> GivenSet:
        """Return a training set that was asked for, by its name or the beginning of its id."""
        from bascule.project.gathering import given_set

        return given_set(self.place, name)

    def check_training_set(self, name: str, *, refuse: Sequence[str] = ()) -> Examined:
        """Look for leaks in a training set: features that know the label, entities and examples in several splits.

        Args:
            name: of a set that was asked for, or that a model was trained on; or the beginning of its id.
            refuse: what may not be found: `outcome`, `future`, `target`, `jump`, `entities`, `duplicates`, or `all`.

        Raises:
            CheckFailed: it was found; `details` has all findings.
        """
        from bascule.project.examining import check_training_set

        return check_training_set(self.place, name, refuse)

    def materialise(
        self,
        names: Sequence[str] = (),
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        full: bool = False,
        progress: Any = None,
    ) -> Materialised:
        """Bring the branch's online store up to its tables: what is new, what came late and what was corrected.

        Args:
            names: feature views and services; all views by default.
            since: write only answers that begin at this time or later, for a store that need not hold the past.
            until: only rows that became known up to then.
            full: write everything anew.
            progress: called with a view, the entries written, and at most how many there will be.
        """
        from bascule.project.served import materialise_features

        return materialise_features(self.place, names, since=since, until=until, full=full, progress=progress)

    def get_online_features(
        self,
        features: Sequence[str] | str,
        entity_rows: Sequence[Mapping[str, Any] | str] | Mapping[str, Sequence[Any]],
        *,
        at: str | datetime | None = None,
        full_feature_names: bool = False,
    ) -> Vectors:
        """Read features of this branch from its online store: values, statuses and event times, column by column.

        A branch that has materialised none of its own reads those of `main`.

        Args:
            features: `view:feature`, views and services (`name` or `service:name`).
            entity_rows: keys, as rows or as columns: `[{"user_id": 1}]` or `{"user_id": [1, 2]}`; a row may also be
                a text, `"user_id=1,shop=a"`.
            at: as of when; now by default.
            full_feature_names: features are called `view__feature`.

        Raises:
            NotFound: there is no such service, view or feature in the store.
            InputError: a key is missing, or of another type.
        """
        from bascule.project.served import get_online_features

        return get_online_features(self.place, features, entity_rows, at=at, full_feature_names=full_feature_names)

    def feature_skew(
        self, *, since: str | datetime | None = None, limit: float | None = None, drift: float | None = None
    ) -> SkewReport:
        """Compare features that were served with what the offline join gives for the same keys at the same times.

        Answers of feature services (of sampled keys) and inputs that models were joined with, day by day. The shares
        that differ are kept as points of the monitor `served features`; an alert is open while one exceeds its limit.

        Args:
            since: answers from this time on; the last seven days by default.
            limit: the share of a feature's answers that may differ; `[monitoring.skew] limit` by default.
            drift: how far the two distributions may be apart; `[monitoring.skew] drift` by default.
        """
        from bascule.project.skewing import feature_skew

        return feature_skew(self.place, since=since, limit=limit, drift=drift)

    def select_features(
        self, model: str | None = None, *, least: float = 0.001, correlated: float = 0.95, folds: int = 4
    ) -> Selection:
        """Judge the features of a model's newest version: which to keep, which to drop, why, and what each costs.

        Args:
            model: the project's own by default.
            least: bits that a feature must tell of the label (mutual information, less what chance gives).
            correlated: from which rank correlation on two features say the same.
            folds: into how many spans of time the training rows are cut: a feature must tell something in most.
        """
        from bascule.project.selecting import select_features

        return select_features(self.place, model, least=least, correlated=correlated, folds=folds)
