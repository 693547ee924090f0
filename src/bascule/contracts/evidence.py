"""The rules that a column's values support, each with its evidence in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from bascule.contracts.blocks import Blocks, Grouping, count_blocks_of_values, explained, follows_time, widened
from bascule.contracts.checks import shown_number
from bascule.contracts.profiling import ColumnProfile, Profile
from bascule.contracts.sql import literal, quoted
from bascule.contracts.writing import block, custom_rule, flow_list, outward, scalar, text

_FEWEST_ROWS = 200
_FEWEST_FOR_REQUIRED = 1_000
_MOST_WORDS = 60
_MOST_CODES = 12
# Shapes of codes, the narrowest first; a column gets the first that fits all of its values.
_SHAPES = (
    "^[0-9]+$",
    "^[A-Z]+$",
    "^[a-z]+$",
    "^[A-Z0-9]+$",
    "^[a-z0-9]+$",
    "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?$",
    r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "^https?://",
    "^[A-Za-z0-9]+$",
    "^[A-Za-z0-9_-]+$",
)
_PERSONAL = re.compile(
    r"(^|_)(e?mail|phone|mobile|ssn|passport|birth\w*|dob|iban|(first|last|sur|family|full)_?name|address|street)(_|$)"
)
_INDENT = 10


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one column.

    Attributes:
        blocks: the past in blocks, the finest first; a second one is coarser. Empty when batches cannot be compared.
        personal: its values are such as name people: e-mail addresses, bank accounts.
    """

    connection: duckdb.DuckDBPyConnection
    relation: str
    profile: Profile
    column: ColumnProfile
    grouping: Grouping | None
    blocks: Sequence[Blocks]
    personal: bool = False

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.profile.rows - self.column.missing


@dataclass(slots=True)
class Rules:
    """What is suggested for a column: the evidence for `required`, lines of quality rules, and a remark."""

    required: str = ""
    quality: list[str] = field(default_factory=list)
    note: str = ""


def rules_of(evidence: Evidence) -> Rules:
    """The rules that the column's values support."""
    rules = Rules()
    column = evidence.column
    if evidence.present == 0:
        rules.note = "Nothing can be said of its values."
        return rules
    _completeness(evidence, rules)
    if evidence.present < _FEWEST_ROWS or column.distinct == 1:
        if column.distinct == 1 and evidence.profile.rows > 1:
            rules.note = "It never changed, so nothing says what else it may be."
        return rules
    if is_personal(column.name):
        return rules
    if evidence.personal:  # its shape tells nobody's value, a list or bounds of its values would
        if column.type == "VARCHAR":
            _shape(evidence, rules)
        return rules
    listed = column.family in ("string", "integer") and _accepted_values(evidence, rules)
    if not listed and column.type == "VARCHAR":
        _shape(evidence, rules)
    if not listed and column.mean is not None:
        _numbers(evidence, rules)
    return rules


def is_personal(name: str) -> bool:
    """Whether a column's name says that it holds personal data."""
    return bool(_PERSONAL.search(name.lower()))


def _completeness(evidence: Evidence, rules: Rules) -> None:
    rows, missing = evidence.profile.rows, evidence.column.missing
    if missing:
        _missing_shares(evidence, rules)
        return
    if rows < _FEWEST_FOR_REQUIRED:
        return
    # With no failure in n rows the true share is under 3/n with 95 % confidence (the rule of three).
    bound = f"Never missing in {shown_number(rows)} rows: under {300 / rows:.2g} % with 95 % confidence."
    if evidence.column.family == "number":
        # A measurement can drop out one day though it never has; a name or a code should not.
        words = f"{bound} It is a measurement, so a few may go missing; `required: true` would forbid that."
        rules.quality += _null_rule(words, 1, evidence.blocks[0].least_rows if evidence.blocks else 0)
    else:
        rules.required = bound


def _missing_shares(evidence: Evidence, rules: Rules) -> None:
    """Bounds on the share of missing values from what past blocks had; a column missing wholly never passes."""
    written: list[float] = []
    for blocks in evidence.blocks:
        shares = blocks.missing[evidence.column.name]
        most = max(shares)
        upper = min(max(widened(shares, blocks.count)[1], 0.01), 1 - (1 - most) / 4)
        if most >= 1 or (written and upper > 0.5 * written[0]):
            continue
        percent = round(100 * upper, 2) if upper > 0.9 else outward(0, 100 * upper, whole=False)[1]
        seen = f"{shown_number(round(100 * min(shares), 2))} to {shown_number(round(100 * most, 2))} %"
        rules.quality += _null_rule(f"Missing in {seen} of the rows of {blocks.each()}.", percent, blocks.least_rows)
        rules.quality += [
            " " * _INDENT + line for line in _named(f"{evidence.column.name}: missing", blocks) if written
        ]
        written.append(upper)


