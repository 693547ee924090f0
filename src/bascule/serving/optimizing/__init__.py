"""Finding the engine that answers a version's requests fastest and rightly: candidates, parity, figures, choice.

It reads a bundle and rows and writes nothing; the project room keeps what was found and chosen.
"""

from bascule.serving.optimizing.candidates import NAMES, Candidate, Excluded, candidates
from bascule.serving.optimizing.choosing import chosen
from bascule.serving.optimizing.found import Accuracy, Figures, Found, Optimized, Worst
from bascule.serving.optimizing.measuring import measured
from bascule.serving.optimizing.parity import TOLERANCE, Comparing, Parity
from bascule.serving.optimizing.prices import Prices, read_prices
from bascule.serving.optimizing.rows import Group, rows_of
from bascule.serving.optimizing.search import Asked, optimize_bundle

__all__ = [
    "NAMES",
    "TOLERANCE",
    "Accuracy",
    "Asked",
    "Candidate",
    "Comparing",
    "Excluded",
    "Figures",
    "Found",
    "Group",
    "Optimized",
    "Parity",
    "Prices",
    "Worst",
    "candidates",
    "chosen",
    "measured",
    "optimize_bundle",
    "read_prices",
    "rows_of",
]
