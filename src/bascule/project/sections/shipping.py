"""How a model answers, and how a new version takes over."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bascule.project.guardrails import Goal, Guardrails
from bascule.project.section import CHECK_PATTERN, Column, Duration, Fraction, Name, Percent, Section, Size


class PredictionLogging(Section, frozen=True, kw_only=True):
    """What the prediction log does not keep. Ids, versions, scores, outputs and latencies are kept always.

    Attributes:
        fields: a column of the requests, or a feature, to `drop` or `hash`. Drift is not measured of these.
        sample: the share of requests whose inputs and features are kept.
        explain: the share of requests whose explanation is kept, beside those that ask for theirs.
        full: what becomes of a request that the log cannot be written for, as when the disk is full: `refuse` answers
            503, `unlogged` answers and counts it.
    """

    fields: Annotated[
        dict[Column, Literal["drop", "hash"]],
        Meta(description="Columns and features: drop leaves their values out, hash keeps whether they are equal."),
    ] = {}
    sample: Annotated[Fraction, Meta(description="The share of requests whose inputs are kept.")] = 1.0
    explain: Annotated[Fraction, Meta(description="The share of requests that are explained in the log.")] = 0.0
    full: Annotated[
        Literal["refuse", "unlogged"],
        Meta(description="When the log cannot be written: refuse answers 503, unlogged answers and counts."),
    ] = "refuse"


class Serving(Section, frozen=True, kw_only=True):
    """How requests are served: by whom, how long, and how many may wait.

    Attributes:
        workers: processes of its own for each version; 0 scores in the serving process, which is fastest.
        timeout: how long an answer may take; a worker that takes longer is replaced.
        queue: requests that may wait for a worker.
        batch: rows that are scored together at most, when they wait anyway.
        memory: what a worker may take; one that grows beyond is replaced.
        cache: answers that are remembered, by version and inputs.
    """

    workers: Annotated[int, Meta(ge=0, le=64, description="Processes of its own for each version; 0: none.")] = 0
    timeout: Annotated[Duration | None, Meta(description="How long an answer may take.", examples=["500ms"])] = None
    queue: Annotated[int, Meta(ge=1, description="Requests that may wait for a worker; more are 429.")] = 64
    batch: Annotated[int, Meta(ge=1, description="Rows that are scored together at most, when they wait.")] = 64
    memory: Annotated[Size | None, Meta(description="What a worker may take.", examples=["2GB"])] = None
    cache: Annotated[int, Meta(ge=0, le=1_000_000, description="Answers that are remembered; 0: none.")] = 0


class Environment(Section, frozen=True, kw_only=True):
    """A branch that people depend on, and what it asks of whoever changes what serves there.

    Attributes:
        branch: `main`, or another one, which is better protected: `bascule branch --protect NAME`.
        approvals: how many people other than who registered a version must approve it before it gets traffic.
        role: the least role of who changes the traffic over HTTP or on the page.
    """

    branch: Annotated[str, Meta(min_length=1, description="The branch that it serves.")]
    approvals: Annotated[int, Meta(ge=0, le=20, description="How many others must approve a version.")] = 0
    role: Annotated[Literal["deployer", "admin"], Meta(description="The least role that changes its traffic.")] = (
        "deployer"
    )


class Deployment(Section, frozen=True, kw_only=True):
    """How a registered version reaches its callers.

    Attributes:
        name: the name under which it is served.
        strategy: `canary` sends a growing share, `replace` (or `all_at_once`) everything at once, `blue_green` too,
        with
            the version before kept warm; `ab` and `bandit` share the traffic until the goal is decided; `shadow` lets
            the new version answer unseen.
        steps: the canary's shares in percent, growing, ending at 100.
        share: the new version's share in an A/B test, and a bandit's first.
        goal: what `ab` and `bandit` are for.
        floor: the percentage that a bandit leaves to the worse version.
        keep: how long `blue_green` keeps the version before.
        shadow: whether both versions of a rollout score each request.
        automatic: whether a rollout goes on by itself; it goes back by itself always.
        guardrails: what a canary is judged by.
        url: where inference answers, as people reach it; previews of pull requests are told with it.
        environments: what branches ask for, such as `staging` and `production`; `[gates] approvals` when there are
        none. requests: what becomes of a request that breaks the contract of the version that it asks: `log` answers it
        as
            any other (`bascule contract test models/NAME` tells of it), `refuse` does not.
        log: what the prediction log does not keep.
        service: by how many workers, how long, and how many may wait.
        fills: table to another one that its rows are scored into as they land, while `bascule up` runs.
    """

    name: Name
    strategy: Annotated[
        Literal["canary", "replace", "all_at_once", "blue_green", "ab", "shadow", "bandit"],
        Meta(description="canary: a growing share. replace: everything at once. The others: docs/delivery.md."),
    ] = "canary"
    steps: Annotated[
        tuple[Percent, ...], Meta(min_length=2, description="The canary's shares in percent.", examples=[[10, 100]])
    ] = (10, 100)
    share: Annotated[int, Meta(ge=1, le=99, description="The new version's percentage in an A/B test.")] = 50
    goal: Annotated[Goal | None, Meta(description="What an A/B test or a bandit is for.")] = None
    floor: Annotated[int, Meta(ge=1, le=50, description="The percentage that a bandit leaves to the worse one.")] = 5
    keep: Annotated[Duration, Meta(description="How long blue_green keeps the version before warm.")] = "1h"
    shadow: Annotated[bool, Meta(description="Whether both versions of a rollout score each request.")] = True
    automatic: Annotated[
        bool, Meta(description="Whether a rollout goes on by itself. It goes back by itself always.")
    ] = True
    guardrails: Guardrails = Guardrails()
    url: Annotated[str, Meta(pattern="^(https?://.+)?$", description="Where inference answers, for previews.")] = ""
    environments: Annotated[dict[Name, Environment], Meta(description="What the branches ask for that serve.")] = {}
    requests: Annotated[
        Literal["log", "refuse"],
        Meta(description="Requests that break the version's contract: log answers them, refuse does not."),
    ] = "log"
    log: PredictionLogging = PredictionLogging()
    service: Serving = Serving()
    fills: Annotated[
        dict[Name, Name],
        Meta(
            description="Table to the table that its rows are scored into, as they land.", examples=[{"a": "a_scored"}]
        ),
    ] = {}


class Merge(Section, frozen=True, kw_only=True):
    """What a merge into a protected branch must pass, beside contracts and gates.

    Attributes:
        checks: `FILE.sql`, a query over the merged state that yields the rows that must not be, or `module:function`,
            called with the merged state.
    """

    checks: Annotated[
        list[
            Annotated[
                str,
                Meta(pattern=CHECK_PATTERN, description="FILE.sql or module:function.", examples=["checks/totals.sql"]),
            ]
        ],
        Meta(description="Checks that are required."),
    ] = []
