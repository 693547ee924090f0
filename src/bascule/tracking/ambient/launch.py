"""Starting a command that is watched, and turning its journal into a run's records."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
from blake3 import blake3

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.store import BlobStore
from bascule.tracking.code import capture_code
from bascule.tracking.runs import Run, recorded

CHILD = Path(__file__).parent / "child"
# Of what the command prints, so much is kept: the end, which is where results and errors stand.
KEPT_OUTPUT = 1 << 20


@dataclass(frozen=True)
class Tracked:
    """What a tracked command did.

    Attributes:
        run_id: its run.
        exit_code: as the command ended.
        inputs: files that it read, with their content's digest.
        outputs: files that it wrote, with their content's digest.
        params: how many parameters were noted.
        metrics: the last value of each metric.
        models: blobs of the models that it fitted.
        error: the exception that ended it, or None.
        duration_s: seconds.
    """

    run_id: str
    exit_code: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    params: int
    metrics: dict[str, float]
    models: tuple[str, ...]
    error: str | None
    duration_s: float


def track(
    workspace: Workspace, folder: Path, command: Sequence[str], branch: str, *, output: IO[bytes] | None = None
) -> Tracked:
    """Run a command as it is and record what it did. Its output goes where it would have gone.

    Args:
        folder: the project's folder: its code is captured, and paths below it are written relative to it.
        command: the program and its arguments.
        output: takes the command's standard output instead.

    Raises:
        InputError: when the command cannot be started. What the command itself does wrong is its exit code.
    """
    if not command:
        raise InputError("There is no command to track.", hint="For example: bascule track python train.py")
    journal = workspace.temporary_folder / f"track-{uuid.uuid4().hex[:12]}.jsonl"
    begun = time.monotonic()
    head = workspace.history.resolve(branch)
    code = capture_code(folder, workspace.store)
    with recorded(workspace, name=_name(command), kind="track", branch=branch, commit=head.id, code=code) as run:
        run.tags({"command": " ".join(command)})
        try:
            exit_code, printed = _execute(command, journal, output or sys.stdout.buffer)
            entries = list(_entries(journal))
            tracked = _record(run, workspace.store, folder, entries, exit_code, time.monotonic() - begun)
            run.tags({"output": workspace.store.put(printed), "exit_code": str(exit_code)})
            run.finish("done" if exit_code == 0 else "failed", tracked.error)
        finally:
            for left in journal.parent.glob(journal.name + "*"):
                left.unlink(missing_ok=True)
    return tracked


def _execute(command: Sequence[str], journal: Path, output: IO[bytes]) -> tuple[int, bytes]:
    path = os.pathsep.join(p for p in (str(CHILD), os.environ.get("PYTHONPATH", "")) if p)
    environment = {**os.environ, "PYTHONPATH": path, "BASCULE_JOURNAL": str(journal)}
    try:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise InputError(
            f"{command[0]!r} cannot be started: {error.strerror}.", hint="Write the command as in a shell."
        ) from error
    kept = bytearray()
    pairs = ((process.stdout, output), (process.stderr, sys.stderr.buffer))
    copies = [threading.Thread(target=_copy, args=(*pair, kept)) for pair in pairs]
    for copy in copies:
        copy.start()
    while True:
        try:
            exit_code = process.wait()
            break
        except KeyboardInterrupt:  # the terminal sent it to the command too: let it end in its own way
            continue
    for copy in copies:
        copy.join()
    return exit_code, bytes(kept[-KEPT_OUTPUT:])


def _copy(source: IO[bytes], sink: IO[bytes], kept: bytearray) -> None:
    while chunk := os.read(source.fileno(), 65_536):
        with contextlib.suppress(BrokenPipeError):
            sink.write(chunk)
            sink.flush()
        kept += chunk
        if len(kept) > 2 * KEPT_OUTPUT:
            del kept[:-KEPT_OUTPUT]
    source.close()


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    """Read the whole lines of a journal; a line that a killed process left half is not one."""
    try:
        text = journal.read_bytes()
    except FileNotFoundError:
        return
    for line in text.split(b"\n")[:-1]:
        with contextlib.suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line)


def _record(
    run: Run, store: BlobStore, folder: Path, entries: list[dict[str, Any]], exit_code: int, duration: float
) -> Tracked:
    params: dict[str, Any] = {}
    points: list[tuple[str, float, int]] = []
    touched: dict[str, dict[str, str]] = {"r": {}, "w": {}}
    models: list[str] = []
    error = None
    for entry in entries:
        match entry["kind"]:
            case "params":
                params.update(entry["values"])
            case "metric":
                points.append((entry["key"], entry["value"], entry["step"]))
            case "file":
                _touch(touched[entry["mode"]], Path(entry["path"]), folder)
            case "model":
                models.append(_model(run, store, Path(entry["path"]), entry["format"]))
            case "exception":
                error = entry["text"]
    inputs = {name: digest for name, digest in touched["r"].items() if name not in touched["w"]}
    for name, digest in inputs.items():
        run.reads(name, digest, size=_size(folder / name))
    for name, digest in touched["w"].items():
        run.writes(name, digest, size=_size(folder / name))
    run.params({key: value for key, value in params.items() if value is not None})
    run.metrics(points)
    metrics = {key: value for key, value, _ in points}
    return Tracked(
        run.id, exit_code, inputs, touched["w"], len(params), metrics, tuple(models), error, round(duration, 3)
    )


def _touch(names: dict[str, str], path: Path, folder: Path) -> None:
    """Note a file by its name below the project and the digest of what it holds now."""
    if not path.is_file() or path.suffix == ".py":  # code is in the snapshot
        return
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    with contextlib.suppress(OSError):
        names[name] = blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest()


def _model(run: Run, store: BlobStore, path: Path, form: str) -> str:
    digest = store.put_file(path)
    run.writes(f"model.{form}", digest, size=path.stat().st_size)
    return digest


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _name(command: Sequence[str]) -> str:
    """Return what people would call the command: its script or module, else the program."""
    for word in command[1:]:
        if not word.startswith("-"):
            return Path(word).name
    return Path(command[0]).name
