"""What an Iceberg client may ask of a table's metadata, in the words of the REST specification.

A commit is a list of requirements, which must hold of the present document, and a list of updates, which are applied in
order to a copy of it. All of it works on plain dicts: facts and types that nobody here knows pass through unharmed.
Where the specification leaves something open, Java's library decides, because most clients are tested against it.
"""

from bascule.lake.iceberg.updates.applying import UPDATES, apply
from bascule.lake.iceberg.updates.creating import created
from bascule.lake.iceberg.updates.requirements import REQUIREMENTS, RequirementFailed, demand

__all__ = ["REQUIREMENTS", "UPDATES", "RequirementFailed", "apply", "created", "demand"]
