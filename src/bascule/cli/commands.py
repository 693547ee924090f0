"""The list of commands, as data: nothing here imports a command, or the library that parses them.

So `bascule --help` and `bascule --version` answer at once.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import NamedTuple

ABOUT = "Git for the whole ML system: data, features, models, deployments and monitors in one history."
HISTORY, WORK, SHIP, ASK = "History", "From data to a model", "Serve and ship", "Ask and prove"
KEEP = "Look after"
ENDING = (
    "bascule COMMAND --help says more of each, and every command takes --json.",
    "Begin with: bascule init DATA --label WHAT_IS_LEARNED",
)
WIDEST = 100
#: The commands that go on until they are ended.
SERVERS = ("up", "serve")
# They show rows, and take no data into a table or a model by a plan: they see what the role of BASCULE_ROLE may see.
SHOWING = (
    "anonymise",
    "diff",
    "profile",
    "contract",
    "table",
    "mock",
    "explain",
    "predict",
    "runs",
    "training-set",
    "export",
)


class Command(NamedTuple):
    """One command.

    Attributes:
        where: `module:attribute` of its function, or of the app that holds the commands below it.
        group: the heading it is shown under.
        text: what it does, in a line.
    """

    where: str
    group: str
    text: str


COMMANDS = {
    "status": Command("bascule.cli.history:status", HISTORY, "The current branch, what it holds, what is served."),
    "log": Command("bascule.cli.history:log", HISTORY, "The commits of a branch, with what each changed."),
    "branch": Command("bascule.cli.history:branch", HISTORY, "List, make or protect branches: no copy of the data."),
    "switch": Command("bascule.cli.history:switch", HISTORY, "Make a branch the current one."),
    "diff": Command("bascule.cli.comparing:diff", HISTORY, "Compare two states: rows, schema, metrics, traffic, text."),
    "merge": Command("bascule.cli.merging:merge", HISTORY, "Merge a branch after its checks, and ship what is new."),
    "cherry-pick": Command(
        "bascule.cli.merging:cherry_pick", HISTORY, "Bring what one commit changed onto the current branch."
    ),
    "revert": Command("bascule.cli.history:revert", HISTORY, "Undo one commit by a new one."),
    "restore": Command("bascule.cli.merging:restore", HISTORY, "Bring single paths back from another state."),
    "tag": Command("bascule.cli.history:tag", HISTORY, "List tags, or name a state for good."),
    "init": Command("bascule.cli.starting:init", WORK, "Look at a folder of data and write a project for it."),
    "ingest": Command("bascule.cli.data:ingest", WORK, "Bring files into a table, checked before they are seen."),
    "files": Command("bascule.cli.files:files", WORK, "Sets of files: add a folder, check it out, read by path."),
    "table": Command("bascule.cli.tabling:table", WORK, "Make, fill, change and look at tables, with checks."),
    "contract": Command("bascule.cli.contracting:contract", WORK, "Data contracts: suggest, show, test, diff, import."),
    "ci": Command("bascule.cli.ci:ci", WORK, "Pull requests: a pipeline file, their run, their one comment."),
    "pii": Command("bascule.cli.personal:pii", WORK, "Find personal data, tag it, see how roles read it."),
    "anonymise": Command("bascule.cli.personal:anonymise", WORK, "Write a k-anonymous copy of a table on a branch."),
    "features": Command(
        "bascule.cli.featuring:features", WORK, "Features: owners, freshness, who reads a column, unused, alike."
    ),
    "stream": Command("bascule.cli.streaming:stream", WORK, "Streams: features that are counted as events come."),
    "training-set": Command(
        "bascule.cli.gathering:training_set", WORK, "Features for any rows, as they were known then, kept by name."
    ),
    "profile": Command("bascule.cli.profiling:profile", WORK, "What a table or a set of files holds, on one page."),
    "mock": Command("bascule.cli.profiling:mock", WORK, "Make up rows like a table's, with nobody's data in them."),
    "import": Command("bascule.cli.importing:bring", WORK, "Bring over what MLflow holds, or a Feast repository."),
    "run": Command("bascule.cli.pipeline:run", WORK, "Ingest, check, features, train, evaluate: what changed."),
    "step": Command("bascule.cli.pipeline:step", WORK, "Single steps, as orchestrators call them."),
    "plan": Command("bascule.cli.pipeline:plan", WORK, "The steps, which of them would run, and why."),
    "why": Command("bascule.cli.pipeline:why", WORK, "Which term of a step's cache key differs."),
    "track": Command("bascule.cli.tracking:track", WORK, "Run any script, unchanged, and record what it does."),
    "sync": Command("bascule.cli.tracking:sync", WORK, "Bring in journals of scripts that nobody could bring in."),
    "up": Command("bascule.cli.serving:up", SHIP, "Start the page, the API, inference and the scheduler."),
    "serve": Command("bascule.cli.serving:serve", SHIP, "Answer predictions alone, over HTTP and gRPC."),
    "deploy": Command("bascule.cli.delivery:deploy", SHIP, "Bring a version into service."),
    "rollback": Command("bascule.cli.delivery:rollback", SHIP, "Give a deployment, or all of main, what was before."),
    "promote": Command("bascule.cli.delivery:promote", SHIP, "Give a canary all traffic now."),
    "advance": Command("bascule.cli.delivery:advance", SHIP, "Give a canary its next share of the traffic now."),
    "deployment": Command(
        "bascule.cli.deploying:deployment", SHIP, "One deployment: how it stands, its traffic by hand, its power."
    ),
    "preview": Command("bascule.cli.deploying:preview", SHIP, "Where a branch answers, to try it before it merges."),
    "predict": Command(
        "bascule.cli.asking:predict", SHIP, "Ask about one row, or score a whole table, without a server."
    ),
    "optimize": Command(
        "bascule.cli.optimizing:optimize", SHIP, "Find the fastest engine that answers as a version does."
    ),
    "monitor": Command("bascule.cli.delivery:monitor", SHIP, "Measure drift and quality of what is served."),
    "token": Command("bascule.cli.serving:token", SHIP, "Access tokens of servers that others may reach."),
    "sql": Command("bascule.cli.asking:sql", ASK, "Ask the lake at any state, and all records, in SQL."),
    "private": Command("bascule.cli.private:private", ASK, "Aggregates with noise, under a privacy budget."),
    "runs": Command("bascule.cli.running:runs", ASK, "List runs, show one, compare, say why two differ."),
    "models": Command("bascule.cli.asking:models", ASK, "List models and versions, or show a version's card."),
    "model": Command("bascule.cli.modelling:model", ASK, "One version: show, compare, approve, trust, sign, verify."),
    "explain": Command("bascule.cli.asking:explain", ASK, "Which data, code, model and people made an answer."),
    "reproduce": Command("bascule.cli.asking:reproduce", ASK, "Do a run again, and say whether the same came out."),
    "audit": Command("bascule.cli.care:audit", ASK, "Who changed what, and that nobody changed the log."),
    "doctor": Command("bascule.cli.care:doctor", KEEP, "Whether all that the workspace promises holds."),
    "compact": Command("bascule.cli.upkeep:compact", KEEP, "Make small files of tables into large ones."),
    "gc": Command("bascule.cli.upkeep:gc", KEEP, "Delete what nothing needs any more."),
    "retention": Command("bascule.cli.upkeep:retention", KEEP, "How long states are kept."),
    "hold": Command("bascule.cli.upkeep:hold", KEEP, "Legal holds: neither collected nor forgotten."),
    "forget": Command("bascule.cli.care:forget", KEEP, "Remove a subject everywhere, and leave a proof."),
    "export": Command("bascule.cli.leaving:export", KEEP, "Write plain files: Parquet, models, contracts, records."),
    "migrate": Command("bascule.cli.care:migrate", KEEP, "Move the workspace to PostgreSQL and S3, or back."),
}


def overview() -> str:
    """Return what `bascule --help` says."""
    width = min(shutil.get_terminal_size().columns, WIDEST)
    longest = max(map(len, COMMANDS))
    lines = ["Usage: bascule COMMAND …", "", *textwrap.wrap(ABOUT, width)]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"{group}:"]
        for name, command in COMMANDS.items():
            if command.group == group:
                lines += textwrap.wrap(
                    f"  {name:<{longest}}  {command.text}", width, subsequent_indent=" " * (longest + 4)
                )
    return "\n".join([*lines, "", *ENDING])
