"""How long `make demo` takes and how much memory it needs, all its processes together.

    python benchmarks/demo.py [--port 7490]

Runs `examples/flights/demo.py --exit` as it is and looks twice a second at the memory of every process it started:
the proportional set size, in which a page that three processes share counts a third in each. Aims: three minutes on
two cores. Processor time is told beside the wall's, for a machine that has other things to do. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

DEMO = Path(__file__).parents[1] / "examples" / "flights" / "demo.py"
LOOK_S = 0.5
GIB = 1 << 20  # kibibytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=7490)
    options = parser.parse_args()
    if not Path("/proc/self/smaps_rollup").exists():
        print("skipped: this system does not tell what its processes hold (/proc/PID/smaps_rollup)")
        return
    begun = time.monotonic()
    demo = subprocess.Popen(
        [sys.executable, str(DEMO), "--exit", "--port", str(options.port)], stdout=subprocess.PIPE, text=True
    )
    peak: list[tuple[int, int]] = [(0, 0)]
    watcher = threading.Thread(target=watch, args=(demo, peak), daemon=True)
    watcher.start()
    told = demo.communicate()[0]
    wall = time.monotonic() - begun
    watcher.join()
    if demo.returncode:
        sys.exit(f"The demo failed (exit {demo.returncode}):\n{told[-2000:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory, processes = max(peak)
    print(f"wall time       {wall:6.0f} s   (aim 180 s on two quiet cores; load average now {os.getloadavg()[0]:.1f})")
    print(f"processor time  {used.ru_utime + used.ru_stime:6.0f} s")
    print(
        f"peak memory     {memory / GIB:6.2f} GiB in {processes} processes, the largest {used.ru_maxrss / GIB:.2f} GiB"
    )
    print("\n" + told[told.find("What happened") :].partition("The page")[0].rstrip())


def watch(demo: subprocess.Popen[str], peak: list[tuple[int, int]]) -> None:
    """Keep the greatest memory in kibibytes, with how many processes held it, until the demo has ended."""
    while demo.poll() is None:
        held = [memory(process) for process in family(demo.pid)]
        peak.append(max(peak.pop(), (sum(held), len(held))))
        time.sleep(LOOK_S)


def family(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def memory(process: int) -> int:
    """Return the proportional set size of a process in kibibytes; 0 when it has ended."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.M)
    return int(match[1]) if match else 0


if __name__ == "__main__":
    main()