def _null_rule(words: str, percent: float, least: int) -> list[str]:
    lines = ["- metric: nullValues", "  unit: percent", f"  mustBeLessOrEqualTo: {scalar(percent)}"]
    lines += [f"  customProperties: [{{property: minimumRows, value: {least}}}]"] if least else []
    return block(words, lines, _INDENT)


def _accepted_values(evidence: Evidence, rules: Rules) -> bool:
    """Accepted values, when there are few of them and new ones are rare."""
    column = evidence.column
    limit = _MOST_CODES if column.family == "integer" else _MOST_WORDS
    if (column.distinct or 0) > 1.2 * limit or evidence.grouping is None or not evidence.blocks:
        return False
    blocks = evidence.blocks[0]
    counted = count_blocks_of_values(evidence.connection, evidence.grouping, column.name, column.type)
    rare = sum(seen < 0.9 * blocks.count for _, _, seen in counted)
    # Good and Turing: the chance that the next value is a new one is about the share of values seen once.
    unseen = sum(count == 1 for _, count, _ in counted) / evidence.present
    if len(counted) > limit or len(counted) < 2 or unseen > 0.001 or (column.family == "integer" and rare):
        return False
    values = [value for value, _, _ in counted]
    if rare:
        words = f"{len(values)} values, {rare} of them not in every {blocks.unit}: 1 % of the rows may hold a new one. "
        words += (
            f"About {shown_number(round(100 * unseen, 4))} % will, by how many values were seen once (Good-Turing)."
        )
        operator = ["  mustBeLessOrEqualTo: 1", "  unit: percent"]
    else:
        words = f"All {len(values)} values occur in at least nine of ten {blocks.unit}s. No other in "
        words += f"{shown_number(evidence.present)} rows: under {_at_most(evidence.present)} % with 95 % confidence."
        operator = ["  mustBe: 0"]
    listed = [f"[{', '.join(values)}]"] if column.family == "integer" else flow_list(values, _INDENT + 6)
    lines = ["- metric: invalidValues", *operator, "  arguments:", f"    validValues: {listed[0]}"]
    rules.quality += [*block(words, lines, _INDENT), *listed[1:]]
    return True


def _shape(evidence: Evidence, rules: Rules) -> None:
    """A pattern that all values match, or else a bound on their length."""
    column = evidence.column
    if (column.distinct or 0) < 10:
        return
    found = _matching_shape(evidence)
    if found is not None:
        shape, seen = found
        if column.shortest == column.longest and shape.endswith("+$"):
            shape = f"{shape[:-2]}{{{column.longest}}}$"
        words = f"All of {shown_number(seen)} different values look like this: under {_at_most(seen)} % of new ones do "
        words += "not, with 95 % confidence."
        rules.quality += block(words, custom_rule("pattern", f"pattern: {scalar(shape)}, tolerate: 1 %"), _INDENT)
    elif column.longest:
        words = f"At most {column.longest} characters so far; twice as many are let pass."
        low = "minimum: 1, " if column.shortest else ""
        lines = custom_rule("length", f"{low}maximum: {2 * column.longest}, tolerate: 1 %")
        rules.quality += block(words, [*lines, "  severity: warning"], _INDENT)


def _matching_shape(evidence: Evidence) -> tuple[str, int] | None:
    """The narrowest shape of all values, judged on at most 20,000 different ones."""
    name = quoted(evidence.column.name)
    values = f"SELECT DISTINCT {name} AS v FROM {evidence.relation} AS t WHERE {name} IS NOT NULL LIMIT 20000"
    counts = ", ".join(f"count_if(regexp_matches(v, {literal(shape)}))" for shape in _SHAPES)
    total, *matching = evidence.connection.execute(f"SELECT count(*), {counts} FROM ({values}) AS q").fetchall()[0]
    return next(((shape, total) for shape, count in zip(_SHAPES, matching, strict=True) if count == total), None)


def _numbers(evidence: Evidence, rules: Rules) -> None:
    column = evidence.column
    if column.infinite:
        rules.note = "It holds infinities, so no range is given."
        return
    drifting = bool(evidence.blocks) and follows_time(evidence.blocks[0].means[column.name], column.std)
    if drifting:
        rules.note = "It follows time in these rows, so they do not say how far it goes."
    _range(column, evidence.present, rules, open_above=drifting)
    if not drifting and _seasonal(evidence):
        rules.note = "Its means move much and the rows show less than a year, so no band is given for them."
    elif not drifting:
        _mean_bands(evidence, rules)


def _seasonal(evidence: Evidence) -> bool:
    """Whether a column's level moves so much between blocks that a part of a year cannot tell how far it goes."""
    if not evidence.blocks or evidence.blocks[0].days >= 365:
        return False
    return explained(evidence.blocks[0].means[evidence.column.name], evidence.column.std) >= 0.2


