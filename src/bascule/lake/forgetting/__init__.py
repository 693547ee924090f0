"""Forgetting: a subject's rows leave every file of a table, whatever branch, tag or old commit still reads it.

The history's objects stay as they are; the files that they lead to are rewritten, so every old state can be read and
has every other row. `docs/decisions/0002-forgetting.md` says how and why.
"""

from bascule.lake.forgetting.forget import Hook, Request, forget, forget_rows, forget_values
from bascule.lake.forgetting.forgetters import AFTER, BEFORE, resolved
from bascule.lake.forgetting.replacing import Replacing
from bascule.lake.forgetting.report import ForgetReport, Forgotten, ForgottenFile

__all__ = [
    "AFTER",
    "BEFORE",
    "ForgetReport",
    "Forgotten",
    "ForgottenFile",
    "Hook",
    "Replacing",
    "Request",
    "forget",
    "forget_rows",
    "forget_values",
    "resolved",
]
