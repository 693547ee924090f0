"""A run as a person watches it: one line a step, with rows, rate and time left, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.text import Text

if TYPE_CHECKING:
    from bascule.project.receipt import Receipt
    from bascule.project.step import Progress, Step

# Without a terminal (CI, a log file), a step says how far it is at most so often.
QUIET_SECONDS = 5.0


class Amount(ProgressColumn):
    """How much is done, in the step's own unit, with the rate."""

    def render(self, task: Task) -> Text:
        """Render one task's amount."""
        if not task.completed:
            return Text("")
        rate = f"  {task.speed:,.0f}/s" if task.speed else ""
        of = f"/{task.total:,.0f}" if task.total else ""
        return Text(f"{task.completed:,.0f}{of}{rate}", style="dim")


class TerminalWatcher:
    """Draws a run: the steps that are done above, the one that works below, with a bar."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self.failed: Receipt | None = None
        self._bars: Bars | None = None
        self._width = 0

    def begin(self, steps: Sequence[Step]) -> None:
        """See `runner.Watcher`."""
        self._width = max((len(step.name) for step in steps), default=0)

    def start(self, step: Step, reason: str) -> Progress:
        """See `runner.Watcher`."""
        if self.quiet:
            return lambda message, done=0, total=None: None
        if not self.console.is_terminal:
            self.console.print(f"  ▸ {step.name:<{self._width}}  {escape(reason)}")
            return _Lines(self.console, step.name, self._width)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.fields[step]}"),
            BarColumn(20),
            TextColumn("{task.description}", markup=False),
            Amount(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
        )
        self._bars = Bars(*columns, console=self.console, transient=True)
        self._bars.start()
        task = self._bars.add_task(reason, step=f"{step.name:<{self._width}}", total=None)
        bars = self._bars

        def progress(message: str, done: int = 0, total: int | None = None) -> None:
            bars.update(task, description=message, completed=done, total=total)

        return progress

    def end(self, step: Step, receipt: Receipt, reason: str) -> None:
        """See `runner.Watcher`. The receipt of a failed step is kept in `failed`."""
        self.stop()
        if receipt.status == "failed":
            self.failed = receipt
        if self.quiet:
            return
        if receipt.status == "cached":
            self.console.print(f"  [dim]= {step.name:<{self._width}}  {escape(reason)}[/dim]")
        else:
            mark = "[red]✗[/red]" if receipt.status == "failed" else "[green]✓[/green]"
            said, took = escape(receipt.summary), f"{receipt.duration_s:.1f} s"
            self.console.print(f"  {mark} {step.name:<{self._width}}  {said}  [dim]{took}[/dim]")

    def stop(self) -> None:
        """Take the moving line away; needed when a step raises."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


@contextmanager
def moving(quiet: bool) -> Iterator[Progress]:
    """Show how far a long work is, in what it counts; with `quiet`, nothing."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if quiet:
        yield lambda message, done=0, total=None: None
        return
    if not console.is_terminal:
        yield _Lines(console, "", 0)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(20), Amount())
    with Bars(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(compact=True), console=console, transient=True
    ) as bars:
        task, now = bars.add_task("", total=None), ""

        def progress(message: str, done: int = 0, total: int | None = None) -> None:
            nonlocal now
            if message != now:
                now = message
                bars.reset(task, description=message)
            bars.update(task, completed=done, total=total)

        yield progress


class _Lines:
    """Progress as lines of a log."""

    def __init__(self, console: Console, step: str, width: int) -> None:
        self.console, self.step, self.width = console, step, width
        self.last = time.monotonic()

    def __call__(self, message: str, done: int = 0, total: int | None = None) -> None:
        if time.monotonic() - self.last < QUIET_SECONDS:
            return
        self.last = time.monotonic()
        amount = f"  {done:,}" + (f" of {total:,}" if total else "") if done else ""
        self.console.print(f"    {self.step:<{self.width}}  {escape(message)}{amount}")


def is_interactive() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
