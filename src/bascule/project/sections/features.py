"""What is known about whom: entities, feature views and what is asked for together."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.section import Column, Duration, Expression, Section


class Entity(Section, frozen=True, kw_only=True):
    """What features are about: `[entity.NAME]`.

    Attributes:
        keys: the columns that name one, in the feature tables and in the population alike.
    """

    keys: Annotated[tuple[Column, ...], Meta(min_length=1, description="The columns that name one of it.")]


class FeatureView(Section, frozen=True, kw_only=True):
    """Features from an SQL file: `[features.NAME]`.

    Without `event_time` it is a reference table with one row for each entity. With it, the newest row at or before
    the prediction time counts; with `windows`, the rows in `[time - window, time)` are aggregated.

    Attributes:
        sql: the file with one SELECT; it gives the entity's keys, the times and the features.
        entity: the entity that the rows are about.
        event_time: the column with the moment from which a row is true.
        known_time: the column with the moment from which a row is known, when that is later.
        ttl: how old a row may be to count.
        fields: the columns that are features; all but keys and times when empty.
        windows: the spans over which `aggregates` are taken.
        aggregates: name to aggregate, such as `mean(late)` or `count(*)`; gives the feature `NAME_WINDOW`.
        hop: for a view of a `[stream.TABLE]`: it is kept up to date as events come, in tiles of this length; windows
            end at the last multiple of it.
        contract: an Open Data Contract Standard file that the view's rows are held to before anything learns from them.
        owner: who answers for it.
        tags: words to find it by.
        description: what it is, in a sentence.
        freshness: how old the newest row in the online store may be.
    """

    sql: Annotated[
        str,
        Meta(
            min_length=1,
            description="A file with one SELECT, or file.py:function for a function that gives it.",
            examples=["features/weather.sql"],
        ),
    ]
    entity: Annotated[str, Meta(min_length=1, description="The entity that the rows are about.")]
    event_time: Annotated[str | None, Meta(description="The column with the moment from which a row is true.")] = None
    known_time: Annotated[str | None, Meta(description="The column with the moment from which a row is known.")] = None
    ttl: Annotated[Duration | None, Meta(description="How old a row may be to count.")] = None
    fields: Annotated[tuple[Column, ...], Meta(description="The columns that are features; all when empty.")] = ()
    windows: Annotated[tuple[Duration, ...], Meta(description="The spans that aggregates are taken over.")] = ()
    aggregates: Annotated[
        dict[str, Expression],
        Meta(description="Name to aggregate: mean(x), sum(x), count(*), …; one feature a window."),
    ] = {}
    hop: Annotated[Duration | None, Meta(description="The length of a tile, for a view of a stream.")] = None
    contract: Annotated[
        str | None,
        Meta(
            description="An Open Data Contract Standard file (YAML) that the view's rows are held to.",
            examples=["contracts/features/weather.yaml"],
        ),
    ] = None
    owner: Annotated[str, Meta(description="Who answers for it.")] = ""
    tags: Annotated[tuple[str, ...], Meta(description="Words to find it by.")] = ()
    description: Annotated[str, Meta(description="What it is, in a sentence.")] = ""
    freshness: Annotated[Duration | None, Meta(description="How old the newest row may be when it is served.")] = None


class RequestView(Section, frozen=True, kw_only=True):
    """Features computed from the request itself: `[features.NAME]` with `expressions`.

    Attributes:
        expressions: name to SQL expression over columns of the population and features written `view.field`.
        owner: who answers for it.
        tags: words to find it by.
        description: what it is, in a sentence.
    """

    expressions: Annotated[
        dict[str, Expression],
        Meta(min_length=1, description="Name to expression over request columns and features written view.field."),
    ]
    owner: Annotated[str, Meta(description="Who answers for it.")] = ""
    tags: Annotated[tuple[str, ...], Meta(description="Words to find it by.")] = ()
    description: Annotated[str, Meta(description="What it is, in a sentence.")] = ""


class Service(Section, frozen=True, kw_only=True):
    """Features that are asked for together, by one name: `[service.NAME]`. Each change gives it a new version.

    Attributes:
        features: views, or single features written `view.field`, in order.
        owner: who answers for it.
        tags: words to find it by.
        description: what it is for, in a sentence.
    """

    features: Annotated[tuple[str, ...], Meta(min_length=1, description="Views, or features written view.field.")]
    owner: Annotated[str, Meta(description="Who answers for it.")] = ""
    tags: Annotated[tuple[str, ...], Meta(description="Words to find it by.")] = ()
    description: Annotated[str, Meta(description="What it is for, in a sentence.")] = ""


class Spark(Section, frozen=True, kw_only=True):
    """Which Spark joins features, where `[joins] engine = "spark"`.

    Attributes:
        master: where it runs, such as `local[*]` or `spark://HOST:7077`.
        remote: the address of a Spark Connect server, instead.
        config: settings of its session, such as `"spark.executor.memory" = "8g"`.
    """

    master: Annotated[str, Meta(min_length=1, description="Where Spark runs.", examples=["spark://host:7077"])] = (
        "local[*]"
    )
    remote: Annotated[
        str,
        Meta(pattern="^(sc://.+)?$", description="A Spark Connect server, instead.", examples=["sc://host:15002"]),
    ] = ""
    config: Annotated[dict[str, str], Meta(description="Settings of the session.")] = {}


class Joins(Section, frozen=True, kw_only=True):
    """How features are joined for training sets.

    Attributes:
        engine: who joins them: DuckDB in this process, or Spark.
        spark: which Spark.
    """

    engine: Annotated[Literal["duckdb", "spark"], Meta(description="Who joins features for training sets.")] = "duckdb"
    spark: Spark = Spark()
