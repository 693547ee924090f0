"""What a machine costs, from a small file of the user's."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from bascule.errors import InputError, NotFound, suggestion

NAME = "prices.toml"
EXAMPLE = 'currency = "USD"\nhourly = 0.17\ncores = 4\nutilisation = 0.5'


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price list.

    Attributes:
        hourly: of a machine, in the currency.
        cores: of that machine.
        utilisation: the share of the time in which it answers requests.
    """

    hourly: float
    cores: int = 1
    currency: str = "USD"
    utilisation: float = 1.0

    def of_million(self, throughput: float, threads: int) -> float:
        """Return what a million predictions cost by an engine of so many rows a second on so many cores."""
        hours = 1e6 / throughput / 3600
        return hours * self.hourly * min(threads, self.cores) / self.cores / self.utilisation


def read_prices(path: Path) -> Prices:
    """Read a price list.

    Raises:
        NotFound: there is no such file.
        InputError: it is none; the text says what is wrong.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise NotFound("price list", str(path), hint=f"Write one, such as:\n{EXAMPLE}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The price list {path} cannot be read: {error}.") from None
    hint = f"It looks like this:\n{EXAMPLE}"
    try:
        told = tomllib.loads(text)
        unknown = next((one for one in told if one not in Prices.__struct_fields__), None)
        if unknown is not None:
            raise InputError(
                f"{path}: {unknown!r} is no part of a price list.",
                hint=suggestion(unknown, Prices.__struct_fields__, "key") or hint,
            )
        found = msgspec.convert(told, Prices)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InputError(f"{path}: {error}.", hint=hint) from None
    if not (0 < found.hourly < 1e6 and 0 < found.cores < 10_000 and 0 < found.utilisation <= 1):
        raise InputError(f"{path}: hourly and cores are above zero, utilisation is above 0 and at most 1.", hint=hint)
    return found
