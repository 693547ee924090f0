"""What tracking costs: a script of scikit-learn under `bascule track` against the bare script, and points a second.

    python benchmarks/ambient.py [--seconds 60] [--rounds 3] [--script models|files]

The script does the same each time, so often that the bare one takes about so many seconds: `models` trains and prints,
`files` reads and writes many files besides, and says 100 metrics a second where it is tracked. Both take turns; wall time
is what a person waits, CPU time of all processes tells of it what a busy machine blurs. To reach: 2 % and 0.3 s.
Modules are compiled once, as where Bascule is installed, whatever PYTHONDONTWRITEBYTECODE says here.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bascule.capture import module
from bascule.history import Workspace

SCRIPT = """
import csv, sys
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

x, y = make_classification(4000, 20, random_state=0)
with open("data.csv", "w", newline="") as out:
    csv.writer(out).writerows(x[:500])
with open("data.csv") as source:
    rows = sum(1 for _ in source)
a, b, c, d = train_test_split(x, y, random_state=0)
for n in range(int(sys.argv[1])):
    forest = RandomForestClassifier(60, max_depth=8, random_state=n).fit(a, c)
    linear = LogisticRegression(C=0.1 + n).fit(a, c)
    print(n, roc_auc_score(d, forest.predict_proba(b)[:, 1]), roc_auc_score(d, linear.predict_proba(b)[:, 1]))
with open("end.txt", "w") as out:
    out.write("done")
"""


# Each turn is about a second: ten files are read, one is written, and a hundred points are said.
FILES = """
import sys
from pathlib import Path
import numpy as np
from sklearn.ensemble import RandomForestClassifier
try:
    import bascule_run
    run = bascule_run.active()
except ImportError:
    run = None

Path("in").mkdir(exist_ok=True), Path("out").mkdir(exist_ok=True)
for n in range(300):
    np.save(f"in/{n}.npy", np.random.default_rng(n).normal(size=(100, 20)))
for n in range(int(sys.argv[1])):
    x = np.vstack([np.load(f"in/{(10 * n + k) % 300}.npy") for k in range(10)])
    fitted = RandomForestClassifier(250, max_depth=8, random_state=n).fit(x, x[:, 0] > 0)
    for step in range(100):
        if run is not None:
            run.log(step=100 * n + step, loss=1 / (step + 1))
    Path(f"out/{n}.txt").write_text(str(fitted.score(x, x[:, 0] > 0)))
"""
SCRIPTS = {"models": SCRIPT, "files": FILES}


AS_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall and CPU seconds of a command with all its children."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, cwd=folder, env=AS_INSTALLED, check=True, **silent)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def overhead(seconds: float, rounds: int, folder: Path, script: str) -> None:
    (folder / "train.py").write_text(SCRIPTS[script])
    Workspace.create(folder).close()
    bare = [sys.executable, "train.py"]
    track = [sys.executable, "-m", "bascule", "track", *bare]
    none, ten = (min(timed([*bare, str(n)], folder)[0] for _ in range(2)) for n in (0, 10))
    fits = str(max(1, round((seconds - none) / ((ten - none) / 10))))
    timed([*track, "0"], folder)
    pairs = [(timed([*bare, fits], folder), timed([*track, fits], folder)) for _ in range(rounds)]
    print(f"{'':<24}{'bare s':>10}{'tracked s':>11}{'more s':>9}{'more %':>9}")
    for place, name in ((0, "wall"), (1, "CPU, all processes")):
        without = statistics.median(one[place] for one, _ in pairs)
        more = statistics.median(other[place] - one[place] for one, other in pairs)
        print(f"{name:<24}{without:>10.2f}{without + more:>11.2f}{more:>9.2f}{100 * more / without:>9.1f}")
    allowed = 0.02 * statistics.median(one[0] for one, _ in pairs) + 0.3
    print(f"allowed are {allowed:.2f} s more of wall time; {rounds} rounds, {fits} turns each")


def points(folder: Path) -> None:
    os.chdir(folder)
    run = module("bascule_run").start("points", follow=False)
    values = [0.5] * 1_000_000

    def one() -> None:
        for step in range(200_000):
            run.log(step=step, loss=0.5)

    def five() -> None:
        for step in range(200_000):
            run.log(step=step, loss=0.5, accuracy=0.5, rate=0.1, norm=2.0, seconds=0.3)

    print(f"\n{'explicit API':<34}{'points/s wall':>16}{'points/s CPU':>16}")
    for name, count, work in (
        ("run.log, one metric a call", 200_000, one),
        ("run.log, five metrics a call", 1_000_000, five),
        ("run.metrics, a million a call", 1_000_000, lambda: run.metrics("curve", values)),
    ):
        walls, cpus = [], []
        for _ in range(5):
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        print(f"{name:<34}{count / statistics.median(walls):>16,.0f}{count / statistics.median(cpus):>16,.0f}")
    run.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script", choices=list(SCRIPTS), default="models")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        overhead(asked.seconds, asked.rounds, Path(folder), asked.script)
        points(Path(folder))


if __name__ == "__main__":
    main()
