"""Commands over contracts: suggest, show, test, history, diff, import, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common, NotNegative
from bascule.cli.output import answer, columns, moment, say

if TYPE_CHECKING:
    from bascule.contracts import Report

contract = App(name="contract", help="Data contracts: suggest one from a table, check a table against its own.")

Form = Literal["text", "json", "junit", "sarif", "markdown", "html"]


@contract.command
def suggest(
    table: str,
    /,
    *,
    write: Annotated[Path | None, Parameter(help="Write it to this file instead of printing it.")] = None,
    common: Common = COMMON,
) -> None:
    """Suggest a contract that the table of the current branch keeps, as commented text to review.

    Args:
        table: the table.
    """
    text = common.open().suggest_contract(table)
    if write is None:
        answer(common, {"table": table, "contract": text}, text)
        return
    from bascule.errors import AlreadyExists

    if write.exists():
        raise AlreadyExists("file", str(write), hint="Choose another name, or compare the two yourself.")
    write.parent.mkdir(parents=True, exist_ok=True)
    write.write_text(text, encoding="utf-8")
    answer(
        common, {"table": table, "file": str(write)}, f"Wrote {write}. Review it, then name it in [contract.{table}]."
    )


@contract.command
def history(
    table: str,
    /,
    *,
    check: Annotated[str | None, Parameter(help="Only this check, by its name.")] = None,
    batches: Annotated[bool, Parameter(negative=(), help="Of the batches that came in, not of the table.")] = False,
    common: Common = COMMON,
) -> None:
    """Show what the checks of a table measured before, and the bounds within which each value was usual.

    Args:
        table: the table.
    """
    from bascule.contracts.checks import shown_number

    found = common.open().contract_history(table, check=check, batches=batches)
    lines = []
    for name in dict.fromkeys(one.check for one in found):
        lines.append(name)
        for one in [one for one in found if one.check == name][-20:]:
            bounds = " to ".join(map(shown_number, one.usual)) if one.usual else "too few before"
            mark = "unusual" if one.unusual else "failed" if one.status != "passed" else ""
            lines.append(f"  {moment(one.at):<17}{shown_number(one.value):>16}  usually {bounds:<26}{mark}".rstrip())
    answer(common, {"table": table, "values": [one.as_dict() for one in found]}, "\n".join(lines))


@contract.command
def show(table: str, /, *, common: Common = COMMON) -> None:
    """Show what a table's contract on the current branch promises: columns, key, and every check in words.

    Args:
        table: the table.
    """
    found = common.open().read_contract(table)
    document = found.as_dict()
    lines = [f"{found.file}  version {found.contract.version or 'none'}" if found.file else "No contract is written."]
    lines += ["", "Columns:"]
    about = [
        (one["name"], one["type"], "key" if one["key"] else "", "private" if one["private"] else "", one["description"])
        for one in document["columns"]
    ]
    lines += [f"  {line}" for line in columns(about, none="none are listed").splitlines()]
    asked = [(one["line"] or "", one["severity"], one["name"], one["asked"]) for one in document["checks"]]
    lines += [
        "",
        "Checks:",
        *(f"  {line}" for line in columns(asked, ("line", "severity", "check", "asks")).splitlines()),
    ]
    if document["not_run"]:
        lines += [
            "",
            "Not run:",
            *(f"  line {one['line']}: {one['name']} {one['reason']}" for one in document["not_run"]),
        ]
    answer(common, document, "\n".join(lines))


@contract.command(name="test")
def check(
    table: str,
    /,
    *,
    form: Annotated[Form, Parameter(name="--format", help="How the report is written.")] = "text",
    output: Annotated[Path | None, Parameter(help="Write the report to this file.")] = None,
    junit: Annotated[Path | None, Parameter(help="Also write a JUnit report to this file.")] = None,
    rows: Annotated[NotNegative, Parameter(help="Show at most so many failing rows of a check.")] = 5,
    explain: Annotated[bool, Parameter(negative=(), help="Show how it would be checked, and check nothing.")] = False,
    common: Common = COMMON,
) -> int:
    """Check a table of the current branch against its contract; ends with 1 when a critical check fails.

    Args:
        table: the table; `features/NAME` is a feature view, `models/NAME` or `models/NAME@VERSION` what it was asked.
    """
    from bascule.contracts import render_junit
    from bascule.project.checking import problems
    from bascule.project.contracting import edited

    project = common.open()
    if project.place.has_file and (file := edited(project.place, project.file, table)):
        say(f"{file} was changed since: what is checked here is what {project.place.branch} holds until: bascule run")
    if explain:
        plan = project.explain_contract(table)
        answer(common, {"table": table, "plan": plan}, plan)
        return 0
    report = project.check_contract(table)
    if junit is not None:
        _write(junit, render_junit(report))
    text = _formed(report, form, rows)
    if output is not None:
        _write(output, text)
        say(f"{output} is written.")
        text = ""
    unusual = [
        {"check": result.name, "value": result.value, "usual": list(result.usual or ())} for result in report.unusual
    ]
    document = {"table": table, "rows": report.rows, "passed": report.passed, "problems": problems(report)}
    answer(common, {**document, "unusual": unusual}, text)
    return 0 if report.passed else 1


@contract.command(name="diff")
def compare(
    before: str,
    after: str | None = None,
    /,
    *,
    exit_code: Annotated[bool, Parameter(help="End with 1 when readers would break.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Judge changes of schemas and contracts: breaking, compatible or documentation, and which readers would break.

    Args:
        before: a branch, a tag or a commit; or a contract file, when the other one is, too.
        after: another one; the current branch when not given.
    """
    found = common.open().diff_contracts(before, after)
    text = "\n".join(one.text() for one in found) or "Nothing differs in schemas and contracts."
    answer(common, [one.as_dict() for one in found], text)
    return int(exit_code and any(one.broken or (one.change.verdict == "breaking" and one.of_files) for one in found))


