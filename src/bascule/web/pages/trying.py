"""Before it counts: where a branch answers, and what a rollout would see."""

from __future__ import annotations

from shlex import quote
from typing import Any

import msgspec
from starlette.responses import Response

from bascule.errors import BasculeError, InputError
from bascule.project.deploying import preview_of
from bascule.project.powering import RULES, Question, power_of
from bascule.server.reads import deployments, history
from bascule.server.routes import Call, Route
from bascule.web.pages.common import View
from bascule.web.render import page


class PowerView(msgspec.Struct, frozen=True):
    """What is asked, as it was typed; a blank is not said."""

    ref: str = "main"
    rule: str = "errors"
    effect: str = ""
    base: str = ""
    spread: str = ""
    share: str = ""


def preview(call: Call[View, None]) -> Response:
    """Where a branch answers, so that it can be tried before it merges."""
    ws, ref = call.workspace, call.query.ref
    history.demand_branch(ws, ref)
    found = preview_of(ws, ref, call.settings.inference_url, call.settings.grpc_address)
    branches = [one for one in history.branches(ws) if one.name != ref]
    return page(call, "preview.html", found=found, served=deployments.list_deployments(ws, ref), others=branches)


def power(call: Call[PowerView, None]) -> Response:
    """How many requests it takes until a rollout of a deployment sees an effect."""
    asked, name = call.query, call.path["name"]
    deployment = deployments.get_deployment(call.workspace, asked.ref, name)
    found: dict[str, Any] | None = None
    problem: BasculeError | None = None
    if asked.effect.strip():
        try:
            found = power_of(call.workspace, asked.ref, name, _question(asked))
        except BasculeError as error:  # a person corrects a field and asks again
            problem = error
    told = command(name, asked)
    return page(
        call, "power.html", deployment=deployment, asked=asked, rules=RULES, found=found, problem=problem, command=told
    )


def command(name: str, asked: PowerView) -> str:
    """The same from a terminal."""
    said = {"rule": asked.rule, "effect": asked.effect.strip() or "0.01"}
    said |= {key: value for key in ("base", "spread", "share") if (value := getattr(asked, key).strip())}
    where = {} if asked.ref == "main" else {"branch": asked.ref}
    words = (f"--{key} {quote(value)}" for key, value in (said | where).items())
    return " ".join([f"bascule deployment power {name}", *words])


def _question(asked: PowerView) -> Question:
    share = _number("share", asked.share)
    if share is not None and share != int(share):
        raise InputError(f"The share is {asked.share}; it is a whole percentage.")
    effect = _number("effect", asked.effect)
    assert effect is not None
    rule: Any = asked.rule
    return Question(
        rule=rule,
        effect=effect,
        base=_number("base", asked.base),
        spread=_number("spread", asked.spread),
        share=None if share is None else int(share),
    )


def _number(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if found != found or abs(found) == float("inf"):
        raise InputError(f"The {name} is {text[:40]!r}, which is no number.", hint="Write it as 0.01.")
    return found


ROUTES = [
    Route("GET", "/preview", preview, "read", page=True),
    Route("GET", "/deployments/{name}/power", power, "read", page=True),
]
