"""An ordinary training script, as one finds it. It knows nothing of Bascule, and `bascule track` records it."""

import csv
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

X, y = [], []
for file in sorted(Path("data").glob("flights-*.csv")):
    with open(file, newline="") as rows:
        for row in csv.DictReader(rows):
            if row["arr_delay"]:
                X.append([float(row["hour"]), float(row["distance"]), float(row["day"]), ord(row["origin"][0])])
                y.append(float(row["arr_delay"]) > 15)

X, y = np.array(X), np.array(y)
cut = int(0.8 * len(y))  # the files are in the order of time

model = HistGradientBoostingClassifier(max_iter=50, learning_rate=0.1, random_state=7)
model.fit(X[:cut], y[:cut])
probability = model.predict_proba(X[cut:])[:, 1]

print(f"AUC {roc_auc_score(y[cut:], probability):.4f}, log loss {log_loss(y[cut:], probability):.4f}")