@contract.command(name="import")
def bring(
    file: Path,
    /,
    *,
    table: Annotated[str | None, Parameter(help="The table; of a dbt file also which model is meant.")] = None,
    form: Annotated[
        Literal["great-expectations", "dbt", "pandera", "json-schema", "avro"] | None,
        Parameter(name="--format", help="The tool, when the file does not tell."),
    ] = None,
    write: Annotated[Path | None, Parameter(help="Write it to this file instead of printing it.")] = None,
    common: Common = COMMON,
) -> None:
    """Make a contract from a Great Expectations suite, dbt tests, a pandera schema, a JSON Schema or an Avro schema.

    What has no equal meaning is left out, and told.

    Args:
        file: the other tool's file, as JSON or YAML.
    """
    done = common.open().import_contract(file, table=table, form=form)
    for one in done.left_out:
        say(f"left out  {one.text()}")
    if write is None:
        answer(common, done.as_dict(), done.text)
        return
    from bascule.errors import AlreadyExists

    if write.exists():
        raise AlreadyExists("file", str(write), hint="Choose another name, or compare the two yourself.")
    write.parent.mkdir(parents=True, exist_ok=True)
    _write(write, done.text)
    told = f"Wrote {write} from {done.form}. Review it, then name it in [contract.{done.table}]."
    answer(common, {**done.as_dict(), "file": str(write)}, told)


@contract.command(name="export")
def give(
    table: str,
    /,
    *,
    form: Annotated[
        Literal["odcs", "json-schema", "avro", "dbt", "great-expectations"],
        Parameter(name="--format", help="In whose words."),
    ] = "odcs",
    output: Annotated[Path | None, Parameter(help="Write it to this file.")] = None,
    common: Common = COMMON,
) -> None:
    """Give a table's contract in another tool's words; as odcs it is the file as it was written.

    Args:
        table: the table.
    """
    done = common.open().export_contract(table, form)
    for one in done.left_out:
        say(f"left out  {one.text()}")
    if output is not None:
        _write(output, done.text)
        answer(common, {**done.as_dict(), "file": str(output)}, f"Wrote {output}.")
        return
    answer(common, done.as_dict(), done.text)


def _formed(report: Report, form: Form, rows: int) -> str:
    from bascule import __version__, contracts

    if form == "json":
        return contracts.render_json(report)
    if form == "junit":
        return contracts.render_junit(report)
    if form == "sarif":
        return contracts.render_sarif([report], version=__version__, elsewhere="bascule.toml")
    if form == "markdown":
        return contracts.render_markdown(report, rows=rows)
    if form == "html":
        return contracts.render_html([report])
    return contracts.render_text(report, rows=rows)


def _write(file: Path, text: str) -> None:
    from bascule.errors import EnvironmentProblem

    try:
        file.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write {file}: {error.strerror or error}.", hint="Name a file in a folder that is there."
        ) from error
