"""Commands over sets of files: add, status, diff, checkout, list, cat, remove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bascule.cli.options import COMMON, Common, Limit
from bascule.cli.output import answer, columns

if TYPE_CHECKING:
    from bascule.lake.filesets import FileInfo, FilesDiff
    from bascule.verbs import OpenProject

SIGNS = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}
AT = Parameter(help="The state that is read: a branch, a tag or a commit.")
MESSAGE = Parameter(name=["--message", "-m"], help="The commit's message.")
PIECE = 1 << 20

files = App(name="files", help="Sets of files (images, text, anything): every version is in the history.")


@files.command
def add(
    name: str,
    folder: Path | None = None,
    /,
    *,
    message: Annotated[str | None, MESSAGE] = None,
    keep: Annotated[bool, Parameter(help="Keep files in the set that the folder does not have.", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Make what a folder has the next version of a set. Only what changed is read and stored.

    What a .basculeignore in the folder names is left out. A killed command is repeated, and goes on.

    Args:
        name: the set; it is made when there is none.
        folder: the folder; the one that was last added or checked out when not given.
    """
    from bascule.cli.transfer import Transfer
    from bascule.counting import counted

    project = common.open()
    with Transfer(quiet=common.json) as watch:
        done = project.files(name).add(folder, message=message, keep=keep, tell=watch)
    held = f"{counted(done.files, 'file')}, {size(done.bytes)}"
    if not done.changed:
        answer(common, done.as_dict(), f"files/{name} has all of it already ({held}); nothing was changed.")
        return
    lines = [f"{done.commit.short}  files/{name} on {project.place.branch}: {done.diff.words()}; {held} now"]
    lines += ["  merged with what the branch had got meanwhile"] if done.merged else []
    lines += [f"  {counted(done.read, 'file')} read, {size(done.stored_bytes)} stored"]
    answer(common, done.as_dict(), "\n".join(lines))


@files.command
def status(
    name: str | None = None,
    folder: Path | None = None,
    /,
    *,
    limit: Limit = 20,
    common: Common = COMMON,
) -> None:
    """Show how a folder differs from its set, or list all sets of the branch.

    Args:
        name: the set; all are listed when not given.
        folder: the folder; the one that was last added or checked out when not given.
    """
    project = common.open()
    if name is None:
        _list_sets(project, common)
        return
    from bascule.cli.transfer import Transfer

    with Transfer(quiet=common.json) as watch:
        found = project.files(name).status(folder, limit=limit, tell=watch)
    lines = [f"{found.folder}: {found.diff.words()}", *_changes(found.diff)]
    lines += [f"  only {', '.join(found.partial)} is checked out here"] if found.partial else []
    if found.behind:
        lines += [f"  The branch has another version by now; bring it with: bascule files checkout {name}"]
    answer(common, found.as_dict(), "\n".join(lines))


@files.command
def diff(
    name: str,
    before: str,
    after: str | None = None,
    /,
    *,
    only: Annotated[list[str] | None, Parameter(help="Only this path, folder or pattern.")] = None,
    limit: Limit = 20,
    common: Common = COMMON,
) -> None:
    """Compare a set at two states: files that came, went, changed or were renamed.

    Args:
        name: the set.
        before: a branch, a tag or a commit.
        after: another one; the current branch when not given.
    """
    found = common.open().files(name).diff(before, after, *(only or ()), limit=limit)
    answer(common, found.as_dict(), "\n".join([f"files/{name}: {found.words()}", *_changes(found)]))


