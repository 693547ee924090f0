"""The entry: the list of commands, and the boundary where errors become sentences and exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from bascule import __version__
from bascule.cli.commands import ABOUT, COMMANDS, SERVERS, SHOWING, overview
from bascule.cli.interruption import stopping_queries
from bascule.cli.output import document_text, say, told
from bascule.errors import BasculeError

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError, Parameter


# So many objects that hold others there are before the first look for garbage; a command imports about half of that.
FIRST_LOOK = 200_000


def application() -> App:
    """Return the command line as an object, with every command registered and none loaded."""
    from cyclopts import App, Group

    app = App(
        name="bascule",
        help=ABOUT,
        help_format="plaintext",
        version=__version__,
        default_parameter=plain(),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    groups = {name: Group(name) for name in dict.fromkeys(command.group for command in COMMANDS.values())}
    for name, command in COMMANDS.items():
        app.command(command.where, name=name, group=groups[command.group])
    return app


def plain() -> Parameter:
    """Return what holds for every option: a list is empty when it is not given, and defaults that say nothing hide."""
    from cyclopts import Parameter

    return Parameter(negative_iterable="", show_default=_default)


def _default(value: object) -> str | None:
    """Return a default as help shows it; None for what says nothing."""
    return None if value is None or value == "" or isinstance(value, bool) else str(value)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    if arguments is not None:
        sys.exit(run(arguments))
    _open_closed()
    _collect_late()
    code = run(sys.argv[1:])
    if sys.argv[1:2] and sys.argv[1] in SERVERS:
        sys.exit(code)
    _leave(code)


def _open_closed() -> None:
    """Give the process the streams that its caller closed: a file of the workspace would get their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  for as long as we live


def _collect_late() -> None:
    """Let Python look for garbage first when there is some: most commands are over before.

    What a command imports is none, and to go over it again and again is a tenth of a short command's time. From the
    first look on all is as always.
    """
    usual = gc.get_threshold()

    def looked(phase: str, _: dict[str, int]) -> None:
        if phase == "stop":
            gc.set_threshold(*usual)
            gc.callbacks.remove(looked)

    gc.callbacks.append(looked)
    gc.set_threshold(FIRST_LOOK, *usual[1:])


def _leave(code: int) -> None:
    """End the process as Python does, but free nothing one by one: the system does that at once.

    It takes Python a fifth of a short command's time, and `track` shall take no time from who waits for the script.
    Threads are waited for, and what was to be done at the exit is done.
    """
    with suppress(Exception):
        threading._shutdown()  # type: ignore[attr-defined]
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. No error shows a traceback; a bug of ours is written to a file."""
    as_json = "--json" in arguments
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BasculeError as error:
        return _tell(error, as_json)
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        from bascule.cli.failing import recognised

        return _tell(recognised(error, arguments), as_json)


def _run(arguments: list[str]) -> object:
    if not arguments or arguments[0] in ("--help", "-h"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    if arguments[0] == "track":
        from bascule.cli.watching import plain, watch

        command = plain(arguments[1:])
        if command is not None:
            from bascule.verbs import open as open_project

            with stopping_queries():
                return watch(open_project(), command)
    from cyclopts import CycloptsError

    try:
        # Servers answer signals in their own event loop.
        with nullcontext() if arguments[0] in SERVERS else stopping_queries(), _seeing(arguments[0]):
            return application()(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise BasculeError(_misused(error), hint=f"See: bascule {_command(arguments)}--help") from error


def _seeing(command: str) -> AbstractContextManager[None]:
    """Let a command that shows rows show them as the role that BASCULE_ROLE names reads them."""
    role = os.environ.get("BASCULE_ROLE")
    if not role or command not in SHOWING:
        return nullcontext()
    from bascule.project.querying import seen_as

    return seen_as(role)


def _misused(error: CycloptsError) -> str:
    from cyclopts import UnusedCliTokensError

    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"Nothing is done with {', '.join(map(repr, error.unused_tokens))}."
    return str(error)


def _tell(error: BasculeError, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(document_text(error.as_dict()))
    say(told(error))
    return error.exit_code


def _command(arguments: list[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in COMMANDS else ""
