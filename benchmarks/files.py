"""Many small files: add, unchanged status, checkout; beside hashing and copying alone, and DVC.

    python benchmarks/files.py [--files 100000] [--rounds 3] [--dvc DVC] [--no-peer] [--large MB]

The limits are a plain loop over the same files: for `add`, read and BLAKE3 every file and write its bytes into one file
that is synced; for `status`, read and hash every file, and beside it the bare walk with one `stat` a file; for `checkout`,
`cp -r`. DVC runs in an environment of its own: `python -m venv V && V/bin/pip install dvc`, then `--dvc V/bin/dvc`
(or DVC=V/bin/dvc); without it the script says that it was skipped. Each is measured as people wait (wall) and as it
works (processor seconds of the process and its children), the least of the rounds, one after the other in each round.
`--large` also cuts, adds and edits one file of so many megabytes.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from blake3 import blake3

from bascule.history import Workspace
from bascule.lake.filesets import FileSet
from bascule.lake.filesets.chunks import chunks

Taken = tuple[float, float]


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="bascule-files", dir=args.folder) as made:
        root = Path(made)
        size = generate(root / "data", args.files)
        print(
            f"{args.files:,} files, {size / 1e6:,.0f} MB, least of {args.rounds} rounds; wall and processor seconds\n"
        )
        taken: dict[str, list[Taken]] = {}
        for number in range(args.rounds):
            for name, work in chain(limits(root, number), bascule(root, number)):
                taken.setdefault(name, []).append(timed(work))
        if args.dvc:
            for name, work in dvc(root, args.dvc):
                taken.setdefault(name, []).append(timed(work))
        else:
            print("DVC was skipped: name it with --dvc (the script's first lines say how to install it).\n")
        report({name: (min(w for w, _ in all_), min(c for _, c in all_)) for name, all_ in taken.items()})
        if args.large:
            large(root, args.large)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dvc", default=os.environ.get("DVC", ""))
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--large", type=int, default=300, help="MB of one large file; 0 for none")
    parser.add_argument("--folder", help="where the files are made; the system's temporary folder if not given")
    args = parser.parse_args()
    if args.no_peer:
        args.dvc = ""
    if args.dvc:
        args.dvc = str(Path(shutil.which(args.dvc) or sys.exit(f"{args.dvc} is not there")).resolve())
    return args


def generate(folder: Path, count: int) -> int:
    rng, total = random.Random(7), 0
    for number in range(count):
        place = folder / f"class{number % 100:03}" / f"part{number // 100 % 10}"
        if number < 1000:
            place.mkdir(parents=True, exist_ok=True)
        data = rng.randbytes(rng.randint(500, 8000))
        (place / f"img_{number:06}.bin").write_bytes(data)
        total += len(data)
    return total


Work = tuple[str, Callable[[], object]]


def limits(root: Path, number: int) -> Iterator[Work]:
    data, packed, copy = root / "data", root / f"packed{number}", root / f"copy{number}"
    yield "hash and copy", lambda: hash_all(data, packed)
    yield "hash", lambda: hash_all(data, None)
    yield "walk", lambda: sum(one.stat(follow_symlinks=False).st_size for one in walk(str(data)))
    yield "cp -r", lambda: subprocess.run(["cp", "-r", data, copy], check=True)


def bascule(root: Path, number: int) -> Iterator[Work]:
    folder = root / f"bascule{number}"
    workspace = Workspace.create(folder)
    photos = lambda: FileSet(workspace, "photos")  # noqa: E731
    yield "bascule add", lambda: photos().add(root / "data")
    yield "bascule status", lambda: photos().status(root / "data")
    yield "bascule checkout", lambda: photos().checkout(folder / "out")
    yield "bascule read_many", lambda: sum(len(data) for _, data in photos().read_many())
    workspace.close()


def dvc(root: Path, program: str) -> Iterator[Work]:
    folder = root / "dvc"
    shutil.copytree(root / "data", folder / "data")

    def run(*words: str) -> Callable[[], object]:
        env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        return lambda: subprocess.run([program, *words, "-q"], cwd=folder, check=True, env=env)

    run("init", "--no-scm")()
    yield "dvc add", run("add", "data")
    yield "dvc status", run("status")
    (folder / "data").rename(root / "added")
    yield "dvc checkout", run("checkout")


def walk(folder: str) -> Iterator[os.DirEntry[str]]:
    below = [folder]
    while below:
        with os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    yield entry


def hash_all(folder: Path, into: Path | None) -> None:
    with open(into or os.devnull, "wb") as out:
        for entry in walk(str(folder)):
            handle = os.open(entry.path, os.O_RDONLY)
            data = os.read(handle, 1 << 20)
            os.close(handle)
            blake3(data).digest()
            if into:
                out.write(data)
        if into:
            out.flush()
            os.fsync(out.fileno())


def timed(work: Callable[[], object]) -> Taken:
    os.sync()  # nobody pays for what another one left to be written; for the same reason nothing is deleted before the end
    begun, used = time.perf_counter(), processor()
    work()
    return time.perf_counter() - begun, processor() - used


def processor() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)


LIMIT = {"add": "hash and copy", "status": "hash", "checkout": "cp -r", "read_many": "hash"}


def report(taken: dict[str, Taken]) -> None:
    print(f"{'':<20}{'wall s':>9}{'x limit':>9}{'cpu s':>9}{'x limit':>9}   limit")
    for name, (wall, cpu) in taken.items():
        limit = LIMIT.get(name.split()[-1]) if name.startswith(("bascule", "dvc")) else None
        if limit is None:
            print(f"{name:<20}{wall:>9.2f}{'':>9}{cpu:>9.2f}")
        else:
            of_wall, of_cpu = taken[limit]
            print(f"{name:<20}{wall:>9.2f}{wall / of_wall:>9.2f}{cpu:>9.2f}{cpu / of_cpu:>9.2f}   {limit}")
    apart = taken["hash"][0] + taken["cp -r"][0]
    print(f"bascule add takes {taken['bascule add'][0] / apart:.2f} times as long as `hash` and then `cp -r`")
    for work in ("add", "status", "checkout"):
        if f"dvc {work}" in taken:
            wall, cpu = (
                theirs / ours for theirs, ours in zip(taken[f"dvc {work}"], taken[f"bascule {work}"], strict=True)
            )
            print(f"{work}: DVC takes {wall:.1f} times as long, and {cpu:.1f} times the processor")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"the most memory that this process had: {peak:,.0f} MB")


def large(root: Path, megabytes: int) -> None:
    folder = root / "large"
    folder.mkdir()
    rng = random.Random(1)
    data = b"".join(rng.randbytes(1 << 20) for _ in range(megabytes))
    (folder / "file").write_bytes(data)
    cut, _ = timed(lambda: sum(1 for _ in chunks(io.BytesIO(data))))
    workspace = Workspace.create(root / "big")
    added, _ = timed(lambda: FileSet(workspace, "large").add(folder))
    middle = len(data) // 2
    (folder / "file").write_bytes(data[:middle] + b"a few bytes" + data[middle:])
    edited, _ = timed(lambda: FileSet(workspace, "large").add(folder))
    stored = FileSet(workspace, "large").add(folder)
    sizes = sorted(workspace.store.size(name) for name in workspace.store.digests())
    rate = len(data) / 1e6
    print(f"\none file of {rate:,.0f} MB: cut at {rate / cut:,.0f} MB/s, added at {rate / added:,.0f} MB/s")
    print(
        f"eleven bytes put into its middle: {(sum(sizes) - len(data)) / 1e6:,.2f} MB more in the store, {edited:.2f} s"
    )
    assert not stored.changed
    workspace.close()


if __name__ == "__main__":
    main()
