"""An export: a folder of plain files that appears whole, or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bascule.errors import AlreadyExists, EnvironmentProblem, InputError, NotFound
from bascule.history import Commit, Workspace
from bascule.lake.masking import masks_for
from bascule.project.querying import session
from bascule.protocols.plain import guide, models, records, tables
from bascule.protocols.plain.item import Item
from bascule.protocols.plain.texts import write_text
from bascule.seeing import Masked, current_role

Tell = Callable[[str, int, int | None], None]
SUMS = "SHA256SUMS"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        folder: where to.
        ref, commit: the state of the history that was read.
        items: what was written, in the order of the history's paths; then records, training sets and artifacts.
    """

    folder: str
    ref: str
    commit: str
    items: tuple[Item, ...]

    @property
    def files(self) -> int:
        """How many files the items have."""
        return sum(item.files for item in self.items)

    @property
    def bytes(self) -> int:
        """How many bytes these have."""
        return sum(item.bytes for item in self.items)

    def as_dict(self) -> dict[str, object]:
        """The export as one JSON object."""
        return {
            "folder": self.folder,
            "ref": self.ref,
            "commit": self.commit,
            "files": self.files,
            "bytes": self.bytes,
            "items": [item.as_dict() for item in self.items],
        }


def export(
    workspace: Workspace,
    folder: Path,
    paths: Sequence[str] = (),
    *,
    everything: bool = False,
    ref: str = "main",
    tell: Tell | None = None,
) -> Exported:
    """Write what a state of the history holds as plain files into a new folder.

    It streams: a table of any size takes the memory of one row group. Nothing appears until all is written.

    Args:
        folder: where to; it is made, and may be there if it is empty.
        paths: what is written: `tables/flights`, or `tables` for all tables.
        everything: all that the state holds, every record, the training sets and the artifacts of runs.
        ref: a branch, a tag or a commit.
        tell: is told what is going on, how far it is, and of how many.

    Raises:
        InputError: nothing was named, or the folder is inside the workspace.
        AlreadyExists: the folder is there, and not empty.
        NotFound: there is no such state, or it holds no such path.
        Masked: the current role reads some columns masked, and models, files and artifacts have no masks.
        EnvironmentProblem: the disk is full, or a file of the workspace is missing or damaged; nothing is left.
    """
    commit = workspace.history.resolve(ref)
    wanted = _wanted(workspace, commit, ref, paths, everything)
    _refuse_masked(workspace, commit, [*wanted, *(["artifacts"] if everything else [])])
    target = _target(workspace, folder)
    tell = tell or (lambda what, done, of: None)
    with _appearing(target) as made:
        items = list(_written(workspace, commit, wanted, made, tell))
        if everything:
            items += records.write_records(workspace, commit, made, tell)
            items += records.write_training_sets(workspace, made, tell)
            items += records.write_artifacts(workspace, made, tell)
        done = Exported(folder=str(target), ref=ref, commit=commit.id, items=tuple(items))
        guide.write(made, done.as_dict(), workspace)
        _write_sums(made, tell)
    return done


def _wanted(workspace: Workspace, commit: Commit, ref: str, paths: Sequence[str], everything: bool) -> list[str]:
    known = sorted(workspace.history.digests(commit, ""))
    if everything:
        if paths:
            raise InputError(f"--all writes everything, and {paths[0]!r} was named too.", hint="Say one of the two.")
        return known
    if not paths:
        raise InputError(
            "What is to be written was not said.",
            hint="Name paths, such as tables/flights or models, or say --all.",
        )
    found: dict[str, None] = {}
    for path in paths:
        inside = [one for one in known if one == path.rstrip("/") or one.startswith(path.rstrip("/") + "/")]
        if not inside:
            raise NotFound("path", path, known, where=ref)
        found |= dict.fromkeys(inside)
    return list(found)


def _refuse_masked(workspace: Workspace, commit: Commit, paths: Sequence[str]) -> None:
    raw = [path for path in paths if not path.startswith((tables.PREFIX, "contracts/"))]
    if raw and masks_for(workspace, commit) is not None:
        raise Masked(
            f"The role {current_role()!r} reads some columns masked, and in {raw[0]} nothing can be masked.",
            hint="Name tables alone, which are written as this role reads them, or ask someone who may see all.",
        )


def _target(workspace: Workspace, folder: Path) -> Path:
    target = Path(os.path.abspath(folder))
    inside = workspace.folder.resolve()
    if target.resolve() == inside or target.resolve().is_relative_to(inside):
        raise InputError(f"{target} is inside the workspace.", hint="Name a folder that is outside of it.")
    if target.is_symlink() or (target.exists() and not target.is_dir()) or (target.is_dir() and any(target.iterdir())):
        raise AlreadyExists("folder", str(target), hint="Name a new folder: an export never writes over anything.")
    return target


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Give a folder beside the target that takes its place when all has gone well, and else goes away."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise EnvironmentProblem(
            f"Cannot write to {target.parent}: {error.strerror or error}.", hint="Name another folder."
        ) from error
    try:
        yield made
        made.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        made.rename(target)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        raise EnvironmentProblem(
            f"Cannot write {target}: {error.strerror or error}.", hint="Free some space, then repeat: nothing is left."
        ) from error
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _written(workspace: Workspace, commit: Commit, paths: Sequence[str], made: Path, tell: Tell) -> Iterator[Item]:
    with session(workspace, commit.id) as opened:
        for number, path in enumerate(paths):
            tell(f"Writing {path}", number, len(paths))
            kind, _, name = path.partition("/")
            if kind == "tables":
                yield tables.write_table(opened, path, name, made)
            elif kind == "files":
                yield tables.write_files(workspace, commit, path, name, made)
            elif kind == "models":
                yield models.write_model(workspace, commit, path, name, made)
            else:
                yield write_text(workspace, commit, path, made)


def _write_sums(made: Path, tell: Tell) -> None:
    """Write the digests of all files, for `sha256sum --check SHA256SUMS`."""
    tell("Counting bytes", 0, None)
    lines = []
    for file in sorted(one for one in made.rglob("*") if one.is_file() and not one.is_symlink()):
        with file.open("rb") as data:
            digest = hashlib.file_digest(data, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(made).as_posix()}\n")
    (made / SUMS).write_text("".join(lines), encoding="utf-8")
