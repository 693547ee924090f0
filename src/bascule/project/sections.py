"""The sections of a project file, as types.

Every section of `bascule.toml` is one frozen class here with the same field names, so that a project can be written in
Python as well. The descriptions go into the published JSON Schema, where editors show them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.guardrails import Goal, Guardrails
from bascule.project.section import (
    CHECK_PATTERN,
    TRAINER_PATTERN,
    Column,
    Duration,
    Expression,
    Fraction,
    Name,
    Percent,
    Positive,
    Section,
    Share,
)


class Project(Section, frozen=True, kw_only=True):
    """What the project is called and what kind of data it is about.

    Attributes:
        name: how the project is called in messages and pages.
        kind: the kind of data; it chooses the defaults of the other sections.
        description: one or two sentences for the people who meet the project.
    """

    name: Name
    kind: Annotated[
        Literal["tabular", "time-series", "text", "images"],
        Meta(description="The kind of data; it chooses the defaults."),
    ] = "tabular"
    description: Annotated[str, Meta(description="One or two sentences for the people who meet the project.")] = ""


class Source(Section, frozen=True, kw_only=True):
    """Where a table comes from: `[source.TABLE]`.

    Attributes:
        path: a file or a pattern such as `data/flights/*.csv`, relative to the project file; or an address:
            `https://…`, `s3://…`, `postgresql://…`, `mysql://…`, `sqlite://…`, `kafka://…`, `python://module:function`.
            `${NAME}` in an address is that environment variable.
        query: what is asked of a database.
        cursor: a column that only grows: only rows beyond its last value are brought from a database.
        tolerate: the share of a file's records that may go to the table `quarantine` because they cannot be read.
        options: what else a kind of source is told, such as the `sheet` of a workbook.
        key: the columns that name a row; rows are compared and deleted by it.
        mode: `append` when each new file is a batch of new rows, `replace` when the files are the whole table.
        dates: how days such as 01/02/2025 are written in CSV files: `day-first` is 1 February, `month-first` is
            2 January. Without it the values decide; where they leave it open, it is assumed and said.
    """

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="A file or a pattern, relative to the project file; or an address.",
            examples=["data/flights/*.csv", "postgresql://etl:${PGPASSWORD}@db/shop", "https://example.org/a.csv"],
        ),
    ]
    query: Annotated[str, Meta(description="What is asked of a database.", examples=["select * from orders"])] = ""
    cursor: Annotated[str, Meta(description="A column that only grows: only rows beyond its last value come.")] = ""
    tolerate: Annotated[
        float,
        Meta(ge=0, lt=1, description="The share of records that may go to quarantine.", examples=[0.001]),
    ] = 0.0
    options: Annotated[dict[str, str], Meta(description="What else a kind of source is told.")] = {}
    key: Annotated[tuple[Column, ...], Meta(description="The columns that name a row.")] = ()
    mode: Annotated[
        Literal["append", "replace"],
        Meta(description="append: each new file is a batch of new rows. replace: the files are the whole table."),
    ] = "replace"
    dates: Annotated[
        Literal["day-first", "month-first"] | None,
        Meta(description="How days such as 01/02/2025 are written in CSV files; the values decide when not given."),
    ] = None


class ContractRef(Section, frozen=True, kw_only=True):
    """Which data contract guards a table: `[contract.TABLE]`.

    Attributes:
        file: an Open Data Contract Standard file, relative to the project file.
    """

    file: Annotated[
        str,
        Meta(
            min_length=1, description="An Open Data Contract Standard file (YAML).", examples=["contracts/flights.yaml"]
        ),
    ]


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


class Split(Section, frozen=True, kw_only=True):
    """How rows are divided: spans of time (the last ones), or shares of the rows.

    Attributes:
        validation: what is set aside for choosing.
        test: what is set aside for judging.
        embargo: time that must lie between a label becoming known and the next part.
        group: the column whose values stay together when there is no prediction time.
    """

    validation: Annotated[Duration | Share, Meta(description="Set aside for choosing: a span or a share.")] = 0.15
    test: Annotated[Duration | Share, Meta(description="Set aside for judging: a span or a share.")] = 0.15
    embargo: Annotated[Duration, Meta(description="Time between a label becoming known and the next part.")] = "0s"
    group: Annotated[str | None, Meta(description="Rows of one group stay together when there is no time.")] = None


class Training(Section, frozen=True, kw_only=True):
    """What is learned, from which examples.

    Attributes:
        population: an SQL file with one row for each example: keys, request columns, times, and what the label needs.
        label: a column or an expression over the population's columns.
        task: what kind of question the label answers; inferred from its values when `auto`.
        positive: the class whose probability a binary model gives.
        prediction_time: the column with the moment at which the question is asked; without it the split is by hash.
        label_time: the column with the moment at which the answer becomes known.
        cut_off: nothing learned after this moment is used.
        features: the feature views that the model reads.
        request: columns of the population that are features themselves.
        outcomes: columns of the label's table, beside its own, that nobody knows before `label_time`; a feature that
            is made from one of them too early is a leak.
        trusted: features that may tell the label nearly by themselves: they are honest, however good they look.
        split: how rows are divided.
    """

    population: Annotated[str, Meta(min_length=1, description="An SQL file with one row for each example.")]
    label: Annotated[str, Meta(min_length=1, description="A column or an expression.", examples=["arr_delay > 15"])]
    task: Annotated[
        Literal["auto", "binary", "multiclass", "regression"],
        Meta(description="What kind of question the label answers."),
    ] = "auto"
    positive: Annotated[str | None, Meta(description="The class whose probability a binary model gives.")] = None
    prediction_time: Annotated[str | None, Meta(description="The column with the moment of the question.")] = None
    label_time: Annotated[str | None, Meta(description="The column with the moment the answer is known.")] = None
    cut_off: Annotated[str | None, Meta(description="Nothing learned after this ISO 8601 moment is used.")] = None
    features: Annotated[tuple[str, ...], Meta(description="The feature views that the model reads.")] = ()
    request: Annotated[tuple[Column, ...], Meta(description="Population columns that are features themselves.")] = ()
    outcomes: Annotated[tuple[Column, ...], Meta(description="More columns that are unknown before label_time.")] = ()
    trusted: Annotated[
        tuple[str, ...],
        Meta(description="Features that are honest, however good they look.", examples=[["plane.built", "distance"]]),
    ] = ()
    split: Split = Split()


class Search(Section, frozen=True, kw_only=True):
    """How settings of the model are searched.

    Attributes:
        trials: how many settings are tried; 1 tries the defaults only.
    """

    trials: Annotated[int, Meta(ge=1, description="How many settings are tried; 1 tries the defaults only.")] = 12


class Model(Section, frozen=True, kw_only=True):
    """How the model is made.

    Attributes:
        name: the name in the registry.
        trainer: `lightgbm`, `linear`, or `module:function` for one of your own.
        search: how settings are searched.
        seed: the seed of everything random.
    """

    name: Name
    trainer: Annotated[
        str,
        Meta(
            pattern=TRAINER_PATTERN, description="lightgbm, or module:function.", examples=["lightgbm", "my.train:fit"]
        ),
    ] = "lightgbm"
    search: Search = Search()
    seed: Annotated[int, Meta(ge=0, description="The seed of everything random.")] = 0


Metric = Literal["log_loss", "auc", "brier", "accuracy", "ece", "rmse", "mae", "r2"]


class SliceFloor(Section, frozen=True, kw_only=True):
    """What each slice must reach.

    Attributes:
        metric: what is measured.
        minimum: the least that is accepted, of a metric whose higher values are better.
        maximum: the most that is accepted, of a metric whose lower values are better.
        rows: slices with fewer test rows are not judged.
    """

    metric: Metric = "auc"
    minimum: Annotated[float | None, Meta(description="The least accepted, where higher is better.")] = None
    maximum: Annotated[float | None, Meta(description="The most accepted, where lower is better.")] = None
    rows: Annotated[int, Meta(ge=1, description="Slices with fewer test rows are not judged.")] = 500


class Gates(Section, frozen=True, kw_only=True):
    """What a model must pass to be registered as passed.

    Attributes:
        metric: the metric that models are compared by; chosen by the task when not given.
        better_than_baseline: the interval of the paired difference to the baseline must be on the good side.
        better_than_current: must not be worse than the version in production; passes when there is none.
        margin: how much worse the interval may end and still count as not worse, a share of the current metric.
        minimum_skill: the least improvement over the best constant, a share of the constant's metric.
        slices: columns whose values are judged one by one.
        slice_floor: what each slice must reach.
        calibration: the greatest expected calibration error that is accepted.
        signature: the inputs must be the ones that are served now.
        signature_change: why they need not be; a reason lets a changed signature pass.
        approvals: how many people, other than who registered it, must approve a version before it is merged into a
            protected branch or deployed. One rejection stops it.
    """

    metric: Annotated[Metric | None, Meta(description="The metric that models are compared by.")] = None
    better_than_baseline: Annotated[bool, Meta(description="Must beat the baseline, with its interval.")] = True
    better_than_current: Annotated[bool, Meta(description="Must not be worse than production, if any.")] = True
    margin: Annotated[Fraction, Meta(description="How much worse still counts as not worse, as a share.")] = 0.01
    minimum_skill: Annotated[Fraction, Meta(description="The least improvement over the best constant, a share.")] = (
        0.005
    )
    slices: Annotated[tuple[Column, ...], Meta(description="Columns whose values are judged one by one.")] = ()
    slice_floor: Annotated[SliceFloor | None, Meta(description="What each slice must reach.")] = None
    calibration: Annotated[Fraction | None, Meta(description="The greatest calibration error accepted.")] = None
    signature: Annotated[bool, Meta(description="The inputs must be the ones that are served now.")] = True
    signature_change: Annotated[str, Meta(description="Why the signature may change; empty: it may not.")] = ""
    approvals: Annotated[int, Meta(ge=0, le=20, description="How many others must approve a version to ship it.")] = 0


class PredictionLogging(Section, frozen=True, kw_only=True):
    """What the prediction log does not keep. Ids, versions, scores, outputs and latencies are kept always.

    Attributes:
        fields: a column of the requests, or a feature, to `drop` or `hash`. Drift is not measured of these.
        sample: the share of requests whose inputs and features are kept.
        explain: the share of requests whose explanation is kept, beside those that ask for theirs.
    """

    fields: Annotated[
        dict[Column, Literal["drop", "hash"]],
        Meta(description="Columns and features: drop leaves their values out, hash keeps whether they are equal."),
    ] = {}
    sample: Annotated[Fraction, Meta(description="The share of requests whose inputs are kept.")] = 1.0
    explain: Annotated[Fraction, Meta(description="The share of requests that are explained in the log.")] = 0.0


class Environment(Section, frozen=True, kw_only=True):
    """A branch that people depend on, and what it asks of whoever changes what serves there.

    Attributes:
        branch: `main`, or another one, which is better protected: `bascule branch --protect NAME`.
        approvals: how many people other than who registered a version must approve it before it gets traffic.
        role: the least role of who changes the traffic over HTTP or on the page.
    """

    branch: Annotated[str, Meta(min_length=1, description="The branch that it serves.")]
    approvals: Annotated[int, Meta(ge=0, le=20, description="How many others must approve a version.")] = 0
    role: Annotated[Literal["deployer", "admin"], Meta(description="The least role that changes its traffic.")] = (
        "deployer"
    )


class Deployment(Section, frozen=True, kw_only=True):
    """How a registered version reaches its callers.

    Attributes:
        name: the name under which it is served.
        strategy: `canary` sends a growing share, `replace` (or `all_at_once`) everything at once, `blue_green` too,
        with
            the version before kept warm; `ab` and `bandit` share the traffic until the goal is decided; `shadow` lets
            the new version answer unseen.
        steps: the canary's shares in percent, growing, ending at 100.
        share: the new version's share in an A/B test, and a bandit's first.
        goal: what `ab` and `bandit` are for.
        floor: the percentage that a bandit leaves to the worse version.
        keep: how long `blue_green` keeps the version before.
        shadow: whether both versions of a rollout score each request.
        automatic: whether a rollout goes on by itself; it goes back by itself always.
        guardrails: what a canary is judged by.
        url: where inference answers, as people reach it; previews of pull requests are told with it.
        environments: what branches ask for, such as `staging` and `production`; `[gates] approvals` when there are
        none. requests: what becomes of a request that breaks the contract of the version that it asks: `log` answers it
        as
            any other (`bascule contract test models/NAME` tells of it), `refuse` does not.
        log: what the prediction log does not keep.
    """

    name: Name
    strategy: Annotated[
        Literal["canary", "replace", "all_at_once", "blue_green", "ab", "shadow", "bandit"],
        Meta(description="canary: a growing share. replace: everything at once. The others: docs/delivery.md."),
    ] = "canary"
    steps: Annotated[
        tuple[Percent, ...], Meta(min_length=2, description="The canary's shares in percent.", examples=[[10, 100]])
    ] = (10, 100)
    share: Annotated[int, Meta(ge=1, le=99, description="The new version's percentage in an A/B test.")] = 50
    goal: Annotated[Goal | None, Meta(description="What an A/B test or a bandit is for.")] = None
    floor: Annotated[int, Meta(ge=1, le=50, description="The percentage that a bandit leaves to the worse one.")] = 5
    keep: Annotated[Duration, Meta(description="How long blue_green keeps the version before warm.")] = "1h"
    shadow: Annotated[bool, Meta(description="Whether both versions of a rollout score each request.")] = True
    automatic: Annotated[
        bool, Meta(description="Whether a rollout goes on by itself. It goes back by itself always.")
    ] = True
    guardrails: Guardrails = Guardrails()
    url: Annotated[str, Meta(pattern="^(https?://.+)?$", description="Where inference answers, for previews.")] = ""
    environments: Annotated[dict[Name, Environment], Meta(description="What the branches ask for that serve.")] = {}
    requests: Annotated[
        Literal["log", "refuse"],
        Meta(description="Requests that break the version's contract: log answers them, refuse does not."),
    ] = "log"
    log: PredictionLogging = PredictionLogging()


Persistence = Annotated[
    tuple[Positive, Positive], Meta(description="[k, n]: in k of the last n periods.", examples=[[3, 5]])
]


class Drift(Section, frozen=True, kw_only=True):
    """When a changed distribution is an alert.

    Attributes:
        minimum_rows: periods with fewer rows are not judged.
        effect: the least distance that matters, 0 to 1.
        over: how many periods are counted together, the judged one last: 24 hours, 7 days or 1 when not given.
        persistence: `[k, n]`: in k of the last n periods.
    """

    minimum_rows: Annotated[int, Meta(ge=1, description="Periods with fewer rows are not judged.")] = 200
    effect: Annotated[Fraction, Meta(description="The least distance that matters.")] = 0.1
    over: Annotated[Positive | None, Meta(description="Periods counted together: 24 hours, 7 days, else 1.")] = None
    persistence: Persistence = (3, 5)


class Quality(Section, frozen=True, kw_only=True):
    """How quality on arrived labels is measured.

    Attributes:
        metric: what is measured; chosen by the task when not given.
        minimum_coverage: the share of predictions whose label must have arrived before a period is judged.
    """

    metric: Annotated[Metric | None, Meta(description="What is measured; chosen by the task when not given.")] = None
    minimum_coverage: Annotated[Fraction, Meta(description="Share of labels that must have arrived.")] = 0.8


class Monitoring(Section, frozen=True, kw_only=True):
    """What is watched.

    Attributes:
        by: the length of a period.
        drift: when a changed distribution is an alert.
        quality: how quality is measured.
    """

    by: Annotated[Literal["hour", "day", "week"], Meta(description="The length of a period.")] = "day"
    drift: Drift = Drift()
    quality: Quality = Quality()


class Retrain(Section, frozen=True, kw_only=True):
    """What starts a retraining.

    Attributes:
        when: a rule such as `quality.auc < training.auc - 0.03 for 3 of 5 days`.
        schedule: a cron expression in UTC, such as `0 3 * * 1`.
        cooldown: the least time between two retrainings that `when` starts, by the days that were watched.
    """

    when: Annotated[
        str | None,
        Meta(
            description="A rule over what is watched.", examples=["quality.auc < training.auc - 0.03 for 3 of 5 days"]
        ),
    ] = None
    schedule: Annotated[str | None, Meta(description="A cron expression, UTC.", examples=["0 3 * * 1"])] = None
    cooldown: Annotated[Duration, Meta(description="The least time between two that `when` starts.")] = "7d"


class Checks(Section, frozen=True, kw_only=True):
    """How contracts' checks run.

    Attributes:
        time_limit: how long one check written in Python may take; it is stopped then, and counts as one that failed.
    """

    time_limit: Annotated[Duration, Meta(description="How long a check written in Python may take.")] = "2m"


class Merge(Section, frozen=True, kw_only=True):
    """What a merge into a protected branch must pass, beside contracts and gates.

    Attributes:
        checks: `FILE.sql`, a query over the merged state that yields the rows that must not be, or `module:function`,
            called with the merged state.
    """

    checks: Annotated[
        list[
            Annotated[
                str,
                Meta(pattern=CHECK_PATTERN, description="FILE.sql or module:function.", examples=["checks/totals.sql"]),
            ]
        ],
        Meta(description="Checks that are required."),
    ] = []


class ForgetLink(Section, frozen=True, kw_only=True):
    """Where else a table's subjects are: `[forget.link.NAME]`, in another table or in a file set.

    Attributes:
        subject: the table that `bascule forget` is asked for.
        table: another table that has rows of the same subjects.
        columns: of that other table: its column to the subject's column.
        files: a file set that has files of the same subjects.
        path: which of its files: a pattern with the subject's columns in braces.
    """

    subject: Annotated[str, Meta(min_length=1, description="The table that forget is asked for.")]
    table: Annotated[str | None, Meta(description="Another table with rows of the same subjects.")] = None
    columns: Annotated[
        dict[str, Column], Meta(description="Its column to the subject's column.", examples=[{"customer": "id"}])
    ] = {}
    files: Annotated[str | None, Meta(description="A file set with files of the same subjects.")] = None
    path: Annotated[
        str | None,
        Meta(description="Which files: a pattern with columns in braces.", examples=["people/{id}/**"]),
    ] = None


class Forget(Section, frozen=True, kw_only=True):
    """What forgetting a subject means beside the rows of its table.

    Attributes:
        policy: what happens to models that learned from it: `retrain` puts a retraining down at once, `schedule` one
            that is due later, `justify` keeps them for a reason that is recorded. Without one they are only named.
        within: when a scheduled retraining is due.
        reason: why models stay, where the command gives no reason of its own.
        link: where else the subjects are.
    """

    policy: Annotated[
        Literal["retrain", "schedule", "justify"] | None,
        Meta(description="What happens to models that learned from a forgotten subject."),
    ] = None
    within: Annotated[Duration, Meta(description="When a scheduled retraining is due.")] = "30d"
    reason: Annotated[str, Meta(description="Why models stay, with policy = justify.")] = ""
    link: Annotated[dict[str, ForgetLink], Meta(description="Where else the subjects are.")] = {}


class Workspace(Section, frozen=True, kw_only=True):
    """Where the history, the data and the records live.

    Attributes:
        url: a folder, relative to the project file, or a URL; `BASCULE_WORKSPACE` goes before it.
    """

    url: Annotated[str, Meta(min_length=1, description="A folder or a URL.")] = ".bascule"


class ProjectSections(Section, frozen=True, kw_only=True):
    """A project file (bascule.toml). Each table is one section."""

    project: Project
    source: Annotated[dict[str, Source], Meta(description="Where each table comes from.")] = {}
    contract: Annotated[dict[str, ContractRef], Meta(description="The data contract of each table.")] = {}
    entity: Annotated[dict[str, Entity], Meta(description="What features are about.")] = {}
    features: Annotated[dict[str, FeatureView | RequestView], Meta(description="The features, view by view.")] = {}
    service: Annotated[dict[str, Service], Meta(description="Features that are asked for together.")] = {}
    training: Training | None = None
    model: Model | None = None
    gates: Gates = Gates()
    deployment: Deployment | None = None
    monitoring: Monitoring | None = None
    retrain: Retrain | None = None
    checks: Checks = Checks()
    merge: Merge = Merge()
    forget: Forget = Forget()
    workspace: Workspace = Workspace()
