"""`@feature_view`: a feature view that is written as a Python function which gives its SQL.

    from bascule import feature_view

    @feature_view(entity="origin", event_time="landed_at", windows=["6h", "1d"], aggregates={"late": "mean(late)"})
    def origin_lateness():
        return "select origin, landed_at, arr_delay > 15 as late from flights"

The settings are those of a `[features.NAME]` section, and are read from the text of the file, which is not run for
that; the function runs when its SQL is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

F = TypeVar("F", bound=Callable[[], object])


def feature_view(
    *,
    entity: str,
    name: str | None = None,
    event_time: str | None = None,
    known_time: str | None = None,
    ttl: str | None = None,
    fields: Sequence[str] = (),
    windows: Sequence[str] = (),
    aggregates: Mapping[str, str] | None = None,
    hop: str | None = None,
    owner: str = "",
    tags: Sequence[str] = (),
    description: str = "",
    freshness: str | None = None,
    contract: str | None = None,
) -> Callable[[F], F]:
    """Declare a function in `features/*.py` as a feature view; it is returned unchanged.

    Args:
        entity: the entity that the rows are about; its keys may be several columns.
        name: the view's name; the function's when None.
        hop: for a view of a `[stream.TABLE]`, the length of a tile, such as `1m`.
        description: what it is; the function's docstring when empty.
        freshness: how old the newest row in the online store may be.

    The rest is as in a `[features.NAME]` section. All arguments are written out (texts, numbers, lists), because they
    are read without running the file. The function takes nothing and returns SQL: a text, or an object with
    `.sql(dialect=…)`, as sqlglot's expressions are.
    """
    return lambda function: function
