"""A git merge and a Bascule merge that happen together or not at all.

Git's merge commit is made first, without a branch that leads to it. A journal says what is meant. Then git's branch is
locked by git's own two-phase transaction, Bascule's branch moves in one transaction of the catalog, which names git's
commit, and git's branch follows. That transaction decides: whoever comes after a kill looks whether it landed, and
brings git's branch and files after it, or forgets the whole.
"""

from bascule.project.tandem.journal import GitHalf
from bascule.project.tandem.pair import Pair
from bascule.project.tandem.settling import Settled, pending, settle

__all__ = ["GitHalf", "Pair", "Settled", "pending", "settle"]
