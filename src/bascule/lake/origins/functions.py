"""Python functions that yield rows: `python://module:function`."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, signature
from typing import Any

from bascule.errors import BasculeError, InputError, is_interruption
from bascule.functions import load_function
from bascule.lake.origins.origin import Asked, Part
from bascule.lake.origins.spool import as_schema, checked_schema, sorted_digest, write_arrow
from bascule.lake.rows import Rows


class Functions:
    """Functions of the project's own modules.

    One is called with the options as text by name, and with `known`, when it has a parameter of that name: a list of
    what was brought from it before, oldest first, each with `rows` and `version`. It returns or yields Arrow batches,
    tables, a frame, dicts: whatever a table takes.
    """

    def versions(self, asked: Asked) -> dict[str, str]:
        """See `Origin`: only calling it tells."""
        return {}

    def parts(self, asked: Asked) -> Iterator[Part]:
        """See `Origin`."""
        if asked.options.query or asked.options.cursor:
            raise InputError(f"{asked.shown} takes neither query nor cursor.", hint="Give it options by name.")
        name = asked.address.partition("://")[2]
        function = load_function(name, asked.folder)
        path = asked.spool / "rows.parquet"
        asked.tell(f"calling {name}")
        try:
            rows = Rows(function(**_arguments(function, asked)))
            schema = checked_schema(rows.schema, asked.shown)
            count = write_arrow((as_schema(batch, schema, asked.shown) for batch in rows), schema, path)
        except BasculeError:
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            raise InputError(
                f"{name} stopped with {type(error).__name__}: {error}.", hint="Nothing of it was taken; repair it."
            ) from error
        if count:
            yield Part(path, sorted_digest(path, asked.shown), name, asked.shown, {"function": name})


def _arguments(function: Any, asked: Asked) -> dict[str, Any]:
    taken = signature(function).parameters
    open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in taken.values())
    if unknown := sorted(name for name in asked.options.more if name not in taken and not open_ended):
        raise InputError(
            f"{asked.shown} has no parameter {unknown[0]!r}.", hint=f"It has: {', '.join(taken) or 'none'}."
        )
    known = {"known": list(asked.known)} if "known" in taken else {}
    return {**asked.options.more, **known}
