"""Taking the files of runs and logged models: what a server would not give is asked for again, now and at a repeat."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import sleep

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.records import File, Unanswered, Unreachable
from bascule.protocols.mlflow.importing.report import Imported
from bascule.tracking.artifacts import Artifacts, confined

# The tag of what lacks files that a later import may bring.
LEFT = "bascule.import.left"
# How long is waited before what failed is asked for again, in seconds: once for all files of a run. When that brought
# nothing for some runs in a row, their storage is gone, and what fails is asked for once more without waiting.
WAITS = (0.2, 0.8)
IN_VAIN = 5
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Files:
    """Takes the files of one import, which are reported as they come or stay.

    Attributes:
        dry_run: count them only.
        in_vain: of how many in a row that lacked files none was brought by waiting.
    """

    artifacts: Artifacts
    report: Imported
    dry_run: bool
    in_vain: int = 0

    def take(self, files: Callable[[], Iterable[File]], place: str, name: str) -> bool:
        """Take files that are not here yet.

        Args:
            files: lists them, each time it is called.
            place: the folder that they come to.
            name: whose they are, in the report.

        Returns:
            False when some were left that another time may be given.
        """
        whole: dict[str, bool] = {}
        failed = self._round(files, place, name, whole)
        if failed:
            for wait in WAITS if self.in_vain < IN_VAIN else (0.0,):
                sleep(wait)
                failed = self._round(files, place, name, whole)
                if not failed:
                    break
            self.in_vain = self.in_vain + 1 if failed else 0
        for where, why in failed.items():
            self.report.leave("artifacts", why, where)
        return not failed and all(whole.values())

    def _round(
        self, files: Callable[[], Iterable[File]], place: str, name: str, whole: dict[str, bool]
    ) -> dict[str, str]:
        """Try the files that are not in `whole`, and put those there that need not be tried again.

        Returns:
            What was not answered: whose file, and why.
        """
        failed: dict[str, str] = {}
        try:
            for file in files():
                if file.path in whole:
                    continue
                told = file.path.encode(errors="backslashreplace").decode()  # a name of the disk's may be no UTF-8
                where = f"{name}: {told}"[:200]
                try:
                    whole[file.path] = self._take(file, f"{place}/{file.path}", where)
                except Unanswered as error:
                    failed[where] = error.message[:200]
        except Unreachable as error:
            told = f"{error.message} ({error.hint})" if error.hint else error.message
            if isinstance(error, Unanswered):
                failed[name] = told
            elif "" not in whole:
                whole[""] = True
                self.report.leave("artifacts", told, name)
        return failed

    def _take(self, file: File, place: str, where: str) -> bool:
        try:
            confined(place)
            here = None if self.dry_run else self.artifacts.size(place)
            if here is not None and here == file.size:
                return True
            self.report.bytes += (file.size or 0) if self.dry_run else self._put(file, place)
            self.report.files += 1
            return True
        except Unanswered:
            raise
        except (Unreachable, InputError) as error:
            self.report.leave("artifacts", error.message[:200], where)
            return True
        except OSError as error:
            if error.errno in _FULL:  # ours: nothing that comes after it fits either
                raise
            self.report.leave("artifacts", f"they cannot be read: {error.strerror}", where)
            return False

    def _put(self, file: File, place: str) -> int:
        with file.opened() as source:
            return self.artifacts.put(place, source)
