"""The words of the Open Data Contract Standard, versions 3.0 to 3.2, that stand where Bascule reads."""

from __future__ import annotations

from bascule.contracts.checks import Operator, Severity


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP_KEYS = _words(
    "version kind apiVersion id name tenant tags status servers dataProduct description domain schema support price "
    "team roles slaDefaultElement slaProperties authoritativeDefinitions customProperties contractCreatedTs"
)
_ELEMENT_KEYS = _words(
    "id name physicalName physicalType logicalType description businessName deprecated synonyms tags quality "
    "authoritativeDefinitions customProperties relationships"
)
OBJECT_KEYS = _ELEMENT_KEYS | _words("properties dataGranularityDescription")
PROPERTY_KEYS = _ELEMENT_KEYS | _words(
    "primaryKey primaryKeyPosition required unique partitioned partitionKeyPosition classification enum examples items "
    "map properties logicalTypeOptions semanticType criticalDataElement encryptedName transformSourceObjects "
    "transformLogic transformDescription"
)
OPTION_KEYS = _words(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format minItems maxItems "
    "uniqueItems minProperties maxProperties required timezone defaultTimezone"
)
OPERATORS: dict[str, Operator] = {
    "mustBe": "=",
    "mustNotBe": "!=",
    "mustBeGreaterThan": ">",
    "mustBeGreaterOrEqualTo": ">=",
    "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "<=",
    "mustBeBetween": "between",
    "mustNotBeBetween": "not between",
}
RULE_KEYS = frozenset(OPERATORS) | _words(
    "id authoritativeDefinitions businessImpact customProperties description dimension method name schedule scheduler "
    "severity tags type unit metric rule arguments query engine implementation"
)
METRICS = _words("nullValues missingValues invalidValues duplicateValues rowCount")
RULE_TYPES = _words("library text sql custom")
# The standard leaves severities open; `error` is the word of its examples.
SEVERITIES: dict[str, Severity] = {
    "info": "info",
    "warning": "warning",
    "critical": "critical",
    "warn": "warning",
    "error": "critical",
}
DIMENSIONS = {
    "accuracy": "accuracy",
    "completeness": "completeness",
    "conformity": "conformity",
    "consistency": "consistency",
    "coverage": "coverage",
    "timeliness": "timeliness",
    "uniqueness": "uniqueness",
    "ac": "accuracy",
    "cp": "completeness",
    "cf": "conformity",
    "cs": "consistency",
    "cv": "coverage",
    "tm": "timeliness",
    "uq": "uniqueness",
}
# Classifications are free text in the standard; these words say that a value should not travel in a report.
PRIVATE = _words("pii phi personal private sensitive confidential restricted secret")
FORMATS = {
    "uuid": r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "email": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "ipv4": r"^((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)$",
}
SECONDS: dict[str, int] = {
    unit: size
    for size, units in (
        (1, "s sec second seconds"),
        (60, "min minute minutes"),
        (3600, "h hr hour hours"),
        (86400, "d day days"),
        (604800, "w week weeks"),
        (31557600, "y yr year years"),
    )
    for unit in _words(units)
}