def _range(column: ColumnProfile, present: int, rules: Rules, *, open_above: bool) -> None:
    """A range of sane values: what was seen and a margin on each side, or 0 where values do not go below it.

    The margin is half of the seen width; where extremes are rare it is as much as the extreme is beyond 99 % of the
    values, because the next extreme may lie as far again.

    A whole number that was never negative is taken for a count, a code or a time of day. A measurement may only be
    waiting for its first frost: 0 is its end only when the seen values begin at it.
    """
    low, high = float(column.minimum or 0), float(column.maximum or 0)
    width = high - low
    whole = column.family == "integer"
    from_zero = low >= 0 and (low <= 0.05 * width or (whole and low <= width))
    if width <= 0 or (open_above and not from_zero):
        return
    below = max(width / 2, (column.quantile(0.01) or low) - low)
    above = max(width / 2, high - (column.quantile(0.99) or high))
    least, most = outward(low - below, high + above, whole=whole)
    words = f"Seen {shown_number(low)} to {shown_number(high)}"
    words += ", never negative" if from_zero else ""
    words += "." if open_above else "; a margin beyond is let pass." + _far_out(column, low, high)
    words += f" Under {_at_most(present)} % of the values lie beyond what was seen, with 95 % confidence."
    ends = f"minimum: {0 if from_zero else scalar(least)}" + ("" if open_above else f", maximum: {scalar(most)}")
    rules.quality += block(words, custom_rule("range", f"{ends}, tolerate: 0.1 %"), _INDENT)


def _at_most(seen: int) -> str:
    """The rule of three: what never happened in so many cases happens in at most this share, in percent."""
    return f"{300 / seen:.2g}"


def _far_out(column: ColumnProfile, low: float, high: float) -> str:
    """A remark on extremes that lie far beyond the rest; they are often errors."""
    first, last = column.quantile(0.01), column.quantile(0.99)
    if first is None or last is None or last <= first:
        return ""
    reach = 10 * (last - first)
    if high > last + reach:
        return f" {shown_number(high)} lies far from the rest (99 % are under {shown_number(last)}): look at it."
    if low < first - reach:
        return f" {shown_number(low)} lies far from the rest (99 % are over {shown_number(first)}): look at it."
    return ""


def _mean_bands(evidence: Evidence, rules: Rules) -> None:
    """Bands for a batch's mean, where they would notice something.

    The coarser blocks add a band for larger batches only when it is half as wide as the finer one.
    """
    written: list[float] = []
    for blocks in evidence.blocks:
        band = _mean_band(evidence.column, blocks)
        if band is None or (written and band[1] - band[0] > 0.5 * written[0]):
            continue
        low, high = band
        known = [mean for mean in blocks.means[evidence.column.name] if mean == mean]
        words = f"Means of {blocks.plural()} lie at {shown_number(min(known))} to {shown_number(max(known))}."
        words += _catches(evidence.column.mean or 0.0, low, high)
        ends = f"maximum: {scalar(high)}" if low == 0 else f"between: [{scalar(low)}, {scalar(high)}]"
        lines = custom_rule("mean", f"{ends}, minimumRows: {blocks.least_rows}")
        lines += _named(f"{evidence.column.name}: mean", blocks) if written else []
        rules.quality += block(words, lines, _INDENT)
        written.append(high - low)


def _mean_band(column: ColumnProfile, blocks: Blocks) -> tuple[float, float] | None:
    """The band for means like those of these blocks, or None when it would notice nothing that a range does not."""
    known = [mean for mean in blocks.means[column.name] if mean == mean]
    if len(known) < 0.9 * blocks.count or column.mean is None or not column.std:
        return None
    # Under a quarter of a standard deviation a shift is small, and next year may well bring it.
    low, high = outward(*widened(known, blocks.count, 0.25 * column.std), whole=False)
    least, most = float(column.minimum or 0), float(column.maximum or 0)
    # A column that is the same all day and another the next, such as the day of the month, has no usual mean.
    if explained(known, column.std) > 0.9 or (low <= least and high >= most):
        return None
    low = max(low, 0) if least >= 0 else low
    factor = high / column.mean if column.mean > 0 else low / column.mean if column.mean < 0 else float("inf")
    return (low, high) if high - low <= 4 * column.std or 0 < factor <= 20 else None


def _named(name: str, blocks: Blocks) -> list[str]:
    """A name of its own for a rule on larger batches, beside the one on smaller batches."""
    return [f"  name: {text(f'{name} of {blocks.least_rows:,} rows and more')}"]


def _catches(mean: float, low: float, high: float) -> str:
    """Which change of unit the band notices in a batch of the usual mean."""
    if mean < 0:
        mean, low, high = -mean, -high, -low
    if mean <= 0 or high <= mean:
        return ""
    down = f" or {low / mean:.3g} times and less" if low > 0 else ""
    return f" Noticed when the usual mean becomes {high / mean:.3g} times and more{down}."
