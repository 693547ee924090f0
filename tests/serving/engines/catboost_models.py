"""Run by an interpreter that has CatBoost: models, their own JSON, rows at their borders, and what they answer."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
from catboost import CatBoost

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
rows = rng.normal(size=(400, 4))
label = (rows[:, 0] * rows[:, 1] + rows[:, 2] > 0).astype(int)
holes = rows.copy()
holes[rng.random(rows.shape) < 0.05] = np.nan
made = []
SYMMETRIC, numbers, three = "SymmetricTree", rows[:, 0] * 3, label + (rows[:, 3] > 0)
for loss, wanted, kind, policy in (
    ("Logloss", label, "Probability", SYMMETRIC),
    ("MultiClass", three, "Probability", SYMMETRIC),
    ("RMSE", numbers, "RawFormulaVal", SYMMETRIC),
    ("Focal:focal_alpha=0.3;focal_gamma=1.5", label, "Probability", SYMMETRIC),
    ("MultiClassOneVsAll", three, "Probability", SYMMETRIC),
    ("Tweedie:variance_power=1.5", np.abs(numbers), "Exponent", SYMMETRIC),
    ("Expectile:alpha=0.3", numbers, "RawFormulaVal", SYMMETRIC),
    ("LogCosh", numbers, "RawFormulaVal", SYMMETRIC),
    ("Lq:q=3", numbers, "RawFormulaVal", SYMMETRIC),
    ("Logloss", label, "Probability", "Depthwise"),
    ("MultiClass", three, "Probability", "Lossguide"),
    ("RMSE", numbers, "RawFormulaVal", "Lossguide"),
):
    model = CatBoost(
        {
            "grow_policy": policy,
            "loss_function": loss,
            "iterations": 8,
            "depth": 3,
            "verbose": 0,
            "thread_count": 1,
            "allow_writing_files": False,
            "nan_mode": "Max" if loss == "RMSE" else "Min",
        }
    )
    model.fit(holes, wanted)
    model.save_model(str(folder / "model.json"), format="json")
    model.save_model(str(folder / "model.cbm"))
    told = json.loads((folder / "model.json").read_text())
    asked = []
    for feature in told["features_info"]["float_features"]:
        for border in feature["borders"] or []:
            near = np.float32(border)
            values = [float(near), np.nextafter(float(near), 9e9), np.nextafter(float(near), -9e9), np.nan, np.inf]
            values += [float(np.nextafter(near, np.float32(9e9))), float(np.nextafter(near, np.float32(-9e9)))]
            for value in values:
                row = rows[rng.integers(len(rows))].copy()
                row[feature["flat_feature_index"]] = value
                asked.append(row)
    answers = np.asarray(model.predict(np.array(asked), prediction_type=kind))
    made.append(
        {
            "model": told,
            "rows": [[repr(float(value)) for value in row] for row in asked],
            "answers": (answers[:, 1] if wanted is label else answers).tolist(),
            "file": base64.b64encode((folder / "model.cbm").read_bytes()).decode(),
        }
    )
(folder / "models.json").write_text(json.dumps(made))
