"""The facts of a profile in words, as every form of it shows them."""

from __future__ import annotations

from collections.abc import Iterator

from bascule.profiles.results import ColumnProfile, Join, Key, Pair, TableProfile
from bascule.project.reviewing.words import figure, share
from bascule.sizes import format_size as size

MEASURES = {"spearman": "Spearman", "cramers_v": "Cramér's V", "correlation_ratio": "correlation ratio"}
MEASURES_NOTE = (
    "Numbers: Spearman's rank correlation. Categories: Cramér's V, corrected for chance. A number and a category: the "
    "correlation ratio, corrected for chance. From a sample; a value tells that columns go together, not why."
)


def facts(found: TableProfile) -> list[tuple[str, str]]:
    """Return what is said of the table first."""
    cells = found.rows_read * len(found.columns)
    told = [("Rows", f"{found.rows:,}"), ("Columns", f"{len(found.columns):,}")]
    if found.rows_read < found.rows:
        told.append(("Looked at", f"a sample of {found.rows_read:,} rows"))
    told.append(("Missing", f"{share(found.missing.cells / cells) if cells else '–'} of all values"))
    if found.duplicates is not None:
        told.append(("Equal rows", f"{found.duplicates.copies:,}"))
    if found.bytes:
        told.append(("Size", size(found.bytes)))
    if found.at:
        told.append(("State", f"{found.at} ({found.commit[:12]})" if found.commit else found.at))
    return told


def distinct(column: ColumnProfile) -> str:
    """Return how many different values a column has; one that was not counted exactly is marked."""
    if column.distinct is None:
        return "–"
    return f"{column.distinct:,}" if column.distinct_exact or column.distinct <= 2 else f"≈ {column.distinct:,}"


def about(column: ColumnProfile, rows: int) -> Iterator[tuple[str, str]]:
    """Yield what is said of a column, name by name."""
    yield "Missing", f"{column.missing:,} ({share(column.missing / rows)})" if rows and column.missing else "none"
    yield "Distinct", distinct(column)
    numbers, texts, times = column.numbers, column.texts, column.times
    if numbers is not None and numbers.minimum is not None:
        yield from _about_numbers(column)
    if numbers is not None:
        yield "Zero", f"{numbers.zeros:,} ({share(numbers.zeros / rows)})" if numbers.zeros and rows else "none"
        if numbers.negatives:
            yield "Negative", f"{numbers.negatives:,} ({share(numbers.negatives / rows)})"
        if numbers.infinite:
            yield "Infinite", f"{numbers.infinite:,}"
    if texts is not None and texts.longest is not None:
        yield "Characters", f"{texts.shortest:,} to {texts.longest:,}, mean {figure(texts.mean)}"
        if texts.empty:
            yield "Empty texts", f"{texts.empty:,}"
        if texts.padded:
            yield "With blanks around", f"{texts.padded:,}"
        if texts.shapes and column.meaning not in ("free text", "category", "yes or no"):
            yield "Written as", ", ".join(one.value for one in texts.shapes[:4])
    if times is not None:
        yield "From", times.minimum
        yield "To", times.maximum
        if times.empty_periods:
            yield (
                "Gaps",
                f"{times.empty_periods:,} of {times.periods + times.empty_periods:,} {times.unit}s without rows",
            )
        if times.midnight >= 0.999 and column.meaning == "date and time":
            yield "Clock", "always midnight"
        if times.future:
            yield "In the future", f"{times.future:,}"
        if times.read_as:
            yield "Read as", times.read_as.removeprefix("TRY(").removesuffix(")")


def _about_numbers(column: ColumnProfile) -> Iterator[tuple[str, str]]:
    numbers = column.numbers
    assert numbers is not None
    if numbers.minimum == numbers.maximum:
        yield "Value", number(column, numbers.minimum)
        return
    yield "Least", number(column, numbers.minimum)
    if column.meaning in ("identifier", "year"):
        yield "Greatest", number(column, numbers.maximum)
        return
    quantiles = dict(numbers.quantiles)
    if quantiles:
        yield "5 %, 95 %", f"{figure(quantiles[0.05])}, {figure(quantiles[0.95])}"
        yield "Middle half", f"{figure(quantiles[0.25])} to {figure(quantiles[0.75])}"
        yield "Median", figure(quantiles[0.5])
    yield "Greatest", figure(numbers.maximum)
    yield "Mean ± deviation", f"{figure(numbers.mean)} ± {figure(numbers.std)}"
    if numbers.skewness is not None:
        yield "Skewness", figure(round(numbers.skewness, 2))
    outliers = numbers.outliers
    if outliers is not None and outliers.below + outliers.above and column.meaning != "identifier":
        sides = [f"{outliers.below:,} below {figure(outliers.low)}"] if outliers.below else []
        sides += [f"{outliers.above:,} above {figure(outliers.high)}"] if outliers.above else []
        yield "Far outside", ", ".join(sides)


def number(column: ColumnProfile, value: float | int | None) -> str:
    """Return a value of a column of numbers; years and names are not grouped by thousands."""
    plain = column.meaning in ("identifier", "year", "constant", "postal code")
    return str(int(value)) if plain and value is not None and float(value).is_integer() else figure(value)


def key(found: Key) -> str:
    """Return what is said of columns that name a row, or nearly."""
    broken = []
    if found.repeats:
        broken.append(f"{found.repeats:,} rows share theirs with another")
    if found.missing:
        broken.append(f"{found.missing:,} rows have none")
    word = {"declared": "the table's key", "found": "names a row", "nearly": "nearly names a row"}[found.how]
    where = "every row of the sample" if found.sampled else "every row"
    return f"{word}: {' and '.join(broken)}" if broken else f"{word}, in {where}"


def join(found: Join) -> str:
    """Return what is said of a table that can be joined."""
    how = {
        "reference": "one row there for each value here",
        "state": f"rows there hold from {found.time} on",
        "events": f"many rows there, at {found.time}",
        "referenced by": "its rows name a row here",
    }[found.how]
    where = "of its values are found here" if found.how == "referenced by" else "of the values here are found there"
    return f"{how}; {share(found.share)} {where}"


def pair(found: Pair) -> str:
    """Return how strongly two columns go together."""
    sign = "+" if found.measure == "spearman" else ""
    text = f"{MEASURES[found.measure]} {found.value:{sign}.2f}"
    if found.pearson is not None:
        text += f", Pearson {found.pearson:+.2f}"
    if found.told_by_left is not None and found.told_by_right is not None:
        there, back = share(found.told_by_left), share(found.told_by_right)
        text += f"; {found.left} removes {there} of the uncertainty of {found.right}, the reverse {back} (Theil's U)"
    return text
