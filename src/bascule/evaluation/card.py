"""The model card: one Markdown page on what a model is, what it learned from, how good it is and where it is not.

The parts follow Mitchell et al. (2019), Model Cards for Model Reporting. The page starts with YAML front matter, so
that catalogs can read it. Equal input gives equal text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bascule.evaluation.bootstrap import Measure
from bascule.evaluation.report import EvaluationReport
from bascule.evaluation.slices import SliceRow
from bascule.training import ModelBundle, TrainingSet

MOST_SLICES = 20
MOST_INPUTS = 15


def model_card(
    report: EvaluationReport,
    bundle: ModelBundle,
    training_set: TrainingSet | None = None,
    *,
    version: int | None = None,
    intended_use: str = "",
    author: str = "",
    created_at: int | None = None,
    forced: str = "",
) -> str:
    """Write the card of a model.

    Args:
        report: of the evaluation.
        bundle: the model.
        training_set: what it learned from, when it is a kept training set.
        version: its number in the registry, when it has one.
        intended_use: the user's words; the question that the label answers when empty.
        author: who trained it.
        created_at: when, microseconds since 1970 UTC.
        forced: why it was registered although a gate refused it, when it was.

    Returns:
        Markdown with YAML front matter.
    """
    title = (report.model or "Model") + (f" version {version}" if version is not None else "")
    parts = [
        _front_matter(report, bundle, version, author, created_at),
        f"# {title}\n",
        _details(report, bundle, training_set, intended_use, author, created_at),
        _verdict(report, forced),
        _data(training_set, report),
        _metrics(report),
        _calibration(report),
        _slices(report),
        _inputs(report, bundle),
        _caveats(report),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(
    report: EvaluationReport, bundle: ModelBundle, version: int | None, author: str, created_at: int | None
) -> str:
    values: dict[str, Any] = {
        "model": report.model,
        "version": version,
        "task": report.task,
        "format": bundle.format,
        "artifact": bundle.digest,
        "training_set": report.training_set,
        "author": author,
        "created_at": _moment(created_at),
        "passed": report.passed,
        "metrics": report.flat(),
    }
    return front_matter({name: value for name, value in values.items() if value not in ("", None)})


def front_matter(values: Mapping[str, Any]) -> str:
    """Return values as YAML front matter: each as JSON, which is YAML too, but for what JSON has no words for."""
    return "\n".join(["---", *(f"{name}: {_in_yaml(value)}" for name, value in values.items()), "---", ""])


def _in_yaml(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}" if e else mantissa
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{json.dumps(str(k), ensure_ascii=False)}: {_in_yaml(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_in_yaml, value)) + "]"
    # Signs that YAML has no place for, and characters that end a line there, are escaped.
    return json.dumps(value, ensure_ascii=not isinstance(value, str) or not value.isprintable())


def _details(
    report: EvaluationReport,
    bundle: ModelBundle,
    training_set: TrainingSet | None,
    intended_use: str,
    author: str,
    created_at: int | None,
) -> str:
    label = training_set.spec.label if training_set else ""
    use = intended_use or (f"To answer `{label}` for rows like those it learned from." if label else "")
    classes = f" with the classes {', '.join(f'`{one}`' for one in report.classes)}" if report.classes else ""
    lines = [
        f"- **Task**: {report.task}{classes}",
        f"- **Format**: {bundle.format}, {len(bundle.signature.inputs)} inputs",
        f"- **Label**: `{label}`" if label else "",
        f"- **Intended use**: {use}" if use else "",
        f"- **Trained by**: {author}" if author else "",
        f"- **Trained at**: {_moment(created_at)}" if created_at is not None else "",
        f"- **Artifact**: `{bundle.digest}`" if bundle.digest else "",
    ]
    return "## Details\n\n" + "\n".join(line for line in lines if line) + "\n"


def _verdict(report: EvaluationReport, forced: str) -> str:
    if not report.gates:
        return ""
    head = "All gates passed." if report.passed else f"{len(report.failed())} of {len(report.gates)} gates refused it."
    if forced:
        head += f" It was registered all the same: {forced}"
    rows = [[one.name, "passed" if one.passed else "**refused**", one.required, one.reason] for one in report.gates]
    return f"## Gates\n\n{head}\n\n" + _table(["gate", "answer", "required", "found"], rows)


def _data(training_set: TrainingSet | None, report: EvaluationReport) -> str:
    if training_set is None:
        return f"## Data\n\nEvaluated on {report.rows:,} rows.\n"
    split = training_set.split
    rows = [
        [name, f"{part.rows:,}", _moment(part.start), _moment(part.end)]
        for name, part in (("train", split.train), ("validation", split.validation), ("test", split.test))
    ]
    text = f"## Data\n\nTraining set `{training_set.name}` (`{training_set.id}`), made at commit "
    text += f"`{training_set.commit_id}`.\n\n" + _table(["split", "rows", "from", "to"], rows)
    if split.excluded.rows:
        told = "; ".join(f"{reason}: {count:,}" for reason, count in split.excluded.reasons.items())
        text += f"\nLeft out: {split.excluded.rows:,} rows ({told}).\n"
    return text


def _metrics(report: EvaluationReport) -> str:
    references = [one for one in ("baseline", "constant", "current") if one in report.references]
    rows = [
        [name, _number(one.value), _between(one), *(_number(report.references[ref].get(name)) for ref in references)]
        for name, one in report.metrics.items()
    ]
    method = report.method
    text = (
        f"## Metrics\n\nOn the {report.rows:,} rows of the test split. Intervals at {method.level:.0%}: bootstrap with "
    )
    text += f"{method.resamples:,} resamples of {method.clusters:,} {method.unit}, seed {method.seed}.\n\n"
    return text + _table(["metric", "value", "interval", *references], rows)


def _calibration(report: EvaluationReport) -> str:
    if report.calibration is None:
        return ""
    found = report.calibration
    rows = [
        [f"{one.rows:,}", f"{one.predicted:.1%}", f"{one.observed:.1%}", f"{one.low:.1%} to {one.high:.1%}"]
        for one in found.bins
    ]
    text = (
        f"## Calibration\n\nExpected calibration error {found.ece:.4f}; chance alone would give {found.noise:.4f}.\n\n"
    )
    return text + _table(["rows", "predicted", "observed", "interval"], rows)


def _slices(report: EvaluationReport) -> str:
    weakest = _slice_table(report.weakest, report) if report.weakest else "No slice is weak beyond chance.\n"
    parts = ["### Weakest slices\n\n" + weakest]
    for column, rows in report.slices.items():
        more = f"\n{len(rows) - MOST_SLICES} smaller slices are in the report.\n" if len(rows) > MOST_SLICES else ""
        parts.append(f"### By {column}\n\n" + _slice_table(rows[:MOST_SLICES], report) + more)
    return "## Slices\n\n" + "\n".join(parts)


def _slice_table(rows: Sequence[SliceRow], report: EvaluationReport) -> str:
    names = list(rows[0].metrics) if rows else []
    with_mean = report.task != "multiclass"
    header = ["slice", "rows", *(["mean of label"] if with_mean else []), *names]
    body = [
        [row.name(), f"{row.rows:,}", *([_number(row.mean)] if with_mean else []), *map(_number, row.metrics.values())]
        for row in rows
    ]
    return _table(header, body)


def _inputs(report: EvaluationReport, bundle: ModelBundle) -> str:
    types = {one.name: one.type for one in bundle.signature.inputs}
    rows = [[f"`{name}`", types[name], f"{share:.1%}"] for name, share in list(report.importance.items())[:MOST_INPUTS]]
    more = len(report.importance) - len(rows)
    tail = f"\n{more} further inputs weigh less.\n" if more > 0 else ""
    return "## Inputs\n\nBy how much the model leans on them.\n\n" + _table(["input", "type", "share"], rows) + tail


def _caveats(report: EvaluationReport) -> str:
    told = [
        *report.caveats,
        "The numbers hold for rows like those of the test split; monitoring says whether later rows are.",
    ]
    return "## Caveats\n\n" + "\n".join(f"- {one}" for one in told) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _between(one: Measure) -> str:
    return "–" if one.low is None or one.high is None else f"{one.low:.4g} to {one.high:.4g}"


def _moment(micros: int | None) -> str:
    return "" if micros is None else datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
