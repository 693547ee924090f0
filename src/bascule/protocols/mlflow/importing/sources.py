"""Which source a text names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bascule.errors import InputError
from bascule.protocols.mlflow.importing.records import Source

_HINT = "Name a server (http://host:5000), a database (sqlite:///mlflow.db) or an mlruns folder."


def open_source(text: str, roots: Sequence[Path] = ()) -> Source:
    """Return the source that a text names.

    Args:
        text: a server's address, `sqlite:///PATH`, an `mlruns` folder, the folder that one lies in, or a database file.
        roots: folders that artifacts may be read from besides those of the source.

    Raises:
        InputError: it names none that can be read.
    """
    parts = urlsplit(text)
    if parts.scheme in ("http", "https"):
        from bascule.protocols.mlflow.importing.server import ServerSource

        return ServerSource(text)
    if parts.scheme.startswith("sqlite"):
        return _database(Path(unquote(text.partition("///")[2].partition("?")[0])), roots)
    if parts.scheme == "file":
        return _local(Path(unquote(parts.path)), roots)
    if parts.scheme and len(parts.scheme) > 1 and not Path(text).exists():
        raise InputError(
            f"{parts.scheme}: is not read from here.",
            hint="Start a server over it, mlflow server --backend-store-uri …, and name its http address.",
        )
    return _local(Path(text), roots)


def _local(path: Path, roots: Sequence[Path]) -> Source:
    if path.is_file():
        return _database(path, roots)
    if not path.is_dir():
        raise InputError(f"There is nothing at {str(path)!r}.", hint=_HINT)
    from bascule.protocols.mlflow.importing.folder import META, FolderSource

    for folder in (path, path / "mlruns"):
        if any(one.name.isdecimal() for one in folder.glob(f"*/{META}") for one in (one.parent,)):
            return FolderSource(folder, roots)
    if (path / "mlflow.db").is_file():
        return _database(path / "mlflow.db", roots)
    raise InputError(f"There are no experiments of MLflow's in {str(path)!r}.", hint=_HINT)


def _database(path: Path, roots: Sequence[Path]) -> Source:
    from bascule.protocols.mlflow.importing.database import DatabaseSource

    return DatabaseSource(path, roots)
