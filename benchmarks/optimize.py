"""What answers a request of one row, and of a thousand, the fastest, among those that answer as the model's own library.

    python benchmarks/optimize.py [SECONDS_PER_MODEL]

Models of a hundred trees on thirty numbers, by LightGBM, XGBoost and two of scikit-learn, and a pipeline. Measured in turn in one
run, one thread (LightGBM's runtime takes two for many rows): the library as people call it (`predict_proba`, a matrix of one row); Bascule's runtime of the library (`native`); the
engines that `bascule optimize` tries; and as peers treelite with its own readers and tl2cgen's compiled library, where they are installed
(`pip install treelite tl2cgen`, and a C compiler). The last column is the share of rows at the model's own thresholds, and one step
beside them, on which each answers otherwise than the library by more than a millionth: what is not 0 must not be used.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from skops import io as skops

from bascule.errors import BasculeError
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.reading import forest_of
from bascule.serving.optimizing import Candidate, candidates, rows_of
from bascule.training import Field, ModelBundle, Output, Signature

WIDTH, TREES, ROWS = 30, 100, 20_000
TOLERANCE = 1e-6
TURNS = 7
NAMES = ("compiled", "onnx", "onnx-float32", "treelite")
One, Many = Callable[[list[float]], Any], Callable[[np.ndarray], np.ndarray]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, WIDTH))
    label = (rows[:, 0] * rows[:, 1] + rows[:, 2] + rng.normal(size=ROWS) > 0).astype(int)
    print(
        f"{TREES} trees, {WIDTH} numbers; median of {TURNS} turns; times to the library as people call it in brackets"
    )
    for name, make in MODELS.items():
        bundle, call, peers = make(rows, label)
        report(name, bundle, call, peers, rows, seconds)


def report(
    name: str, bundle: ModelBundle, call: Many, peers: dict[str, tuple[One, Many]], rows: np.ndarray, seconds: float
) -> None:
    forest: Any
    try:
        forest = forest_of(bundle)
    except Unfit as why:
        forest = why
    ways: dict[str, tuple[One, Many]] = {"as people call it": (lambda row: call(np.array([row])), call)}
    for one in candidates(bundle, forest, NAMES):
        if isinstance(one, Candidate):
            try:
                runtime = one.load()
            except BasculeError:  # ONNX Runtime lacks some operators in float64
                continue
            ways[one.name] = runtime.predict_one, runtime.predict
    ways |= peers
    with np.errstate(all="ignore"):
        trees = forest if not isinstance(forest, Unfit) else None
        groups = rows_of(bundle.signature, trees, rows[:500], ways["native"][1])
        edges = next(group.rows for group in groups if group.name == "thresholds")
        told = np.asarray(ways["native"][1](edges))
    times = measured(ways, rows, seconds)
    print(f"\n{name}\n{'':22}{'1 row':>22}{'1,000 rows':>24}{'otherwise at thresholds':>26}")
    base = times["as people call it"]
    for way, (single, thousand) in times.items():
        with np.errstate(all="ignore"):
            off = np.abs(np.asarray(ways[way][1](edges)).reshape(told.shape) - told) > TOLERANCE
        share = f"{off.reshape(len(edges), -1).any(axis=1).mean():.2%}"
        left = f"{single:.1f} µs [{base[0] / single:.0f}x]"
        print(f"{way:22}{left:>22}{f'{thousand / 1e3:.2f} ms [{base[1] / thousand:.1f}x]':>24}{share:>26}")


def measured(ways: dict[str, tuple[One, Many]], rows: np.ndarray, seconds: float) -> dict[str, tuple[float, float]]:
    """Return each way's time for one row and for a thousand, in microseconds: the median over turns of medians."""
    singles, thousand = [row.tolist() for row in rows[:1_000]], np.ascontiguousarray(rows[:1_000])
    each = seconds / TURNS / len(ways) / 2
    found: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in ways}
    for turn in range(TURNS + 1):
        for way, (one, many) in ways.items():
            taken = median_of(one, singles, each), median_of(many, [thousand], each)
            if turn:  # the first warms up
                for held, value in zip(found[way], taken, strict=True):
                    held.append(value)
    return {way: (statistics.median(a), statistics.median(b)) for way, (a, b) in found.items()}


