"""Files of the subject: those that a declared link means, and those that only its rows name by their exact path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bascule.catalog import actor
from bascule.history import Workspace
from bascule.lake.filesets.forgetting import ForgottenFiles, forget_files, paths_in
from bascule.lake.filesets.patterns import chosen
from bascule.lake.forgetting.looking import named_only_by
from bascule.project.erasing.contents import Sought, cleaned
from bascule.project.erasing.links import Subject

Patterns = Mapping[str, Sequence[str]]


def files_of(workspace: Workspace, subjects: Sequence[Subject], patterns: Patterns) -> Callable[[str, str], bool]:
    """Return what tells whether a path of a set is a subject's.

    Args:
        subjects: the tables whose rows may name files, with the subject's key there.
        patterns: the patterns that declared links mean, by set.
    """
    meant = {name: chosen(list(listed)) for name, listed in patterns.items() if listed}
    paths = {entry.path for _, entry in paths_in(workspace)}
    named: set[str] = set()
    for one in subjects:
        named |= named_only_by(workspace, one.table, one.key, paths)
    return lambda name, path: path in named or (name in meant and (meant[name] or bool)(path))


def remove(
    workspace: Workspace,
    belongs: Callable[[str, str], bool],
    soughts: Sequence[Sought] = (),
    *,
    dry_run: bool,
) -> ForgottenFiles:
    """Remove such files from every version of every set, and take the subjects out of what other files hold."""

    def clean(data: bytes) -> bytes:
        for sought in soughts:
            data = cleaned(data, sought) if sought.may_be_in(data) else data
        return data

    mine = lambda name, entry: belongs(name, entry.path)  # noqa: E731
    return forget_files(workspace, mine, clean=clean if soughts else None, dry_run=dry_run, author=actor())
