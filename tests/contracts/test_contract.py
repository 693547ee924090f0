from __future__ import annotations

from typing import Any

import pytest

from bascule.contracts import Contract
from bascule.contracts import checks as c
from bascule.contracts.checks import Bound
from bascule.errors import NotFound, ProjectFileError
from tests.contracts.writing import HEAD, column, contract_of, ours

FULL = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 2.1.0
status: active
servers:
  - {server: lake, type: duckdb, database: x, schema: y}
schema:
  - name: orders
    physicalType: table
    customProperties:
      - {property: unexpectedColumns, value: refuse}
    quality:
      - metric: rowCount
        mustBeBetween: [1, 1000]
        severity: warning
      - type: custom
        engine: soda
        implementation: "checks for orders: []"
      - type: text
        description: Orders come from the shop.
    properties:
      - name: id
        logicalType: integer
        primaryKey: true
        primaryKeyPosition: 2
      - name: shop
        physicalName: shop_code
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
        relationships:
          - to: shops.code
      - name: state
        logicalType: string
        required: true
        quality:
          - metric: invalidValues
            arguments: {validValues: [open, NO, 'null']}
            mustBeLessThan: 1
            unit: percent
            dimension: cf
      - name: price
        logicalType: number
        classification: confidential
        logicalTypeOptions: {minimum: 0, exclusiveMaximum: 10.5, multipleOf: 0.01}
        quality:
          - type: custom
            engine: bascule
            implementation: {check: mean, between: [1, 5], where: "state = 'open'", minimumRows: 30}
slaProperties:
  - {property: latency, value: 2, unit: d, element: orders.placed}
