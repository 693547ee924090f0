"""Reading a source once, by what its first rows say: where all other rows are like them, a whole look is spared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from bascule.errors import EnvironmentProblem, InputError
from bascule.lake import engine
from bascule.lake.sources import SourceScan, discovery
from bascule.lake.sources.exact import Misfit

T = TypeVar("T")

SAMPLE = 4_096  # rows
LEAST_BYTES = 1 << 20  # a whole look at smaller files is over at once


class Read(Protocol):
    """Looks a source through, whole or (with `sample`) at so many rows of each file."""

    def __call__(self, connection: duckdb.DuckDBPyConnection, *, sample: int = 0) -> SourceScan: ...  # noqa: D102


def by_guess(
    paths: Sequence[Path],
    read: Read,
    work: Callable[[duckdb.DuckDBPyConnection, SourceScan], T],
    connection: duckdb.DuckDBPyConnection,
    temporary: Path,
) -> T:
    """Take the rows of a source, in one reading where its first rows are like all others.

    What comes out is what a whole look before any reading would give: a row that is not beyond doubt what the sample
    says it is ends the first attempt, and the work is done once more after a whole look.

    Args:
        paths: the source's files.
        work: takes the rows by a scan; it leaves nothing behind when it raises.
        temporary: where another connection may spill.

    Raises:
        Whatever `read` and `work` do.
    """
    large = sum(path.stat().st_size for path in paths) >= LEAST_BYTES
    if large and discovery.format_of(paths[0]) == "csv":
        try:
            guess = read(connection, sample=SAMPLE)
            if guess.exact:
                return work(connection, guess)
        except (Misfit, duckdb.Error, InputError):
            pass  # a whole look says what is wrong, if anything is
        except EnvironmentProblem as error:
            if not isinstance(error.__cause__, duckdb.Error):
                raise  # a full disk, say
        with engine.opened(temporary) as second:  # the first may have an open result
            return work(second, read(second))
    return work(connection, read(connection))
