"""Functions and types that engines write in different ways, and sqlglot leaves as they are or gets wrong."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp, parse_one

from bascule.errors import InputError

SPARKS = ("spark", "databricks")
_PARTS = ("second", "minute", "hour", "day", "week", "month", "year")
_EPOCH = "1970-01-01 00:00:00"
_WIDER = {
    exp.DType.UTINYINT: "SMALLINT",
    exp.DType.USMALLINT: "INT",
    exp.DType.UINT: "BIGINT",
    exp.DType.UBIGINT: "DECIMAL(20, 0)",
    exp.DType.INT128: "DECIMAL(38, 0)",
    exp.DType.UINT128: "DECIMAL(38, 0)",
}
#: Markers of `plan.py`, and what is made of DuckDB's own functions before types are known.
_OURS = ("__nan", "__hex", "__zone", "__local", "__instant", "epoch_us", "isfinite")


def prepared(tree: exp.Expr | str) -> exp.Expr:
    """Bring DuckDB's ways to say one thing into one, before types are known."""
    tree = parse_one(tree, dialect="duckdb") if isinstance(tree, str) else tree
    return _each(tree, _prepared)


def _prepared(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.AtTimeZone):
        return exp.Anonymous(this="__zone", expressions=[node.args["zone"], node.this])
    if not isinstance(node, exp.Anonymous):
        return node
    name, given = node.name.lower(), node.expressions
    if name == "timezone" and len(given) == 2:
        return exp.Anonymous(this="__zone", expressions=given)
    if name.startswith("to_") and name[3:].rstrip("s") in _PARTS and len(given) == 1:
        return exp.Interval(this=exp.paren(given[0]), unit=exp.Var(this=name[3:].rstrip("s").upper()))
    if name in ("dow", "weekday") and len(given) == 1:
        return exp.DayOfWeek(this=given[0])
    return node


def unknown_functions(tree: exp.Expr) -> list[str]:
    """The functions that are passed on as they are called, because nothing is known of them."""
    found = {node.name.lower() for node in tree.find_all(exp.Anonymous)} - set(_OURS)
    return sorted(name for name in found if not name.startswith(_RENDERED))


_RENDERED = (
    *("unix_micros", "timestampdiff", "timestampadd", "from_utc_timestamp", "to_utc_timestamp", "convert_timezone"),
    *("date_part", "with_timezone", "at_timezone", "to_unixtime", "ieee_divide", "datetime", "timestamp", "dateadd"),
    *("date_add", "conv", "from_base", "to_number"),
)


def rewritten(tree: exp.Expr, dialect: str, *, as_written: bool = False) -> exp.Expr:
    """Return a tree whose functions and types are the engine's; types must be annotated where they matter.

    Args:
        as_written: the SQL is a user's: what is divided by 0 is infinite, as in DuckDB. In the plan's own SQL nobody
            asks for it, and it is null.
    """

    def change(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Div) and dialect != "duckdb":
            return (_divided if as_written else _safely_divided)(node, dialect)
        return _rewritten(node, dialect)

    return _each(tree, change)


