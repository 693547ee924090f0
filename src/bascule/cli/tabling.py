"""Commands over tables: show, create, append, overwrite, upsert, delete, columns, layout, rename, drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bascule.cli.files import size
from bascule.cli.options import COMMON, Common
from bascule.cli.output import answer, columns

if TYPE_CHECKING:
    from bascule.project.tabling import TableChange, TableDescription

MESSAGE = Parameter(name=["--message", "-m"], help="The commit's message.")
SQL = Parameter(help="Rows: what a query over the branch yields.")
KEY = Parameter(help="A column that tells rows apart.")
EVOLVE = Parameter(help="Let new columns be added, and missing ones be null.", negative="")
PARTITION = Parameter(
    name="--partition", help="How files are divided: a column, day(c), bucket(16, c), truncate(4, c).", negative=""
)
SORT = Parameter(name="--sort", help="How rows are sorted: a column or as above, with desc.", negative="")

table = App(name="table", help="Tables: make, fill, change and look at them; each change is checked before it is seen.")


@table.command
def show(
    name: str | None = None,
    /,
    *,
    at: Annotated[str | None, Parameter(help="The state to look at, if not the branch.")] = None,
    common: Common = COMMON,
) -> None:
    """Show what a table is: columns, key, layout, size; without a name, list the tables.

    Args:
        name: the table.
    """
    project = common.open()
    if name is None:
        listed = project.tables(at)
        rows = [(one.name, one.rows, one.files, size(one.bytes), ", ".join(one.key)) for one in listed]
        head = ("table", "rows", "files", "size", "key")
        answer(common, [one.as_dict() for one in listed], columns(rows, head, none="There are no tables yet."))
        return
    found = project.table(name, at=at).describe()
    answer(common, found.as_dict(), _described(found))


@table.command
def create(
    name: str,
    source: str | None = None,
    /,
    *,
    sql: Annotated[str | None, SQL] = None,
    column: Annotated[list[str] | None, Parameter(help="A column of an empty table: 'id BIGINT'.", negative="")] = None,
    key: Annotated[list[str] | None, KEY] = None,
    partition: Annotated[list[str] | None, PARTITION] = None,
    sort: Annotated[list[str] | None, SORT] = None,
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Make a table: of files, of a query, or empty with its columns.

    Args:
        name: the table.
        source: files: a file, a folder or a pattern.
    """
    held = pairs(column, " ", "--column 'id BIGINT'") if column else None
    layout = {"partition_by": partition or (), "sort_by": sort or ()}
    made = common.open().table(name)
    _tell(common, made.create(sql=sql, source=source, columns=held, key=key or (), message=message, **layout))


