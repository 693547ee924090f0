"""Reports as SARIF 2.1.0, which forges show beside the line of the contract that asks what failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from blake3 import blake3

from bascule.contracts.render import clean, clip
from bascule.contracts.report import CheckResult, Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"critical": "error", "warning": "warning", "info": "note"}
#: GitHub reads no more results of one run.
MOST_RESULTS = 25_000
_LONGEST = 1_000


def render_sarif(reports: Sequence[Report], *, folder: str = "", version: str = "", elsewhere: str = "") -> str:
    """Return what did not pass as one SARIF document: a result for each check, at its line in the contract.

    No failing rows are in it; what was found is told as in every report, values of private columns hidden.

    Args:
        folder: where the contracts' files are relative to, as a path from the repository's top.
        version: of the tool.
        elsewhere: the file that is named when a promise stands in no file, such as the project's.
    """
    found = [(report, result) for report in reports for result in report.problems][:MOST_RESULTS]
    kinds = sorted({result.kind for _, result in found})
    driver: dict[str, Any] = {
        "name": "Bascule",
        "rules": [_rule(kind) for kind in kinds],
        **({"semanticVersion": version} if version else {}),
    }
    results = [_result(report, result, folder, elsewhere, kinds) for report, result in found]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2)


def _rule(kind: str) -> dict[str, Any]:
    words = kind.replace("_", " ")
    return {
        "id": f"contract/{kind}",
        "name": "".join(part.capitalize() for part in kind.split("_")),
        "shortDescription": {"text": f"A data contract's check: {words}"},
        "fullDescription": {"text": f"The rows of a table do not keep what its contract promises ({words})."},
        "help": {"text": "Repair the data, or change the contract at this line."},
        "properties": {"tags": ["data"]},
    }


def _result(report: Report, result: CheckResult, folder: str, elsewhere: str, kinds: Sequence[str]) -> dict[str, Any]:
    file = report.file if result.line else elsewhere or report.file
    place = {
        "artifactLocation": {"uri": quote(str(PurePosixPath(folder, file)), safe="/")},
        "region": {"startLine": max(result.line, 1)},
    }
    text = f"{report.table}: {result.name}: found {result.observed}; asked {result.expected}"
    print_of = blake3(f"{report.table}\0{result.name}".encode()).hexdigest()[:32]
    return {
        "ruleId": f"contract/{result.kind}",
        "ruleIndex": kinds.index(result.kind),
        "level": LEVELS[result.severity],
        "message": {"text": clip(clean(text), _LONGEST)},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"basculeCheck/v1": print_of},
        "properties": {
            "table": report.table,
            "column": result.column,
            "status": result.status,
            "failedRows": result.failed_rows,
            "totalRows": result.total_rows,
        },
    }
