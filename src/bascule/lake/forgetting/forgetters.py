"""What takes part in a forgetting beside the tables: rooms join by naming a function of theirs here.

Each is a `Hook`, or the `module:function` of one, which is imported when somebody forgets. It is called with a request,
removes the subject from what its room owns (with `dry_run`: only counts), and says what was there. It must bear being
called again. Those in `BEFORE` are called while the rows are still in the table, those in `AFTER` when they are gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from bascule.lake.forgetting.forget import Hook

BEFORE: list[Hook | str] = []
AFTER: list[Hook | str] = []


def resolved(forgetters: Iterable[Hook | str]) -> tuple[Hook, ...]:
    """Return the functions that a list names."""
    return tuple(_function(one) if isinstance(one, str) else one for one in forgetters)


def _function(where: str) -> Hook:
    module, _, name = where.partition(":")
    found: Hook = getattr(import_module(module), name)
    return found