@table.command
def append(
    name: str,
    /,
    *,
    sql: Annotated[str, SQL],
    evolve: Annotated[bool, EVOLVE] = False,
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Add the rows of a query to a table. Files come in with bascule ingest, each content once.

    Args:
        name: the table.
    """
    _tell(common, common.open().table(name).append(sql=sql, evolve=evolve, message=message))


@table.command
def overwrite(
    name: str,
    /,
    *,
    sql: Annotated[str, SQL],
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Put the rows of a query in the place of all that a table has.

    Args:
        name: the table.
    """
    _tell(common, common.open().table(name).overwrite(sql=sql, message=message))


@table.command
def upsert(
    name: str,
    source: str | None = None,
    /,
    *,
    sql: Annotated[str | None, SQL] = None,
    key: Annotated[
        list[str] | None, Parameter(help="A column that tells rows apart; the table's key by default.")
    ] = None,
    evolve: Annotated[bool, EVOLVE] = False,
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Put rows into a table by its key: known keys are replaced, others added. Only files that hold them are rewritten.

    Args:
        name: the table.
        source: files: a file, a folder or a pattern.
    """
    done = common.open().table(name).upsert(sql=sql, source=source, key=key or (), evolve=evolve, message=message)
    _tell(common, done)


@table.command
def delete(
    name: str,
    /,
    *,
    where: Annotated[str, Parameter(help="A SQL condition: the rows for which it is true go.")],
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Take rows out of a table. Older commits keep them; bascule forget removes them for good.

    Args:
        name: the table.
    """
    _tell(common, common.open().table(name).delete(where, message=message))


@table.command(name="columns")
def change_columns(
    name: str,
    /,
    *,
    add: Annotated[list[str] | None, Parameter(help="A new column: 'note VARCHAR'.", negative="")] = None,
    rename: Annotated[list[str] | None, Parameter(help="OLD=NEW.", negative="")] = None,
    drop: Annotated[list[str] | None, Parameter(help="A column that goes.", negative="")] = None,
    widen: Annotated[list[str] | None, Parameter(help="A wider type: 'id BIGINT'.", negative="")] = None,
    order: Annotated[list[str] | None, Parameter(help="A column that comes first.", negative="")] = None,
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Change a table's columns without touching its data: rename, then drop, widen, add and reorder.

    Args:
        name: the table.
    """
    done = (
        common.open()
        .table(name)
        .columns(
            add=pairs(add, " ", "--add 'note VARCHAR'"),
            rename=pairs(rename, "=", "--rename OLD=NEW"),
            drop=drop or (),
            widen=pairs(widen, " ", "--widen 'id BIGINT'"),
            order=order or (),
            message=message,
        )
    )
    _tell(common, done)


@table.command
def layout(
    name: str,
    /,
    *,
    partition: Annotated[list[str] | None, PARTITION] = None,
    sort: Annotated[list[str] | None, SORT] = None,
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Divide or sort a table's files in another way from now on; 'none' says not at all. Files that are there stay.

    Args:
        name: the table.
    """
    told = [None if one is None else [] if one == ["none"] else one for one in (partition, sort)]
    _tell(common, common.open().table(name).layout(partition_by=told[0], sort_by=told[1], message=message))


@table.command
def rename(name: str, new: str, /, *, message: Annotated[str | None, MESSAGE] = None, common: Common = COMMON) -> None:
    """Give a table another name.

    Args:
        name: the table.
        new: its new name.
    """
    _tell(common, common.open().table(name).rename(new, message=message))


@table.command
def drop(name: str, /, *, message: Annotated[str | None, MESSAGE] = None, common: Common = COMMON) -> None:
    """Take a table off the branch. Other branches and older commits keep it.

    Args:
        name: the table.
    """
    _tell(common, common.open().table(name).drop(message=message))


def _tell(common: Common, done: TableChange) -> None:
    from bascule.counting import counted

    if done.commit is None:
        answer(common, done.as_dict(), f"{done.table} is so already; nothing was changed.")
        return
    said = ", ".join(f"{count:,} {what}" for what, count in done.counts.items())
    rows = counted(done.rows, "row")
    was = f" (was {done.rows_before:,})" if done.rows_before != done.rows else ""
    checks = f"; checked: {', '.join(done.checked)}" if done.checked else ""
    text = f"{done.commit.short}  {done.commit.message}: {said + '; ' if said else ''}{rows}{was}{checks}"
    answer(common, done.as_dict(), text)


def _described(found: TableDescription) -> str:
    from bascule.counting import counted

    lines = [f"{found.name}: {counted(found.rows, 'row')} in {counted(found.files, 'file')}, {size(found.bytes)}"]
    for word, told in (("key", found.key), ("partitioned by", found.partition_by), ("sorted by", found.sort_by)):
        if told:
            lines.append(f"  {word} {', '.join(told)}")
    return "\n".join([*lines, columns([(f"  {name}", kind) for name, kind in found.columns.items()])])


def pairs(words: Sequence[str] | None, between: str, example: str) -> dict[str, str]:
    """Return what is written as NAME=VALUE, or with another sign between, by name."""
    from bascule.errors import InputError

    found: dict[str, str] = {}
    for word in words or ():
        first, sign, second = word.strip().partition(between)
        if not (first and sign and second.strip()):
            raise InputError(f"{word!r} says only half of it.", hint=f"Write: {example}")
        found[first] = second.strip()
    return found
