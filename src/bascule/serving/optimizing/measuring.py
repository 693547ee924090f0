"""How fast engines are: requests of each size, one engine after the other in small turns, so that noise hits all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from bascule.serving.engines.loading import Engine
from bascule.serving.optimizing.found import Figures
from bascule.serving.runtime import Runtime
from bascule.training import ModelBundle

TURNS = 5
FEWEST = 5
KEPT = 0.9
MOST_CALLS = 200_000
MEMORY_SECONDS = 60


def measured(
    engines: Mapping[str, Runtime],
    rows: np.ndarray,
    sizes: Sequence[int],
    seconds: float,
    tell: Callable[[str], None],
) -> dict[str, tuple[Figures, ...]]:
    """Return how fast each engine is at each size.

    Args:
        rows: real rows, which requests are taken from in turn.
        seconds: for all of it.
        tell: hears what is measured.
    """
    found: dict[str, list[Figures]] = {name: [] for name in engines}
    each = seconds / max(1, len(sizes) * len(engines) * TURNS)
    for size in sizes:
        tell(f"measuring requests of {size:,} rows")
        requests = _requests(rows, size)
        times: dict[str, list[int]] = {name: [] for name in engines}
        for turn in range(TURNS):
            for name, engine in engines.items():
                _turn(engine, requests, each, times[name], warm=not turn)
        for name, taken in times.items():
            held = np.sort(np.array(taken, dtype=np.float64)) / 1e3
            found[name].append(
                Figures(
                    rows=size,
                    p50_us=float(np.median(held)),
                    p99_us=float(np.quantile(held, 0.99)),
                    typical_us=float(held[: max(1, int(len(held) * KEPT))].mean()),
                    throughput=float(size * len(held) / (held.sum() / 1e6)),
                    calls=len(held),
                )
            )
    return {name: tuple(held) for name, held in found.items()}


def _requests(rows: np.ndarray, size: int) -> list[list[float]] | list[np.ndarray]:
    if size == 1:
        return [row.tolist() for row in rows[:1_000]]
    repeated = rows[np.arange(max(len(rows), size)) % len(rows)]
    starts = range(0, len(repeated) - size + 1, size)
    return [np.ascontiguousarray(repeated[start : start + size]) for start in list(starts)[:50]]


def _turn(
    engine: Runtime,
    requests: list[list[float]] | list[np.ndarray],
    seconds: float,
    times: list[int],
    *,
    warm: bool,
) -> None:
    clock = time.perf_counter_ns
    ask: Callable[..., object] = engine.predict_one if isinstance(requests[0], list) else engine.predict
    if warm:
        for request in requests[:3]:
            ask(request)
    end, place, count = clock() + int(seconds * 1e9), 0, len(requests)
    while len(times) < MOST_CALLS:
        request = requests[place]
        place = (place + 1) % count
        began = clock()
        ask(request)
        ended = clock()
        times.append(ended - began)
        if ended > end and len(times) >= FEWEST:
            break


_CHILD = """
import sys
from pathlib import Path
import msgspec, numpy as np
from bascule.serving.engines.loading import Engine, load_engine
from bascule.training import unpack_model
def held():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
folder = Path(sys.argv[1])
bundle = unpack_model((folder / "bundle").read_bytes())
engine = msgspec.json.decode((folder / "engine").read_bytes(), type=Engine)
rows = np.load(folder / "rows.npy", allow_pickle=False)
file = folder / "artifact"
data = file.read_bytes() if file.exists() else bundle.model
before = held()
runtime = load_engine(engine, bundle, data)
runtime.predict_one(rows[0].tolist())
runtime.predict(rows)
print(held() - before)
"""


def memory_of(
    packed: bytes, bundle: ModelBundle, engine: Engine, artifact: bytes | None, rows: np.ndarray
) -> int | None:
    """Return what an engine adds to the memory of a new process that has NumPy; None where the system does not say.

    Args:
        packed: the bundle's file.
    """
    if not Path("/proc/self/status").exists():
        return None
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "bundle").write_bytes(packed)
        (folder / "engine").write_bytes(msgspec.json.encode(engine))
        if artifact is not None:
            (folder / "artifact").write_bytes(artifact)
        np.save(folder / "rows.npy", rows)
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, place],
                capture_output=True,
                text=True,
                timeout=MEMORY_SECONDS,
                check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
            )
            return max(0, int(done.stdout.split()[-1]))
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
            return None
