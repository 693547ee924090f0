"""The data of a run, as they were: found by digest, brought to where the command reads them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from blake3 import blake3

from bascule.errors import BasculeError, InputError
from bascule.history import Workspace
from bascule.lake.filesets import FileSet, file_sets
from bascule.project.reproducing.code import inside
from bascule.project.reproducing.recorded import Recorded
from bascule.project.reproducing.result import Term
from bascule.tracking.ambient.contents import UNKNOWN

CHOICES = ("recorded", "present")
KINDS = ("tables/", "files/", "features/", "models/", "labels/", "training_sets/")
GONE = "not there"
_SHOWN = 3
DIGEST = 64
DATABASE = re.compile(r"^(sqlite|duckdb)(\+\w+)?:///")


def bring(
    workspace: Workspace, recorded: Recorded, project: Path, folder: Path, choice: str, notes: list[str]
) -> list[Term]:
    """Put the input files of a run below a folder, and return a term for each that is known by its content.

    A file is taken from the project, the store, or a set of files at the run's commit: wherever its digest is found.
    Folders, databases and patterns are copied as they are; what was read of them is compared afterwards (`read_again`).

    Args:
        folder: the restored project.
        choice: `recorded` refuses data that are not as they were; `present` takes what is here.

    Raises:
        InputError: data are not as they were, and cannot be found as they were.
    """
    terms: list[Term] = []
    sets = _Sets(workspace, recorded.row["commit_id"])
    inputs = [one for one in recorded.inputs if not is_of_lake(one[0], project)]
    files = {path: version for path, version in inputs if is_file(path, version, project)}
    for path, version in files.items():
        terms.append((f"data {path}", version, _placed(workspace, sets, path, version, project, folder)))
    for path, _ in inputs:
        if path not in files and not _copied(path, project, folder, files):
            notes.append(f"{path} lies outside and is read as it is now.")
    wrong = [(name.removeprefix("data "), then, now) for name, then, now in terms if then != now]
    if wrong and choice == "recorded":
        raise _refused(recorded, wrong)
    return terms


def read_again(then: Recorded, now: Recorded, project: Path) -> Iterator[Term]:
    """Yield a term for each input that is not a single file: the version that was read then, and now."""
    read = dict(now.inputs)
    for path, version in then.inputs:
        if is_of_lake(path, project) or not is_file(path, version, project):
            yield f"data {path}", version, read.get(path, "not read")


def is_file(path: str, version: str, project: Path) -> bool:
    """Whether an input is one file that is known by its content, and no folder, pattern, query or address."""
    known = len(version) == DIGEST or version.startswith(UNKNOWN)
    plain = known and "://" not in path and "#" not in path and not set("*?[") & set(path)
    return plain and not (project / path).is_dir()


def _copied(path: str, project: Path, folder: Path, files: Collection[str]) -> bool:
    """Copy what an address or a pattern means below the project, as it is; False when it lies elsewhere.

    Args:
        files: what is there already, as it was: a database that was read by a query, too.
    """
    name = path.partition("#")[0]
    name = DATABASE.sub("", name).removeprefix("file://")
    if "://" in name:
        return False
    place = Path(name)
    if place.is_absolute():
        return False
    found = sorted(project.glob(name)) if set("*?[") & set(name) else [project / name]
    for source in found:
        name = source.relative_to(project).as_posix()
        if name in files:
            continue
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git", ".bascule"))
        elif source.is_file():
            shutil.copy2(source, target)
    return True


def is_of_lake(path: str, project: Path) -> bool:
    """Whether a path names an object of the history, and not a file of the project."""
    return path.startswith(KINDS) and not (project / path).is_file()


def digest(path: Path) -> str | None:
    """Return the digest of a file's content; None when it is none."""
    try:
        return blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest() if path.is_file() else None
    except OSError:
        return None


def _placed(workspace: Workspace, sets: _Sets, path: str, version: str, project: Path, folder: Path) -> str:
    """Bring one file; return the digest of what the command will read."""
    if Path(path).is_absolute():  # it is read where it lies
        return digest(Path(path)) or GONE
    target, now = inside(folder, path), digest(project / path)
    if digest(target) == version:
        return version
    target.parent.mkdir(parents=True, exist_ok=True)
    if now == version:
        shutil.copy2(project / path, target)
        return version
    if len(version) == DIGEST and workspace.store.has(version):
        target.write_bytes(workspace.store.get(version))
        return version
    if sets.write(version, target):
        return version
    if now is not None:
        shutil.copy2(project / path, target)
    return now or GONE


class _Sets:
    """The files of all sets of a commit, by digest. Their manifests are read when the first one is asked for."""

    def __init__(self, workspace: Workspace, commit: str | None) -> None:
        self._workspace, self._commit = workspace, commit
        self._known: dict[str, tuple[str, str]] | None = None

    def write(self, version: str, target: Path) -> bool:
        """Write the file of a digest; False when no set has it."""
        if self._known is None:
            self._known = dict(self._listed())
        if version not in self._known:
            return False
        name, path = self._known[version]
        with FileSet(self._workspace, name, at=self._commit).open(path) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
        return True

    def _listed(self) -> Iterator[tuple[str, tuple[str, str]]]:
        if self._commit is None:
            return
        try:
            for name, _ in file_sets(self._workspace, self._commit):
                for one in FileSet(self._workspace, name, at=self._commit).list():
                    yield one.digest, (name, one.path)
        except BasculeError:  # the state has expired: its files are not found here, and that is told with their names
            return


def _refused(recorded: Recorded, wrong: list[tuple[str, str, str]]) -> InputError:
    told = [
        f"{path} was changed while the run read it"
        if then.startswith(UNKNOWN)
        else f"{path} was {then[:16]} and is {now if now == GONE else now[:16]}"
        for path, then, now in wrong[:_SHOWN]
    ] + ([f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else [])
    return InputError(
        f"The data of run {recorded.id} are not as they were: {'; '.join(told)}. The former content is neither in the "
        "project nor in the store nor in a set of files at its commit.",
        hint="Bring the file back to its place and repeat, or run with what is here and be told what comes of it: "
        "--data present. What `bascule files add` keeps is found by itself.",
    )
