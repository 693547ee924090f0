"""How versions come into service and leave it: deployments, canaries with always-valid guardrails, rollback.

Delivery owns the objects `deployments/NAME`, the records `rollouts` and the decision when a canary goes on or back. It
reads the prediction log through a connection that it is handed. The command line, the server's scheduler and the page
call it; it calls the history, the catalog and nothing of how a model is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.delivery.deployments import deploy, read_deployment, rollback, set_traffic, ship, ship_waiting
from bascule.delivery.engines import engine_left
from bascule.delivery.guardrails import Guardrails, read_guardrails
from bascule.delivery.merging import keep_traffic, merge_deployments
from bascule.delivery.planning import planned
from bascule.delivery.progress import advance, drop, promote, reweigh
from bascule.delivery.records import Lately, has_own_traffic, rolled_back_lately
from bascule.delivery.waiting import Waiting, waiting_for
from bascule.ondemand import on_demand

if TYPE_CHECKING:
    from bascule.delivery.decision import Decision
    from bascule.delivery.evidence import ServiceCount
    from bascule.delivery.finding import Finding
    from bascule.delivery.rollout import assess, step

__all__ = [
    "Decision",
    "Finding",
    "Guardrails",
    "Lately",
    "ServiceCount",
    "Waiting",
    "advance",
    "assess",
    "deploy",
    "drop",
    "engine_left",
    "has_own_traffic",
    "keep_traffic",
    "merge_deployments",
    "planned",
    "promote",
    "read_deployment",
    "read_guardrails",
    "reweigh",
    "rollback",
    "rolled_back_lately",
    "set_traffic",
    "ship",
    "ship_waiting",
    "step",
    "waiting_for",
]

# Judging evidence needs NumPy and DuckDB; moving traffic does not, and a rollback must not wait for them.
__getattr__ = on_demand(
    __name__,
    {
        "decision": ("Decision",),
        "evidence": ("ServiceCount",),
        "finding": ("Finding",),
        "rollout": ("assess", "step"),
    },
)
