"""What Bascule weighs: the packages and megabytes of a base install, and how soon it is there.

    python benchmarks/footprint.py [--rounds 9]

Builds the wheel, installs it into a fresh environment as a user would, counts, and measures there: `import bascule`
and `bascule --help` against an interpreter that does nothing, how soon `bascule up` answers a probe, and what it holds
in memory when nobody asks it anything. Aims: 35 packages, 380 MB, 0.15 s, 0.3 s; 0.3 s, 150 MB. The packages
come from the registry that uv is set up with; without one a line says so, and this interpreter is measured instead.
Not a test: nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = {
    "python -c pass": ["-c", "pass"],
    "import bascule": ["-c", "import bascule"],
    "bascule --version": ["-m", "bascule", "--version"],
    "bascule --help": ["-m", "bascule", "--help"],
    "bascule run --help": ["-m", "bascule", "run", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        interpreter = install(Path(scratch))
        if interpreter is None:
            interpreter = Path(sys.executable)
        else:
            weigh(interpreter)
        wait(interpreter, rounds)
        if Path("/proc/self/smaps_rollup").exists():
            serve(interpreter, Path(scratch) / "project", max(rounds // 2, 1))


def install(folder: Path) -> Path | None:
    """Install the wheel into a fresh environment; None, with a line that says why, when that cannot be done."""
    interpreter = folder / "venv" / "bin" / "python"
    for words in (
        ["build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)],
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(interpreter), str(folder / "*.whl")],
    ):
        words[-1:] = [str(path) for path in folder.glob("*.whl")] if words[-1].endswith("*.whl") else words[-1:]
        try:
            done = subprocess.run([uv(), *words], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            print("skipped: size and packages (there is no uv; pip install uv)\n")
            return None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
            print(f"skipped: size and packages (uv {words[0]} failed: {reason[:100]})\n")
            return None
    return interpreter


def uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else "uv"


def weigh(interpreter: Path) -> None:
    """Print the number of packages, their size on disk with byte code, and the largest."""
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([interpreter, "-c", program], capture_output=True, text=True, check=True).stdout.strip())
    sizes = {entry.name: size(entry) for entry in site.iterdir()}
    packages = sum(name.endswith(".dist-info") for name in sizes)
    bytecode = sum(path.stat().st_size for path in site.rglob("*.pyc"))
    largest = sorted(sizes.items(), key=lambda one: -one[1])[:4]
    rest = sum(sizes.values()) - bytecode
    print(f"base install: {packages} packages, {rest / 1e6:.0f} MB, and {bytecode / 1e6:.0f} MB of byte code")
    print("largest: " + ", ".join(f"{name} {amount / 1e6:.0f} MB" for name, amount in largest) + "\n")


def size(entry: Path) -> int:
    if entry.is_file():
        return entry.stat().st_size
    return sum(path.stat().st_size for path in entry.rglob("*") if path.is_file() and not path.is_symlink())


def wait(interpreter: Path, rounds: int) -> None:
    """Print how long each takes, in turns, so that a busy moment is shared."""
    environment = environment_of(interpreter)
    taken: dict[str, list[tuple[float, float]]] = {title: [] for title in WORK}
    for n in range(rounds + 1):
        for title, words in WORK.items():
            found = spent([str(interpreter), *words], environment)
            if n:  # the first round fills the page cache
                taken[title].append(found)
    print(f"{'':22}{'wall ms':>9}{'CPU ms':>9}{'CPU above nothing':>19}   median of {rounds}")
    nothing = statistics.median(cpu for _, cpu in taken["python -c pass"])
    for title, times in taken.items():
        wall, cpu = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        print(f"{title:22}{wall:9.0f}{cpu:9.0f}{cpu - nothing * 1e3:19.0f}")


def serve(interpreter: Path, project: Path, rounds: int) -> None:
    """Print how soon `bascule up` answers, and the memory of its processes at rest."""
    environment = environment_of(interpreter)
    made = f"from bascule.history import Workspace; Workspace.create({str(project)!r}).close()"
    subprocess.run([interpreter, "-c", made], check=True, env=environment)
    answered, page, every = [], [], []
    for n in range(rounds + 1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [str(interpreter), "-m", "bascule", "up", "--port", str(port), "--project", str(project)]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        try:
            while True:
                try:
                    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    asked.request("GET", "/health")
                    asked.getresponse().read()
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit("bascule up ended at once")
                    time.sleep(0.005)
            taken = time.perf_counter() - begun
            time.sleep(3)
            if n:
                answered.append(taken)
                page.append(memory(process.pid, "Rss"))
                every.append(sum(memory(one, "Pss") for one in family(process.pid)))
        finally:
            process.terminate()
            process.wait(30)
    print(f"\nbascule up answers after {statistics.median(answered):.2f} s (median of {rounds})")
    print(
        f"at rest: {statistics.median(page):.0f} MB resident, "
        f"{statistics.median(every):.0f} MB with the inference worker, shared pages counted once"
    )


def family(process: int) -> list[int]:
    """Return a process and all below it."""
    below = [int(one) for path in Path(f"/proc/{process}/task").glob("*/children") for one in path.read_text().split()]
    return [process, *(found for one in below for found in family(one))]


def memory(process: int, kind: str) -> float:
    """Return the megabytes of a process, resident (Rss) or its share of them (Pss)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:"))


def environment_of(interpreter: Path) -> dict[str, str]:
    """Return the variables to run in: without PYTHONPATH the installed package is measured, not this folder."""
    installed = interpreter != Path(sys.executable)
    return {name: value for name, value in os.environ.items() if not (installed and name == "PYTHONPATH")}


def spent(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a process; CPU says the same on a machine that is busy otherwise."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd="/")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
