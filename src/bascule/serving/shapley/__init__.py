"""What each input adds to an answer (SHAP values): told by a model's library or its trees, or found out by asking it.

`Explainer` chooses the way for a model. `serving.explaining` asks it for the rows of a request, and worker processes
for theirs.
"""

from bascule.serving.shapley.explainer import Explainer
from bascule.serving.shapley.part import Background, Told

__all__ = ["Background", "Explainer", "Told"]
