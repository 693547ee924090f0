"""Write docs/cli.md from the command line itself: `python docs/make_cli.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from cyclopts import App

from bascule.cli.commands import COMMANDS
from bascule.cli.main import application, plain

PAGE = Path(__file__).parent / "cli.md"
INTRODUCTION = """\
# Command line

Written from the command line itself by `python docs/make_cli.py`; a test fails when the two differ.
`bascule COMMAND --help` says the same in the terminal.

**Where a command works.** The project is the nearest folder upwards with a `bascule.toml` or a workspace. The workspace
is the one of `--workspace`, else of `BASCULE_WORKSPACE`, else of `[workspace]` in the project file, else `.bascule/`
beside it. The branch is the one of `--branch`, else of `BASCULE_BRANCH`, else the one that `bascule switch` wrote
down, else git's. A git branch that is not known here yet is made at the head of `main`; git's `master` is `main` here.

**States.** Wherever a command takes a state, a branch, a tag, a commit (or the start of its id), `main~3` and
`main@2026-03-01T00:00Z` will do; see [history](history.md).

**What a command prints.** The answer goes to standard output, progress and remarks to standard error. With `--json` the
answer is one JSON document, also when the command fails. An error is a sentence and a next step, never a traceback.

| exit code | means |
|---|---|
| 0 | done |
| 1 | a check, a gate or a comparison said no, or two sides changed the same thing |
| 2 | usage or bad input |
| 3 | the environment: a full disk, a taken port, a missing package, a database that does not answer |
| 130 | interrupted: what was finished is kept, and the same command continues; a server was not up yet |

`bascule track` ends with the exit code of the command that it ran.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the whole page as Markdown."""
    app = application()
    parts = [
        INTRODUCTION,
        "## Options of every command\n",
        _table(_common(app)),
        "`bascule --version` prints the version.\n",
    ]
    shown = None
    for name, listed in COMMANDS.items():
        if listed.group != shown:
            parts.append(f"## {listed.group}\n")
            shown = listed.group
        for words, command in commands(app, name):
            parts.append(_section(words, command))
    return "\n".join(parts)


def commands(app: App, name: str) -> Iterator[tuple[str, App]]:
    """Yield a command, or those below it, each with the words that call it."""
    command = app[name]
    if command.default_command:
        yield name, command
    for below in command:
        if not below.startswith("-"):
            yield f"{name} {below}", command[below]


def options(command: App) -> list[Any]:
    """Return a command's own arguments and options, without those that every command has."""
    found = command.assemble_argument_collection(default_parameter=plain(), parse_docstring=True)
    return [argument for argument in found if argument.show and argument.field_info.name not in _shared()]


def _common(app: App) -> list[Any]:
    found = app[next(iter(COMMANDS))].assemble_argument_collection(default_parameter=plain(), parse_docstring=True)
    return [argument for argument in found if argument.show and argument.field_info.name in _shared()]


def _shared() -> set[str]:
    from bascule.cli.options import Common

    return set(Common.__dataclass_fields__)


def _section(words: str, command: App) -> str:
    own = options(command)
    usage = " ".join(["bascule", words, *(_place(argument) for argument in own if _positional(argument))])
    text = inspect.cleandoc(command.help).partition("\nArgs:")[0].strip()
    table = [_table(own)] if own else []
    return "\n".join([f"### bascule {words}\n", f"    {usage}\n", f"{text}\n", *table])


def _table(arguments: list[Any]) -> str:
    rows = [f"| {_names(argument)} | {_meaning(argument)} |" for argument in arguments]
    return "\n".join(["| option | what it says |", "|---|---|", *rows, ""])


def _positional(argument: Any) -> bool:
    return argument.field_info.kind is not inspect.Parameter.KEYWORD_ONLY


def _place(argument: Any) -> str:
    name = argument.name.lstrip("-").upper()
    if argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"{name}…"
    return name if argument.required else f"[{name}]"


def _names(argument: Any) -> str:
    if _positional(argument):
        return f"`{argument.name.lstrip('-').upper()}`"
    names = ", ".join(f"`{name}`" for name in argument.names)
    return names + (f" `{value}`" if (value := _value(argument.hint)) else "")


def _value(hint: Any) -> str:
    """Return what stands for an option's value; nothing for a switch."""
    inner = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) is Literal:
        return r"\|".join(inner)  # a bare bar would end the cell
    if hint in (bool, int, float, str, Path):
        return {bool: "", int: "N", float: "N", str: "TEXT", Path: "PATH"}[hint]
    return _value(inner[0])


def _meaning(argument: Any) -> str:
    text = (argument.parameter.help or "").strip()
    text = f"{text[:1].upper()}{text[1:]}".rstrip(".")
    if _repeats(argument.hint):
        text += "; may be given again"
    default = argument.field_info.default
    if not argument.required and default not in (None, "", False, True, inspect.Parameter.empty):
        text += f"; `{default}` when not given"
    return f"{text}." if text else ""


def _repeats(hint: Any) -> bool:
    return get_origin(hint) is list or any(_repeats(one) for one in get_args(hint))


if __name__ == "__main__":
    main()
