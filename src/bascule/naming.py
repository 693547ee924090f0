"""Names: which may be given, and the one that means what serves. The one place that says it."""

from __future__ import annotations

import re

from bascule.errors import InputError

#: As a JSON Schema writes it, too.
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]*$"
LONGEST = 128
#: The alias of the version that serves.
PRODUCTION = "production"


def checked_name(name: str, what: str) -> str:
    """Return a name that may be used.

    Args:
        what: what it is to name, such as "a model name".

    Raises:
        InputError: it holds something other than letters, digits, dot, dash and underscore, or is too long.
    """
    if len(name) > LONGEST or name.endswith("\n") or not re.search(NAME_PATTERN, name):
        shown = name if len(name) <= LONGEST else name[:LONGEST] + "…"
        raise InputError(
            f"{shown!r} cannot be used as {what}.",
            hint=f"Use letters, digits, dot, dash and underscore, a letter first, at most {LONGEST} characters.",
        )
    return name
