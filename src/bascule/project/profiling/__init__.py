"""Profiles of a project's tables and file sets: the rows of a state, and what its other tables and its label add.

`profile` is the verb; `looking` measures rows that are in a connection, as `init` has them; `relating` finds keys,
joins, label candidates and leakage suspects with what `init` knows of them; `page` and `terminal` show a profile;
`mocking` makes up rows after some.
"""

from bascule.project.profiling.mocking import Mocked, mock
from bascule.project.profiling.page import html
from bascule.project.profiling.profile import profile
from bascule.project.profiling.terminal import text

__all__ = ["Mocked", "html", "mock", "profile", "text"]
