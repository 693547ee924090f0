"""Logs models as pickles with the full client of MLflow: a scikit-learn one, and a Python function of one's own."""

import json
import sys
import warnings

import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

import mlflow

warnings.simplefilter("ignore")
mlflow.set_tracking_uri(sys.argv[1])
rows = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)), columns=["a", "b"])
label = (rows.a + rows.b > 0).astype(int)
fitted = LogisticRegression().fit(rows, label)


class Weighted(mlflow.pyfunc.PythonModel):
    """What only MLflow can load."""

    def predict(self, context, model_input: pd.DataFrame):
        """Return a number a row."""
        return model_input.a * 2 + model_input.b


with mlflow.start_run():
    mlflow.sklearn.log_model(
        fitted,
        name="clf",
        signature=infer_signature(rows, label),
        serialization_format="cloudpickle",
        registered_model_name="clf",
        pip_requirements=[],
    )
    mlflow.pyfunc.log_model(
        python_model=Weighted(),
        name="own",
        signature=infer_signature(rows, rows.a),
        registered_model_name="own",
        pip_requirements=[],
    )
print(json.dumps({"clf": fitted.predict_proba(rows[:3])[:, 1].tolist(), "own": (rows.a * 2 + rows.b)[:3].tolist()}))
