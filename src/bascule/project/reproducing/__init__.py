"""Doing a run again from what was recorded of it, and saying whether the same came out, or why not.

The steps of `bascule run` are called again in this process (`training`); a tracked command runs again in a folder of
its own (`script`): its code from git and the kept tree (`code`), its packages in an environment of their own
(`environment`), its data as they were (`data`). What came out is compared byte by byte, then number by number
(`comparing`), and what may explain a difference is listed (`terms`).
"""

from bascule.project.reproducing.finding import reproduce
from bascule.project.reproducing.result import Compared, Reproduction, Term

__all__ = ["Compared", "Reproduction", "Term", "reproduce"]
