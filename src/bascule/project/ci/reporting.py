"""What a run in CI leaves: files for the server, and the comment's text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from blake3 import blake3

from bascule import __version__
from bascule.contracts import Report, render_html, render_junit, render_markdown, render_sarif
from bascule.errors import EnvironmentProblem
from bascule.project import reviewing
from bascule.project.ci.comment import Section, compose
from bascule.project.ci.running import PIPELINE, Verdict
from bascule.project.deploying import Preview
from bascule.project.place import PROJECT_FILE
from bascule.project.reviewing.request import code

#: GitHub shows a summary of at most 1 MiB.
SUMMARY_LIMIT = 1_000_000
COMMENT_LIMIT = 65_536
SEVERITIES = {"critical": "critical", "warning": "minor", "info": "info"}


def marker_of(name: str) -> str:
    """Return how the comment of a project begins: a repository may hold several."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-")
    return f"<!-- bascule: ci {slug} -->"


def comment_of(verdict: Verdict, name: str, limit: int = COMMENT_LIMIT, *, rows: int = 3, more: str = "") -> str:
    """Return the comment on a pull request: the verdict, failures, the merge, the steps, and what differs.

    Args:
        name: the project's.
        rows: at most so many failing rows are shown of each check; private columns are hidden.
        more: where all of it is.
    """
    return compose(_head(verdict, name), _sections(verdict, rows), limit, marker=marker_of(name), more=more)


def write_files(verdict: Verdict, folder: Path, name: str, below: str = "", rows: int = 3) -> dict[str, str]:
    """Write all forms of a run's report into a folder, and return them: form to file.

    Args:
        below: the project's folder from the top of its repository; findings name files from there.
    """
    reports = verdict.reports
    texts = {
        "junit": ("junit.xml", render_junit(reports)),
        "sarif": (
            "results.sarif",
            render_sarif(reports, folder=below, version=__version__, elsewhere=PROJECT_FILE),
        ),
        "codequality": ("codequality.json", codequality(reports, below)),
        "html": ("report.html", render_html([r for r in reports if r.table != PIPELINE], title=f"Bascule: {name}")),
        "markdown": ("comment.md", comment_of(verdict, name, rows=rows)),
        "json": ("report.json", json.dumps(verdict.as_dict(), ensure_ascii=False, indent=2, default=str)),
    }
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")  # no part of the project's code
        for file, text in texts.values():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write the reports into {folder}: {error.strerror or error}.", hint="Name a folder with --output."
        ) from error
    return {form: str(folder / file) for form, (file, _) in texts.items()}


def codequality(reports: Sequence[Report], below: str = "") -> str:
    """Return what did not pass as GitLab's code quality report, which merge requests show at the contracts' lines."""
    found = []
    for report in reports:
        for result in report.problems:
            file = report.file if result.line else PROJECT_FILE
            found.append(
                {
                    "description": f"{report.table}: {result.name}: found {result.observed}; asked {result.expected}"[
                        :1000
                    ],
                    "check_name": f"contract/{result.kind}",
                    "fingerprint": blake3(f"{report.table}\0{result.name}".encode()).hexdigest()[:32],
                    "severity": SEVERITIES[result.severity],
                    "location": {"path": Path(below, file).as_posix(), "lines": {"begin": max(result.line, 1)}},
                }
            )
    return json.dumps(found, ensure_ascii=False, indent=2)


def _head(verdict: Verdict, name: str) -> str:
    blocking = sum(result.blocks for report in verdict.reports for result in report.results)
    warnings = sum(len(report.problems) for report in verdict.reports) - blocking
    if verdict.passed:
        told = "ready to merge" if verdict.readiness is not None else "all is well"
    elif blocking:
        told = f"{blocking} check{'s' if blocking > 1 else ''} failed"
    elif verdict.error is not None:
        told = "the run failed"
    else:
        told = "not ready to merge"
    more = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings > 0 else ""
    lines = [f"### {'✅' if verdict.passed else '❌'} {code(name)}: {told}{more}"]
    if verdict.readiness is not None:
        lines += ["", _plain(verdict.readiness.text().partition("\n")[0])]
        if verdict.readiness.next_step and not verdict.readiness.ready:
            lines += ["", _plain(verdict.readiness.next_step)]
    return "\n".join(lines)


