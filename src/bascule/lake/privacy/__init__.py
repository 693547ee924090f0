"""Releasing rows without their people: k-anonymity and l-diversity, reached by generalisation and suppression.

Rooms above hand in Arrow tables and get Arrow tables; nothing here knows of branches or contracts.
"""

from bascule.lake.privacy.hierarchies import Hierarchy, read_hierarchy
from bascule.lake.privacy.measures import Anonymity, measured
from bascule.lake.privacy.mondrian import Anonymised, anonymised

__all__ = ["Anonymised", "Anonymity", "Hierarchy", "anonymised", "measured", "read_hierarchy"]