@files.command
def checkout(
    name: str,
    folder: Path | None = None,
    /,
    *,
    at: Annotated[str | None, AT] = None,
    only: Annotated[list[str] | None, Parameter(help="Only this path, folder or pattern such as '*.jpg'.")] = None,
    force: Annotated[bool, Parameter(help="Overwrite what somebody changed.", negative="")] = False,
    link: Annotated[
        bool, Parameter(help="Hard links, read-only, to files that are a blob of their own.", negative="")
    ] = False,
    common: Common = COMMON,
) -> None:
    """Bring a folder to a version of a set. Files that are right stay; what somebody changed is not overwritten.

    A killed command is repeated, and goes on.

    Args:
        name: the set.
        folder: where to; the one that was last added or checked out when not given, else the set's name.
    """
    from bascule.cli.transfer import Transfer
    from bascule.counting import counted

    project = common.open()
    with Transfer(quiet=common.json) as watch:
        done = project.files(name, at=at).checkout(folder, only=only or (), force=force, link=link, tell=watch)
    told = [
        f"{counted(done.written, 'file')} written ({size(done.bytes)})",
        f"{done.removed:,} removed",
        f"{done.kept:,} kept",
    ]
    told += [f"{done.linked:,} of them hard links"] if done.linked else []
    told += [f"{done.cloned:,} share blocks with the store"] if done.cloned else []
    answer(common, done.as_dict(), f"files/{name}: {', '.join(told)}.")


@files.command(name="list")
def list_files(
    name: str | None = None,
    /,
    *patterns: Annotated[str, Parameter(help="Only these paths, folders or patterns.")],
    at: Annotated[str | None, AT] = None,
    common: Common = COMMON,
) -> None:
    """List the files of a set, or all sets.

    Args:
        name: the set; all are listed when not given.
    """
    project = common.open()
    if name is None:
        _list_sets(project, common, at)
        return
    found = project.files(name, at=at).list(*patterns)
    if common.json:
        answer(common, [one.as_dict() for one in found], "")
        return
    for one in found:  # a line at a time: there may be a million
        sys.stdout.write(_line(one))


@files.command
def cat(name: str, path: str, /, *, at: Annotated[str | None, AT] = None, common: Common = COMMON) -> None:
    """Write one file of a set to standard output, without a checkout; with --json, as base64.

    Args:
        name: the set.
        path: the file.
    """
    file = common.open().files(name, at=at)
    if common.json:
        import base64

        content = base64.b64encode(file.read(path)).decode()
        answer(common, {"path": path, "base64": content}, "")
        return
    with file.open(path) as source:
        sys.stdout.flush()
        while data := source.read(PIECE):
            sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@files.command
def remove(
    name: str,
    /,
    *patterns: Annotated[str, Parameter(help="Only these paths, folders or patterns.")],
    message: Annotated[str | None, MESSAGE] = None,
    common: Common = COMMON,
) -> None:
    """Remove files from a set, or the set itself, from the current branch. Folders on disk stay as they are.

    Args:
        name: the set.
    """
    from bascule.counting import counted

    project = common.open()
    commit, count = project.files(name).remove(*patterns, message=message)
    document = {"commit": commit.as_dict(), "removed": count}
    held = counted(count, "file")
    what = f"{held} of files/{name}" if patterns else f"files/{name} ({held})"
    answer(common, document, f"{commit.short}  {what} removed from {project.place.branch}; earlier commits have them.")


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError


def _list_sets(project: OpenProject, common: Common, at: str | None = None) -> None:
    sets = project.file_sets(at)
    rows = [{"name": name, "files": one["files"], "bytes": one["bytes"]} for name, one in sets.items()]
    lines = [(row["name"], f"{row['files']:,}", size(row["bytes"])) for row in rows]
    none = f"No file sets on {at or project.place.branch} yet; bascule files add NAME FOLDER makes one."
    answer(common, rows, columns(lines, ("set", "files", "size"), none=none))


def _changes(diff: FilesDiff) -> list[str]:
    lines = [f"  {SIGNS[one.kind]} {f'{one.before} → ' if one.before else ''}{one.path}" for one in diff.sample]
    more = sum(diff.counts().values()) - len(lines)
    return [*lines, f"  … and {more:,} more"] if more > 0 and lines else lines


def _line(one: FileInfo) -> str:
    mark = "l" if one.link else "x" if one.executable else "-"
    return f"{one.digest[:12]}  {mark}  {one.bytes:>12,}  {one.path}\n"