def median_of(ask: Callable[[Any], Any], requests: list[Any], seconds: float) -> float:
    clock, times, end, place = time.perf_counter_ns, [], time.perf_counter_ns() + int(seconds * 1e9), 0
    while True:
        request = requests[place % len(requests)]
        place += 1
        began = clock()
        ask(request)
        ended = clock()
        times.append(ended - began)
        if ended > end and len(times) >= 3:
            return statistics.median(times) / 1e3


def signature() -> Signature:
    inputs = tuple(Field(name=f"x{k}", type="double") for k in range(WIDTH))
    return Signature(inputs=inputs, output=Output(task="binary", classes=("0", "1")))


def positive(estimator: Any) -> Many:
    return lambda rows: estimator.predict_proba(rows)[:, 1]


def of_lightgbm(rows: np.ndarray, label: np.ndarray) -> Any:
    import lightgbm

    fitted = lightgbm.LGBMClassifier(n_estimators=TREES, num_leaves=31, n_jobs=1, verbose=-1).fit(rows, label)
    text = fitted.booster_.model_to_string()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.txt"
        path.write_text(text)
        peers = treelite_peers(lambda treelite: treelite.frontend.load_lightgbm_model(path))
    return ModelBundle("lightgbm", text.encode(), signature()), positive(fitted), peers


def of_xgboost(rows: np.ndarray, label: np.ndarray) -> Any:
    import xgboost

    fitted = xgboost.XGBClassifier(n_estimators=TREES, max_depth=6, n_jobs=1).fit(rows, label)
    booster = fitted.get_booster()
    peers = treelite_peers(lambda treelite: treelite.frontend.from_xgboost(booster))
    return ModelBundle("xgboost", bytes(booster.save_raw("ubj")), signature()), positive(fitted), peers


def of_sklearn(estimator: Any) -> Callable[[np.ndarray, np.ndarray], Any]:
    def make(rows: np.ndarray, label: np.ndarray) -> Any:
        fitted = estimator.fit(rows, label)
        peers = (
            {} if hasattr(fitted, "steps") else treelite_peers(lambda treelite: treelite.sklearn.import_model(fitted))
        )
        return ModelBundle("skops", skops.dumps(fitted), signature()), positive(fitted), peers

    return make


def treelite_peers(read: Callable[[Any], Any]) -> dict[str, tuple[One, Many]]:
    """Return treelite's interpreter and tl2cgen's compiled library, as far as they are here and can be made."""
    found: dict[str, tuple[One, Many]] = {}
    try:
        import treelite
        import treelite.gtil

        model = read(treelite)

        def walk(rows: np.ndarray) -> np.ndarray:
            answer = np.asarray(treelite.gtil.predict(model, rows.astype(kind), nthread=1), dtype=np.float64)
            return answer.reshape(len(rows), -1)[:, -1]

        kind = np.float32 if model.input_type == "float32" else np.float64
        found["treelite, own reader"] = (lambda row: walk(np.array([row]))), walk
    except Exception as error:
        print(f"treelite is skipped: {type(error).__name__}: {str(error)[:100]}")
        return found
    try:
        import tl2cgen

        library = Path(tempfile.mkdtemp()) / "forest.so"
        tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 2})
        predictor = tl2cgen.Predictor(library, nthread=1)

        def compiled(rows: np.ndarray) -> np.ndarray:
            answer = predictor.predict(tl2cgen.DMatrix(rows.astype(kind), dtype=np.dtype(kind).name))
            return np.asarray(answer, dtype=np.float64).reshape(len(rows), -1)[:, -1]

        found["tl2cgen"] = (lambda row: compiled(np.array([row]))), compiled
    except Exception as error:
        print(f"tl2cgen is skipped: {type(error).__name__}: {str(error)[:100]}")
    return found


def estimators() -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    histograms = HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=31, early_stopping=False)
    forest = RandomForestClassifier(TREES, max_depth=8, n_jobs=1, random_state=0)
    again = RandomForestClassifier(TREES, max_depth=8, n_jobs=1, random_state=0)
    return {
        "scikit-learn, histograms": histograms,
        "scikit-learn, random forest": forest,
        "scikit-learn, imputer + scaler + random forest": make_pipeline(SimpleImputer(), StandardScaler(), again),
    }


MODELS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "LightGBM": of_lightgbm,
    "XGBoost": of_xgboost,
    **{name: of_sklearn(one) for name, one in estimators().items()},
}


if __name__ == "__main__":
    main()
