"""Models of Bascule's, loaded and asked by MLflow's own client; run in an environment of its own."""

from __future__ import annotations

import json
import sys
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

import mlflow


def main(address: str, name: str, rows: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(address)
    model = mlflow.pyfunc.load_model(f"models:/{name}@production")
    data = pd.DataFrame(json.loads(rows))
    try:
        refused = str(model.predict(data.drop(columns="carrier")))
    except (MlflowException, ValueError) as error:
        refused = str(error)
    version = mlflow.MlflowClient().get_model_version(name, "1")
    return {
        "predicted": model.predict(data).tolist(),
        "of_integers": model.predict(data.head(1).astype({"late": "int64"})).tolist(),
        "inputs": {one.name: str(one.type) for one in model.metadata.signature.inputs.inputs},
        "refused": "carrier" in refused,
        "imports": sorted({one.partition(".")[0] for one in sys.modules if one.startswith("bascule")}),
        "source": version.source,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
