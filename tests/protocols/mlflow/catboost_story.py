"""Logs a CatBoost model that reads texts, with the full client of MLflow; tells what it answers for some rows."""

import json
import sys
import warnings

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier
from mlflow.models import infer_signature

import mlflow

warnings.simplefilter("ignore")
mlflow.set_tracking_uri(sys.argv[1])
rng = np.random.default_rng(0)
rows = pd.DataFrame({"x": rng.normal(size=300), "city": rng.choice(["Oslo", "Zürich", "nan"], 300)})
rows["desk"] = rng.integers(0, 9, 300)
label = ((rows.city == "Oslo") ^ (rows.x > 0) ^ (rows.desk == 3)).astype(int)
fitted = CatBoostClassifier(iterations=20, depth=4, verbose=0, allow_writing_files=False, thread_count=1)
fitted.fit(rows, label, cat_features=["city", "desk"])
with mlflow.start_run():
    mlflow.catboost.log_model(
        fitted,
        name="cats",
        signature=infer_signature(rows, label),
        input_example=rows.head(3),
        registered_model_name="cats",
        pip_requirements=[],
    )
asked = pd.DataFrame({"x": [0.1, -1.0, 0.4, 2.0], "city": ["Oslo", "Zürich", "nan", "unseen"], "desk": [3, 1, 2, 77]})
print(json.dumps(fitted.predict_proba(asked)[:, 1].tolist()))
