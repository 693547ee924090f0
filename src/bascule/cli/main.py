"""The entry: the list of commands, and the boundary where errors become sentences and exit codes."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext

from cyclopts import App, CycloptsError, Group

from bascule import __version__
from bascule.cli.interruption import stopping_queries
from bascule.cli.output import say, told
from bascule.errors import BasculeError

HISTORY = Group("History", sort_key=1)
WORK = Group("From data to a model", sort_key=2)
SHIP = Group("Serve and ship", sort_key=3)
ASK = Group("Ask and prove", sort_key=4)

# name -> (where the function is, the group it is shown in). Modules load when their command runs or is helped.
COMMANDS = {
    "status": ("bascule.cli.history:status", HISTORY),
    "log": ("bascule.cli.history:log", HISTORY),
    "branch": ("bascule.cli.history:branch", HISTORY),
    "switch": ("bascule.cli.history:switch", HISTORY),
    "diff": ("bascule.cli.comparing:diff", HISTORY),
    "merge": ("bascule.cli.merging:merge", HISTORY),
    "revert": ("bascule.cli.history:revert", HISTORY),
    "tag": ("bascule.cli.history:tag", HISTORY),
    "init": ("bascule.cli.starting:init", WORK),
    "ingest": ("bascule.cli.data:ingest", WORK),
    "contract": ("bascule.cli.data:contract", WORK),
    "run": ("bascule.cli.pipeline:run", WORK),
    "step": ("bascule.cli.pipeline:step", WORK),
    "plan": ("bascule.cli.pipeline:plan", WORK),
    "why": ("bascule.cli.pipeline:why", WORK),
    "track": ("bascule.cli.tracking:track", WORK),
    "up": ("bascule.cli.serving:up", SHIP),
    "serve": ("bascule.cli.serving:serve", SHIP),
    "deploy": ("bascule.cli.delivery:deploy", SHIP),
    "rollback": ("bascule.cli.delivery:rollback", SHIP),
    "promote": ("bascule.cli.delivery:promote", SHIP),
    "advance": ("bascule.cli.delivery:advance", SHIP),
    "predict": ("bascule.cli.asking:predict", SHIP),
    "monitor": ("bascule.cli.delivery:monitor", SHIP),
    "token": ("bascule.cli.serving:token", SHIP),
    "sql": ("bascule.cli.asking:sql", ASK),
    "runs": ("bascule.cli.asking:runs", ASK),
    "models": ("bascule.cli.asking:models", ASK),
    "explain": ("bascule.cli.asking:explain", ASK),
    "reproduce": ("bascule.cli.asking:reproduce", ASK),
    "audit": ("bascule.cli.care:audit", ASK),
    "doctor": ("bascule.cli.care:doctor", ASK),
    "forget": ("bascule.cli.care:forget", ASK),
}


def application() -> App:
    """Return the command line as an object, with every command registered and none loaded."""
    app = App(
        name="bascule",
        help="Git for the whole ML system: data, features, models, deployments and monitors in one history.",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, (where, group) in COMMANDS.items():
        app.command(where, name=name, group=group)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. No error shows a traceback; a bug of ours is written to a file."""
    as_json = "--json" in arguments
    try:
        # Servers answer signals in their own event loop.
        with nullcontext() if arguments[:1] in (["up"], ["serve"]) else stopping_queries():
            code = application()(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return _tell(BasculeError(str(error), hint=f"See: bascule {_command(arguments)}--help"), as_json)
    except BasculeError as error:
        return _tell(error, as_json)
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        from bascule.cli.failing import recognised

        return _tell(recognised(error, arguments), as_json)


def _tell(error: BasculeError, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(error.as_dict(), indent=2, default=str) + "\n")
    say(told(error))
    return error.exit_code


def _command(arguments: list[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in COMMANDS else ""