def _each(tree: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """Change every node of a tree, the innermost first; a node that comes instead of another has its type."""
    for node in reversed(list(tree.walk(bfs=True))):
        changed = change(node)
        if changed is not node:
            if not isinstance(changed, exp.DataType):
                changed.type = changed.type or node.type
            if node is tree:
                tree = changed
            else:
                node.replace(changed)
    return tree


def _rewritten(node: exp.Expr, dialect: str) -> exp.Expr:
    if isinstance(node, exp.Order):
        node.set("expressions", [one for one in node.expressions if dialect == "bigquery" or not _is_nan(one.this)])
        return node
    if isinstance(node, exp.Anonymous) and node.name in _ANY:
        return _ANY[node.name](node, dialect)
    if dialect == "duckdb":
        return node
    for kind, rewrite in _NODES:
        if isinstance(node, kind):
            return rewrite(node, dialect)
    return node


def _is_nan(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == "__nan"


def _call(name: str, *given: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(given))


def _as(node: exp.Expr, kind: str) -> exp.Cast:
    return exp.Cast(this=node, to=exp.DataType.build(kind, dialect="duckdb"))


def _nan(node: exp.Anonymous, dialect: str) -> exp.Expr:
    """Whether a number is NaN, as 1 or 0: only for the engine that holds it for the least."""
    if dialect != "bigquery":
        return node
    is_nan = exp.If(this=_call("IS_NAN", node.expressions[0]), true=exp.Literal.number(1))
    return exp.Case(ifs=[is_nan], default=exp.Literal.number(0))


def _hex(node: exp.Anonymous, dialect: str) -> exp.Expr:
    """Eight hexadecimal digits as a number."""
    (digits,) = node.expressions
    if dialect in SPARKS:
        return _as(_call("CONV", digits, exp.Literal.number(16), exp.Literal.number(10)), "BIGINT")
    if dialect == "trino":
        return _call("FROM_BASE", digits, exp.Literal.number(16))
    if dialect == "snowflake":
        return _call("TO_NUMBER", digits, exp.Literal.string("XXXXXXXX"))
    return _as(exp.DPipe(this=exp.Literal.string("0x"), expression=digits, safe=True), "BIGINT")


def _micros(node: exp.Anonymous, dialect: str) -> exp.Expr:
    """Microseconds since 1970 UTC. A cast says what kind of time it is, or the columns of the tables do."""
    if dialect == "duckdb":
        return node
    (time,) = node.expressions
    kind = time.to if isinstance(time, exp.Cast) else time.type
    zoned = kind is not None and kind.is_type(exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ)
    if not zoned and (kind is None or not kind.is_type(exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ)):
        raise InputError(
            f"{node.sql('duckdb')} cannot be written for {dialect}: it is not known which kind of time that is.",
            hint="Say it in the SQL: epoch_us(CAST(… AS TIMESTAMP)), or AS TIMESTAMPTZ.",
        )
    if dialect in SPARKS:
        if zoned:
            return _call("UNIX_MICROS", time)
        return _call("TIMESTAMPDIFF", exp.Var(this="MICROSECOND"), _as(exp.Literal.string(_EPOCH), "TIMESTAMP"), time)
    if dialect == "snowflake":
        return _call("DATE_PART", exp.Var(this="EPOCH_MICROSECOND"), time)
    if dialect == "bigquery":
        return _call("UNIX_MICROS", time if zoned else _call("TIMESTAMP", time))
    instant = time if zoned else _call("WITH_TIMEZONE", time, exp.Literal.string("UTC"))
    seconds = exp.Mul(this=_call("TO_UNIXTIME", instant), expression=exp.Literal.number(1_000_000))
    return _as(exp.Round(this=seconds), "BIGINT")  # a double holds microseconds until the year 2255


def _local(node: exp.Anonymous, dialect: str) -> exp.Expr:
    """What a clock of a zone shows at a moment; a cast to a time without a zone stands around it."""
    zone, time = node.expressions
    names = {"spark": "FROM_UTC_TIMESTAMP", "databricks": "FROM_UTC_TIMESTAMP", "trino": "AT_TIMEZONE"}
    if dialect == "duckdb":
        return _call("TIMEZONE", zone, time)
    if dialect == "snowflake":
        return _call("CONVERT_TIMEZONE", zone, time)
    return _call(names.get(dialect, "DATETIME"), time, zone)


def _instant(node: exp.Anonymous, dialect: str) -> exp.Expr:
    """The moment at which a clock of a zone shows a time; a cast to a time with a zone stands around it."""
    zone, time = node.expressions
    if dialect == "duckdb":
        return _call("TIMEZONE", zone, time)
    if dialect in SPARKS:
        return _call("TO_UTC_TIMESTAMP", _as(time, "TIMESTAMPTZ"), zone)
    if dialect == "snowflake":
        return _call("CONVERT_TIMEZONE", zone, exp.Literal.string("UTC"), time)
    return _call("WITH_TIMEZONE" if dialect == "trino" else "TIMESTAMP", time, zone)


def _zone(node: exp.Anonymous, dialect: str) -> exp.Expr:
    if dialect == "duckdb":
        return _call("TIMEZONE", *node.expressions)
    raise InputError(
        f"timezone({', '.join(one.sql('duckdb') for one in node.expressions)}) cannot be written for {dialect}: it is "
        "not known whether that time has a zone.",
        hint="Say it in the SQL: timezone('Europe/Paris', CAST(… AS TIMESTAMPTZ)), or AS TIMESTAMP.",
    )


def _isfinite(node: exp.Anonymous, dialect: str) -> exp.Expr:
    if dialect == "duckdb":
        return node
    (number,) = node.expressions
    return _finite(number)


def _finite(number: exp.Expr) -> exp.Expr:
    difference = exp.Sub(this=exp.paren(number.copy()), expression=exp.paren(number.copy()))
    return exp.paren(exp.EQ(this=difference, expression=exp.Literal.number(0)))


def _shifted(node: exp.Expr, dialect: str) -> exp.Expr:
    """A time and so many of a unit, where the number is computed: engines take literals in their intervals alone."""
    time, interval = node.this, node.expression
    if not isinstance(interval, exp.Interval) or isinstance(interval.this, exp.Literal | None):
        return node
    number, unit = interval.this.unnest(), interval.args["unit"].name.upper()
    if isinstance(node, exp.Sub):
        number = exp.Neg(this=exp.paren(number))
    time = time.copy()
    if dialect in SPARKS:
        return _call("TIMESTAMPADD", exp.Var(this=unit), number, time)
    if dialect == "snowflake":
        return _call("DATEADD", exp.Var(this=unit), number, time)
    if dialect == "trino":
        return _call("DATE_ADD", exp.Literal.string(unit.lower()), number, time)
    return exp.Add(this=time, expression=exp.Interval(this=exp.paren(number), unit=exp.Var(this=unit)))


def _safely_divided(node: exp.Div, dialect: str) -> exp.Expr:
    above, below = _double(node.this), node.expression
    if not _never_zero(below):
        below = exp.Nullif(this=below, expression=exp.Literal.number(0))
    return exp.Div(this=above, expression=below, typed=True)


def _double(node: exp.Expr) -> exp.Expr:
    held = node.unnest()
    return node if isinstance(held, exp.Cast) and held.to.is_type(exp.DType.DOUBLE) else _as(node, "DOUBLE")


def _never_zero(node: exp.Expr) -> bool:
    core = node.unnest()
    core = core.this if isinstance(core, exp.Cast) else core
    return isinstance(core, exp.Nullif | exp.Ln) or (isinstance(core, exp.Literal) and float(core.this) != 0)


def _divided(node: exp.Div, dialect: str) -> exp.Expr:
    """DuckDB divides as doubles, and what is divided by 0 is infinite or NaN."""
    above, below = _double(node.this), node.expression
    plain = exp.Div(this=above, expression=below, typed=True)
    if _never_zero(below):
        return plain
    if dialect == "bigquery":
        return _call("IEEE_DIVIDE", above, below)
    if dialect == "trino":  # as it is, of doubles
        return exp.Div(this=above, expression=_as(below, "DOUBLE"), typed=True)
    endless = exp.Mul(this=above.copy(), expression=_as(exp.Literal.string("Infinity"), "DOUBLE"))
    if dialect == "snowflake":
        endless = exp.Mul(this=above.copy(), expression=_as(exp.Literal.string("inf"), "DOUBLE"))
    zero = exp.EQ(this=exp.paren(below.copy()), expression=exp.Literal.number(0))
    return exp.paren(exp.Case(ifs=[exp.If(this=zero, true=endless)], default=plain))


def _weekday(node: exp.Expr, dialect: str) -> exp.Expr:
    """Monday 1 to Sunday 7; DuckDB's own `dayofweek` has Sunday 0."""
    time = node.this
    if dialect in SPARKS:
        iso: exp.Expr = exp.Extract(this=exp.Var(this="DAYOFWEEK_ISO"), expression=time)
    elif dialect == "bigquery":
        american = exp.Extract(this=exp.Var(this="DAYOFWEEK"), expression=time)
        shifted = exp.paren(exp.Add(this=american, expression=exp.Literal.number(5)))
        rest = exp.Mod(this=shifted, expression=exp.Literal.number(7))
        iso = exp.paren(exp.Add(this=rest, expression=exp.Literal.number(1)))
    else:
        iso = _call("DAYOFWEEKISO" if dialect == "snowflake" else "DAY_OF_WEEK", time)
    return iso if isinstance(node, exp.DayOfWeekIso) else exp.Mod(this=iso, expression=exp.Literal.number(7))


def _kind(node: exp.DataType, dialect: str) -> exp.Expr:
    if node.this not in _WIDER:
        return node
    wider = _WIDER[node.this]
    return exp.DataType.build("BIGNUMERIC" if dialect == "bigquery" and "(" in wider else wider, dialect=dialect)


def _let(node: exp.Bracket, dialect: str) -> exp.Expr:
    """`list_filter([x], v -> isfinite(v))[1]`: how expressions say that what is not finite is null."""
    inner = node.this
    if not isinstance(inner, exp.ArrayFilter) or not isinstance(inner.this, exp.Array):
        return node
    (value,) = inner.this.expressions
    return exp.paren(exp.Case(ifs=[exp.If(this=_finite(value), true=exp.paren(value.copy()))]))


def _is_nan_node(node: exp.IsNan, dialect: str) -> exp.Expr:
    if dialect != "snowflake":
        return node
    return exp.paren(exp.EQ(this=node.this, expression=_as(exp.Literal.string("NaN"), "DOUBLE")))


_ANY: dict[str, Callable[[exp.Anonymous, str], exp.Expr]] = {
    "__nan": _nan,
    "__hex": _hex,
    "__local": _local,
    "__instant": _instant,
    "__zone": _zone,
    "epoch_us": _micros,
    "isfinite": _isfinite,
}
_NODES: tuple[tuple[type[exp.Expr], Callable[..., exp.Expr]], ...] = (
    (exp.DataType, _kind),
    (exp.Add, _shifted),
    (exp.Sub, _shifted),
    (exp.DayOfWeek, _weekday),
    (exp.DayOfWeekIso, _weekday),
    (exp.Bracket, _let),
    (exp.IsNan, _is_nan_node),
    (exp.Try, lambda node, dialect: node.this),
)