def _sections(verdict: Verdict, rows: int) -> list[Section]:
    found = []
    data = [report for report in verdict.reports if report.table != PIPELINE]
    for report in sorted(data, key=lambda report: report.passed):
        if report.problems:
            texts = (render_markdown(report, rows=rows), render_markdown(report, rows=0))
            found.append(Section(f"checks of {report.table}", tuple(dict.fromkeys(texts)) if rows else texts[1:]))
    if verdict.error is not None:
        # What was refused has its rows above.
        told = (
            verdict.error.message if not any(not one.passed for one in data) else verdict.error.message.split("\n")[0]
        )
        said = f"{told}\n\n{verdict.error.hint}".strip()
        found.append(Section("the run", tuple(f"#### The run\n\n{_fenced(said[:size])}" for size in (8000, 1000))))
    if verdict.preview is not None:
        found.append(Section("preview", (_try(verdict.preview),)))
    if verdict.readiness is not None and "\n" in verdict.readiness.problem:
        said = verdict.readiness.problem
        found.append(Section("the merge", tuple(f"#### The merge\n\n{_fenced(said[:size])}" for size in (8000, 1000))))
    if verdict.judged:
        found.append(Section("readers", tuple(_readers(verdict, most) for most in (60, 15))))
    if verdict.receipts:
        found.append(Section("steps", (_steps(verdict),)))
    if verdict.changes and verdict.target is not None:
        sides = verdict.target, verdict.branch
        forms = tuple(reviewing.markdown(verdict.changes, *sides, limit=limit) for limit in (40_000, 15_000, 4_000))
        found.append(Section("what differs", forms))
    return found


def _try(preview: Preview) -> str:
    """Where the branch can be tried before it is merged."""
    metadata = ", ".join(f"`{key}: {value}`" for key, value in preview.metadata.items())
    grpc = f" Over gRPC, send the metadata {metadata}." if metadata else ""
    return f"#### Try it\n\nThis branch answers at {code(preview.http)}.{grpc}\n\n{_fenced(preview.curl)}"


def _steps(verdict: Verdict) -> str:
    ran = sum(receipt.status == "ran" for receipt in verdict.receipts)
    lines = [
        f"<details><summary>{ran} of {len(verdict.receipts)} steps ran, {verdict.duration_s:.0f} s</summary>",
        "",
        "| | step | |",
        "|---|---|---|",
    ]
    sign = {"ran": "▸", "cached": "=", "failed": "❌"}
    for one in verdict.receipts[:100]:
        lines.append(f"| {sign[one.status]} | {code(one.step)} | {_plain(one.summary)[:300]} |")
    return "\n".join([*lines, "", "</details>"])


def _readers(verdict: Verdict, most: int) -> str:
    counts = ", ".join(
        f"{count} {word}"
        for word in ("breaking", "compatible", "documentation")
        if (count := sum(one.change.verdict == word for one in verdict.judged))
    )
    lines = [f"#### Schema and promises: {counts}", ""]
    lines += [f"- {_plain(one.text())}" for one in verdict.judged[:most]]
    rest = len(verdict.judged) - most
    return "\n".join([*lines, *([f"- and {rest} more"] if rest > 0 else [])])


def _fenced(text: str) -> str:
    fence = "`" * (3 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def _plain(text: str) -> str:
    """Return a sentence that has names in it so that nothing of them becomes markup."""
    return re.sub(r"([\\`*_\[\]<>|~#@])", lambda m: f"&#{ord(m[1])};", reviewing.words.spelt(" ".join(text.split())))
