"""Parameters and tags of a subject: a parameter is written once, a tag may change."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from bascule.catalog.schema import names, run_params, run_tags
from bascule.errors import InputError
from bascule.tracking.points import dialect

_PARAM = "INSERT INTO run_params (subject, name, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_TAG = (
    "INSERT INTO run_tags (subject, name, value) VALUES (?, ?, ?) "
    "ON CONFLICT (subject, name) DO UPDATE SET value = excluded.value"
)


def add_params(
    conn: Connection, subject: int, values: Mapping[str, str], numbers: Mapping[str, int], *, strict: bool
) -> None:
    """Keep parameters.

    Args:
        strict: refuse another value for a parameter that has one; else the first one stays.

    Raises:
        InputError: naming the first parameter whose value would change.
    """
    if not values:
        return
    if strict:
        wanted = {numbers[key]: key for key in values}
        query = select(run_params.c.name, run_params.c.value).where(
            run_params.c.subject == subject, run_params.c.name.in_(list(wanted))
        )
        for row in conn.execute(query):
            key = wanted[row.name]
            if row.value != values[key]:
                raise InputError(
                    f"Changing param values is not allowed. Param with key='{key}' was already logged with "
                    f"value='{row.value[:200]}'. Attempted logging new value '{values[key][:200]}'.",
                    hint="Log it under another key, or in another run.",
                )
    rows = [(subject, numbers[key], value) for key, value in values.items()]
    conn.exec_driver_sql(dialect(conn, _PARAM), rows)


def set_tags(conn: Connection, subject: int, values: Mapping[str, str], numbers: Mapping[str, int]) -> None:
    """Set tags; one that is there takes the new value."""
    if values:
        rows = [(subject, numbers[key], value) for key, value in values.items()]
        conn.exec_driver_sql(dialect(conn, _TAG), rows)


def delete_tag(conn: Connection, subject: int, key: str) -> bool:
    """Take a tag away; False when there is none of that key."""
    number = select(names.c.number).where(names.c.name == key).scalar_subquery()
    gone = conn.execute(delete(run_tags).where(run_tags.c.subject == subject, run_tags.c.name == number))
    return gone.rowcount > 0


def tags_of(conn: Connection, subject: int) -> dict[str, str]:
    """Return the tags of a subject."""
    query = (
        select(names.c.name, run_tags.c.value)
        .join(names, names.c.number == run_tags.c.name)
        .where(run_tags.c.subject == subject)
        .order_by(names.c.name)
    )
    return {row.name: row.value for row in conn.execute(query)}


def params_of(conn: Connection, subject: int) -> dict[str, str]:
    """Return the parameters of a subject."""
    query = (
        select(names.c.name, run_params.c.value)
        .join(names, names.c.number == run_params.c.name)
        .where(run_params.c.subject == subject)
        .order_by(names.c.name)
    )
    return {row.name: row.value for row in conn.execute(query)}
