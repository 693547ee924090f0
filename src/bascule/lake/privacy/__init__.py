"""Releasing rows without their people: k-anonymity and l-diversity, reached by generalisation and suppression.

Rooms above hand in rows as SQL or Arrow tables and get Arrow; nothing here knows of branches or contracts.
"""

from bascule.lake.privacy.hierarchies import Hierarchy, read_hierarchy
from bascule.lake.privacy.measures import Anonymity, measured
from bascule.lake.privacy.release import Anonymised, Cost, anonymised, generalised

__all__ = ["Anonymised", "Anonymity", "Cost", "Hierarchy", "anonymised", "generalised", "measured", "read_hierarchy"]
