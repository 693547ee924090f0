"""Models, their versions, and why each of them may serve."""

from __future__ import annotations

from starlette.responses import Response

from bascule.evaluation import EvaluationReport
from bascule.server.reads import models
from bascule.server.routes import Call, Route
from bascule.web.calibration import Reliability, reliability
from bascule.web.charts import bars
from bascule.web.pages.common import View
from bascule.web.render import page

MOST_INPUTS = 15
MOST_SLICES = 12
MOST_METRICS = 5


def list_models(call: Call[View, None]) -> Response:
    """The models of a state."""
    return page(call, "models.html", models=models.list_models(call.workspace, call.query.ref))


def one_model(call: Call[View, None]) -> Response:
    """A model with its versions."""
    found = models.get_model(call.workspace, call.query.ref, call.path["model"])
    names = [name for version in found.versions for name in version.metrics if name.startswith("test.")]
    columns = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))[:MOST_METRICS]
    return page(call, "model.html", model=found, columns=columns)


def one_version(call: Call[View, None]) -> Response:
    """A version with its gates, evaluation, card and approvals."""
    ref = call.query.ref
    found = models.get_version(call.workspace, ref, call.path["model"], call.path["version"])
    report = found.report
    return page(
        call,
        "version.html",
        found=found,
        version=found.version,
        report=report,
        curve=_curve(report),
        importance=bars(list(report.importance.items())[:MOST_INPUTS]) if report else [],
        most_slices=MOST_SLICES,
        references=[name for name in ("baseline", "constant", "current") if report and name in report.references],
        card=_body(found.card),
    )


def _curve(report: EvaluationReport | None) -> Reliability | None:
    return reliability(report.calibration) if report and report.calibration else None


def _body(card: str | None) -> str | None:
    """A card without its front matter and its title, which the page says already."""
    if card is None:
        return None
    text = card
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    text = text.lstrip()
    return text.partition("\n")[2] if text.startswith("# ") else text


ROUTES = [
    Route("GET", "/models", list_models, "read", page=True),
    Route("GET", "/models/{model}", one_model, "read", page=True),
    Route("GET", "/models/{model}/{version}", one_version, "read", page=True),
]
