"""A Feast repository as a Bascule project: read from the text of its files, without running them and without Feast.

`reading` gives what the files declare, `expressions` what on-demand functions compute, and `importing` writes what that
is here and tells what was left out.
"""

from bascule.project.feast.importing import FeastImport, import_feast

__all__ = ["FeastImport", "import_feast"]
