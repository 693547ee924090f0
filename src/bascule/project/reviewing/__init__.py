"""Comparisons as a reviewer reads them: on a terminal, in a pull request, or as a page to keep or print.

Each form takes the same comparisons and shows the same facts. Values of cells are hostile until they are shown: control
characters are spelt out, and nothing in them can become markup.
"""

from bascule.project.reviewing.page import html
from bascule.project.reviewing.request import markdown
from bascule.project.reviewing.terminal import text

__all__ = ["html", "markdown", "text"]