"""


def rules(contract: Contract) -> dict[str, Any]:
    return {check.name: check for check in contract.checks}


def test_a_contract_is_read_whole() -> None:
    contract = Contract.parse(FULL, "contracts/orders.yaml")
    assert contract.text == FULL
    assert (contract.table, contract.version, contract.unexpected) == ("orders", "2.1.0", "refuse")
    assert contract.key == ("shop_code", "id")
    assert contract.masked == {"price"}
    found = rules(contract)
    assert list(found) == [
        "id: column",
        "shop_code: column",
        "state: column",
        "price: column",
        "no unexpected columns",
        "id: not null",
        "shop_code: not null",
        "state: not null",
        "state: values",
        "price: range",
        "price: multiple of",
        "price: mean",
        "shop_code, id: key is unique",
        "table: row count",
        "shop_code: relationship",
    ]
    assert found["state: values"].rule == c.OneOf("state", ("open", "NO", "null"))
    assert found["state: values"].bound == Bound("<", 1, unit="percent")
    assert found["price: range"].rule == c.Between("price", 0, None, None, 10.5)
    assert found["price: mean"].where == "state = 'open'"
    assert found["price: mean"].minimum_rows == 30
    assert found["price: mean"].bound == Bound("between", 1, 5, unit="value")
    assert found["shop_code: relationship"].rule == c.References(("shop_code",), "shops", ("code",))
    assert found["table: row count"].severity == "warning"
    assert [(item.name, item.line) for item in contract.not_run] == [("soda", 18), ("Orders come from the shop.", 21)]


def test_lines_lead_to_the_rule() -> None:
    found = rules(Contract.parse(FULL, "contracts/orders.yaml"))
    assert FULL.splitlines()[found["price: mean"].line - 1].strip() == "- type: custom"
    assert FULL.splitlines()[found["state: not null"].line - 1].strip() == "required: true"


def test_service_levels_on_a_column_of_the_table_become_freshness() -> None:
    text = FULL.replace("element: orders.placed", "element: orders.id")
    assert rules(Contract.parse(text, "orders.yaml"))["id: freshness"].bound.low == 2 * 86400


CUSTOM: list[tuple[dict[str, Any], c.Rule, Bound]] = [
    (ours("not_null", tolerate=3), c.NotNull("x"), Bound("<=", 3)),
    (ours("not_null", tolerate="0.5 %"), c.NotNull("x"), Bound("<=", 0.5, unit="percent")),
    (ours("values", values=["a", 1, True]), c.OneOf("x", ("a", 1, True)), c.NONE_FAILING),
    (ours("range", minimum=1, exclusiveMaximum=2.5), c.Between("x", 1, None, None, 2.5), c.NONE_FAILING),
    (ours("range", minimum="2013-01-01"), c.Between("x", "2013-01-01"), c.NONE_FAILING),
    (ours("pattern", pattern="^a+$"), c.Matches("x", "^a+$"), c.NONE_FAILING),
    (ours("length", minimum=1, maximum=3), c.Length("x", 1, 3), c.NONE_FAILING),
    (ours("unique"), c.Unique(("x",)), c.NONE_FAILING),
    (ours("unique", columns=["x", "y"]), c.Unique(("x", "y")), c.NONE_FAILING),
    (ours("expression", sql="x > 1"), c.Holds("x > 1", "x"), c.NONE_FAILING),
    (ours("relationship", table="u", to=["v"]), c.References(("x",), "u", ("v",)), c.NONE_FAILING),
    (ours("freshness", within="36h"), c.Freshness("x"), Bound("<=", 129600, unit="value")),
    (ours("median", minimum=2), c.Aggregate("median", "x"), Bound(">=", 2, unit="value")),
    (ours("quantile", at=0.9, maximum=2), c.Aggregate("quantile", "x", 0.9), Bound("<=", 2, unit="value")),
    (ours("std", minimum=1, maximum=2), c.Aggregate("std", "x"), Bound("between", 1, 2, unit="value")),
    (ours("not_values", values=["n/a"]), c.NoneOf("x", ("n/a",)), c.NONE_FAILING),
    (ours("contains", values=[1, 2]), c.Contains("x", (1, 2)), Bound("=", 0, unit="value")),
    (ours("drift", reference="v1"), c.Differs("x", "js", reference="v1"), Bound("<=", 0.1, unit="value")),
    (
        ours("drift", reference="v1", measure="psi", maximum=0.2),
        c.Differs("x", "psi", reference="v1"),
        Bound("<=", 0.2, unit="value"),
    ),
    (
        ours("distribution", shares={"a": 0.5, "b": 0.25}, maximum=0.05),
        c.Differs("x", "linf", (("a", 0.5), ("b", 0.25))),
        Bound("<=", 0.05, unit="value"),
    ),
    (ours("outliers", fences=1.5, tolerate="1 %"), c.Outliers("x", 1.5), Bound("<=", 1, unit="percent")),
    (ours("outliers", reference="main"), c.Outliers("x", 3.0, "main"), c.NONE_FAILING),
    (ours("python", function="checks.late:none_late", tolerate=2), c.Called("checks.late:none_late"), Bound("<=", 2)),
    (ours("mean", usual=True), c.Aggregate("mean", "x"), Bound("usual", 4.0, unit="value")),
    (ours("mean", usual=6), c.Aggregate("mean", "x"), Bound("usual", 6, unit="value")),
    (ours("not_null", tolerate="usual"), c.NotNull("x"), Bound("usual", 4.0, unit="percent")),
    ({"metric": "nullValues", "mustBe": 0}, c.NotNull("x"), Bound("=", 0)),
    (
        {"metric": "missingValues", "mustBe": 0, "arguments": {"missingValues": [None, ""]}},
        c.NotMissing("x", (None, "")),
        Bound("=", 0),
    ),
    ({"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "a"}}, c.Matches("x", "a"), Bound("=", 0)),
    (
        {"metric": "duplicateValues", "mustBeLessThan": 1, "unit": "percent"},
        c.Unique(("x",)),
        Bound("<", 1, unit="percent"),
    ),
    ({"type": "sql", "query": "select 1", "mustBe": True}, c.Answer("select 1", "x"), Bound("=", 1, unit="value")),
]


@pytest.mark.parametrize(("written", "rule", "bound"), CUSTOM)
def test_rules_of_a_column(written: dict[str, Any], rule: c.Rule, bound: Bound) -> None:
    contract = contract_of([column("x", written), column("y")])
    check = next(check for check in contract.checks if not isinstance(check.rule, c.Declared | c.NoOthers))
    assert (check.rule, check.bound) == (rule, bound)


def test_where_and_minimum_rows_of_a_library_rule_are_custom_properties() -> None:
    extra = [{"property": "where", "value": "y = 1"}, {"property": "minimumRows", "value": 7}]
    contract = contract_of([column("x", {"metric": "nullValues", "mustBe": 0, "customProperties": extra})])
    assert (contract.checks[-1].where, contract.checks[-1].minimum_rows) == ("y = 1", 7)


def test_the_enum_of_version_3_2_is_read() -> None:
    contract = contract_of([column("x", enum=[{"value": "a", "label": "A"}, {"value": "b"}])])
    assert contract.checks[-1].rule == c.OneOf("x", ("a", "b"))


@pytest.mark.parametrize("to", ["schema/u_id/properties/v_id", "u.v", "other.yaml#u.v"])
def test_relationships_in_every_notation(to: str) -> None:
    text = HEAD + (
        "schema:\n"
        f"  - {{name: t, id: t_id, properties: [{{name: x, id: x_id}}], relationships: [{{from: t.x, to: '{to}'}}]}}\n"
        "  - {name: u, id: u_id, properties: [{name: v, id: v_id}]}\n"
    )
    contract = Contract.parse(text, "t.yaml")
    assert contract.checks[-1].rule == c.References(("x",), "u", ("v",))


def test_compound_relationships() -> None:
    links = [
        {
            "from": ["t.x", "t.y"],
            "to": ["u.a", "u.b"],
            "customProperties": [{"property": "severity", "value": "warning"}],
        }
    ]
    contract = contract_of([column("x"), column("y")], relationships=links)
    assert contract.checks[-1].rule == c.References(("x", "y"), "u", ("a", "b"))
    assert contract.checks[-1].severity == "warning"


def test_the_table_is_chosen_by_name_or_by_file() -> None:
    text = HEAD + "schema:\n  - {name: a, properties: [{name: x}]}\n  - {name: b, properties: [{name: y}]}\n"
    assert Contract.parse(text, "b.yaml").columns[0].name == "y"
    assert Contract.parse(text, "b.odcs.yaml").table == "b"
    assert Contract.parse(text, "c.yaml", "a").table == "a"
    with pytest.raises(NotFound, match="'c'"):
        Contract.parse(text, "c.yaml")


def test_unknown_parts_are_let_stand() -> None:
    text = FULL.replace("status: active", "status: active\nfutureThing: {a: 1}")
    text = text.replace("    physicalType: table", "    physicalType: table\n    vendorNote: hello")
    assert Contract.parse(text, "orders.yaml").table == "orders"


# What is wrong is told with its line, its key, what is allowed and the nearest right word.
WRONG = [
    ("apiVersion: v3.1.0", "apiVersion: v2.2.0", "apiVersion", "v2.2.0"),
    ("kind: DataContract", "kind: DataProduct", "kind", "DataContract"),
    ("required: true", "requird: true", "schema[0].properties[2]", "Did you mean 'required'"),
    ("required: true", "required: yes", "schema[0].properties[2].required", "true or false"),
    ("metric: invalidValues", "metric: invalidValue", "schema[0].properties[2].quality[0].metric", "'invalidValues'"),
    ("mustBeLessThan: 1\n", "mustBeLess: 1\n", "schema[0].properties[2].quality[0]", "Did you mean 'mustBeLessThan'"),
    ("dimension: cf", "dimension: shape", "schema[0].properties[2].quality[0].dimension", "allowed: accuracy"),
    ("severity: warning", "severity: wrning", "schema[0].quality[0].severity", "Did you mean 'warning'"),
    ("mustBeBetween: [1, 1000]", "mustBeBetween: [9, 1]", "schema[0].quality[0].mustBeBetween", "smaller first"),
    ("value: refuse", "value: refused", "schema[0].customProperties[0].value", "Did you mean 'refuse'"),
    ("logicalType: number", "logicalType: float", "schema[0].properties[3].logicalType", "allowed: string"),
    ("minimum: 0", "minimun: 0", "schema[0].properties[3].logicalTypeOptions", "Did you mean 'minimum'"),
    ("check: mean", "check: maen", "schema[0].properties[3].quality[0].implementation.check", "Did you mean 'mean'"),
    ("minimumRows: 30", "minRows: 30", "schema[0].properties[3].quality[0].implementation", "'minimumRows'"),
    ("between: [1, 5], ", "", "schema[0].properties[3].quality[0].implementation", "Say what the value must be"),
    ("minimum: 0", "minimum: x", "schema[0].properties[3].logicalTypeOptions.minimum", "number"),
    ("minimum: 0", "pattern: (a", "schema[0].properties[3].logicalTypeOptions.pattern", "missing )"),
    ("multipleOf: 0.01", "multipleOf: -1", "schema[0].properties[3].logicalTypeOptions.multipleOf", "over 0"),
    ("- name: price", "- name: state", "schema[0].properties[3]", "declared twice"),
    ("to: shops.code", "to: shops", "schema[0].properties[1].relationships[0].to", "table.column"),
    ("unit: percent", "unit: percents", "schema[0].properties[2].quality[0].unit", "Did you mean 'percent'"),
    ("- type: custom\n        engine: soda\n", "- type: custom\n", "schema[0].quality[1]", "`engine` is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "key", "says"), WRONG)
def test_mistakes_are_told_where_they_stand(right: str, wrong: str, key: str, says: str) -> None:
    assert FULL.count(right) == 1
    line = FULL[: FULL.index(right)].count("\n") + 1
    with pytest.raises(ProjectFileError) as caught:
        Contract.parse(FULL.replace(right, wrong), "contracts/orders.yaml")
    error = caught.value
    assert (error.line, error.key) == (line, key)
    assert error.message.startswith(f"contracts/orders.yaml:{line}: [{key}]")
    assert says in f"{error.message} {error.hint}"


IMPOSSIBLE = [
    column("x", {"metric": "nullValues"}),
    column("x", {"metric": "nullValues", "mustBe": 0, "mustBeLessThan": 1}),
    column("x", {"metric": "nullValues", "mustBe": "zero"}),
    column("x", {"metric": "invalidValues", "mustBe": 0}),
    column("x", {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": []}}),
    column("x", {"metric": "invalidValues", "mustBe": 0, "arguments": {"validValues": [[1]]}}),
    column("x", {"metric": "invalidValues", "mustBe": 0, "arguments": {"pattern": "a", "validValues": [1]}}),
    column("x", {"metric": "rowCount", "mustBe": 1, "unit": "percent"}),
    column("x", {"type": "sql", "mustBe": 0}),
    column("x", ours("range")),
    column("x", ours("length")),
    column("x", ours("length", maximum=-1)),
    column("x", ours("length", maximum=1.5)),
    column("x", ours("quantile", at=2, maximum=1)),
    column("x", ours("freshness", within="soon")),
    column("x", ours("freshness", within="3 parsecs")),
    column("x", ours("not_null", tolerate="much")),
    column("x", ours("not_null", tolerate="101 %")),
    column("x", ours("mean", minimum=2, maximum=1)),
    column("x", ours("mean", between=[1, 2], minimum=1)),
    column("x", ours("unique", columns=["z"])),
    column("x", ours("mean", usual=0)),
    column("x", ours("mean", usual=False)),
    column("x", ours("mean", usual=True, maximum=1)),
    column("x", ours("contains", values=[])),
    column("x", ours("drift")),
    column("x", ours("drift", reference="v1", measure="ks2")),
    column("x", ours("drift", reference="v1", maximum="low")),
    column("x", ours("distribution", shares={})),
    column("x", ours("distribution", shares={"a": 0.9, "b": 0.2})),
    column("x", ours("distribution", shares={"a": 2})),
    column("x", ours("distribution", shares=["a"])),
    column("x", ours("outliers", fences=-1)),
    column("x", ours("python", function="os")),
    column("x", ours("python", function="a:b; import os")),
    column("x", ours("relationship", table="u", to=["a", "b"])),
    column("x", ours("query", sql="select 1", column="x")),
    column("x", relationships=[{"from": "t.x", "to": "u.v"}]),
    column("x", {"type": "sql", "query": "q", "mustBe": 1, "customProperties": [{"property": "where", "value": "a"}]}),
]  # fmt: skip


@pytest.mark.parametrize("prop", IMPOSSIBLE)
def test_rules_that_mean_nothing_are_refused(prop: dict[str, Any]) -> None:
    with pytest.raises(ProjectFileError) as caught:
        contract_of([prop])
    assert caught.value.line == 6


@pytest.mark.parametrize(
    "rule", [{"metric": "nullValues", "mustBe": 0}, ours("mean", minimum=1), {"metric": "duplicateValues", "mustBe": 0}]
)
def test_rules_of_a_column_need_one(rule: dict[str, Any]) -> None:
    with pytest.raises(ProjectFileError):
        contract_of([column("x")], quality=[rule])


def test_twin_names_are_told_apart() -> None:
    contract = contract_of([column("x", ours("mean", minimum=1), ours("mean", maximum=9))])
    assert [check.name for check in contract.checks[-2:]] == ["x: mean", "x: mean (2)"]


def test_a_rule_may_have_an_owner() -> None:
    owned = {**ours("not_null"), "customProperties": [{"property": "owner", "value": "ann@example.org"}]}
    check = contract_of([column("x", owned)]).checks[-1]
    assert (check.owner, check.severity) == ("ann@example.org", "critical")
