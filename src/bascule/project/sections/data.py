"""What a project is about: where its tables come from, what is asked of them, and what must be forgotten."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.section import Column, Duration, Name, Section


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


class Stream(Section, frozen=True, kw_only=True):
    """Events that keep coming: `[stream.TABLE]`. They land in that table, and views with a `hop` count them at once.

    Attributes:
        path: where they come from: `kafka://HOST:PORT/TOPIC`, `table:NAME` for the rows that are appended to a table of
            the same branch, a file that grows (`.jsonl` or `.csv`), or `push` for those that are sent to the server.
            `${NAME}` in an address is that environment variable.
        columns: column to kind: text, integer, number, boolean, time or date. What a message has besides is left alone.
        time: the column with each event's moment.
        key: the columns that name an event, for a table that is made now.
        lateness: how much older than the newest an event may be; what is later goes to `quarantine`.
        ahead: how far beyond the clock an event's time may be; what is further goes to `quarantine`.
        land: how long events may wait before they are a batch of the table.
        begin: where a topic or a table that was never read begins.
        options: what Kafka's client is told besides, such as `security.protocol`; of a table, `changes`: what to do
            where rows went, `refuse` or `keep`.
    """

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="kafka://HOST:PORT/TOPIC, table:NAME, a file that grows, or push.",
            examples=["kafka://broker:9092/clicks", "table:raw_clicks", "logs/clicks.jsonl", "push"],
        ),
    ]
    columns: Annotated[
        dict[Column, str],
        Meta(
            min_length=1,
            description="Column to kind: text, integer, number, boolean, time or date.",
            examples=[{"user": "text", "clicked_at": "time"}],
        ),
    ]
    time: Annotated[str, Meta(min_length=1, description="The column with each event's moment.")]
    key: Annotated[tuple[Column, ...], Meta(description="The columns that name an event.")] = ()
    lateness: Annotated[Duration, Meta(description="How much older than the newest an event may be.")] = "1h"
    ahead: Annotated[Duration, Meta(description="How far beyond the clock an event's time may be.")] = "5m"
    land: Annotated[Duration, Meta(description="How long events may wait before they land in the table.")] = "1m"
    begin: Annotated[
        Literal["earliest", "latest"], Meta(description="Where a topic or table that was never read begins.")
    ] = "earliest"
    options: Annotated[
        dict[str, str], Meta(description="What Kafka's client is told besides; of a table: changes, refuse or keep.")
    ] = {}


class Checks(Section, frozen=True, kw_only=True):
    """How contracts' checks run.

    Attributes:
        time_limit: how long one check written in Python may take; it is stopped then, and counts as one that failed.
    """

    time_limit: Annotated[Duration, Meta(description="How long a check written in Python may take.")] = "2m"


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


class Pii(Section, frozen=True, kw_only=True):
    """How personal data are looked for.

    Attributes:
        nlp: what reads free text: a spaCy pipeline, `presidio:en` or `module:function`; nothing when empty.
    """

    nlp: Annotated[
        str, Meta(description="What finds names in free text: a spaCy pipeline, presidio:en or module:function.")
    ] = ""


class Forget(Section, frozen=True, kw_only=True):
    """What forgetting a subject means beside the rows of its table.

    Attributes:
        policy: what happens to models that learned from it: `retrain` puts a retraining down at once, `schedule` one
            that is due later, `justify` keeps them for a reason that is recorded. Without one they are only named.
        within: when a scheduled retraining is due.
        reason: why models stay, where the command gives no reason of its own.
        copies: what happens to rows that no link leads to and that hold a distinctive value: `replace` takes the value
            out of their texts, and rows that have the key's own columns go as the subject's; `remove` takes out rows
            too in which a cell is the value; `leave` only tells of them.
        link: where else the subjects are.
    """

    policy: Annotated[
        Literal["retrain", "schedule", "justify"] | None,
        Meta(description="What happens to models that learned from a forgotten subject."),
    ] = None
    within: Annotated[Duration, Meta(description="When a scheduled retraining is due.")] = "30d"
    reason: Annotated[str, Meta(description="Why models stay, with policy = justify.")] = ""
    copies: Annotated[
        Literal["replace", "remove", "leave"],
        Meta(description="What happens to rows with a subject's value that no link leads to."),
    ] = "replace"
    link: Annotated[dict[str, ForgetLink], Meta(description="Where else the subjects are.")] = {}


class Workspace(Section, frozen=True, kw_only=True):
    """Where the history, the data and the records live.

    Attributes:
        url: a folder, relative to the project file, or a URL; `BASCULE_WORKSPACE` goes before it.
    """

    url: Annotated[str, Meta(min_length=1, description="A folder or a URL.")] = ".bascule"
