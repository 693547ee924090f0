"""Looking at a folder of data and writing a project for it.

Owns the reading of a folder (`folder`, `tables`), what is concluded from it (`keys`, `times`, `label`, `leakage`,
`joins`, `design`), and the texts that are written (`views`, `texts`). Called by the command line and by `project`.
"""

from bascule.project.init.project import empty_project, init_project
from bascule.project.init.report import InitReport
from bascule.project.init.repository import begin_repository
from bascule.project.init.templates import copy_template, templates

__all__ = ["InitReport", "begin_repository", "copy_template", "empty_project", "init_project", "templates"]
