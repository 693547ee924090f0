"""`bascule features select`: which of a model's features to keep, which to drop and why, and what each costs to serve.

`selection` judges them; `page` writes what was found as one HTML file.
"""

from bascule.project.selecting.page import html
from bascule.project.selecting.selection import Selection, select_features

__all__ = ["Selection", "html", "select_features"]
