"""LightGBM: benign or malignant, by boosted trees. Its randomness is seeded and its threads are counted."""

import json

import lightgbm
import numpy as np
from sklearn.metrics import log_loss, roc_auc_score

rows = np.loadtxt("data/breast_cancer.csv", delimiter=",", skiprows=1)
order = np.random.default_rng(7).permutation(len(rows))
test, train = rows[order[:140]], rows[order[140:]]
settings = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "seed": 7,
    "deterministic": True,
    "num_threads": 2,
    "verbosity": -1,
}
valid = lightgbm.Dataset(test[:, :-1], test[:, -1])
history: dict = {}
model = lightgbm.train(
    settings,
    lightgbm.Dataset(train[:, :-1], train[:, -1]),
    num_boost_round=60,
    valid_sets=[valid],
    callbacks=[lightgbm.record_evaluation(history)],
)
predicted = model.predict(test[:, :-1])
scores = {"auc": roc_auc_score(test[:, -1], predicted), "log_loss": log_loss(test[:, -1], predicted)}
print(f"AUC {scores['auc']:.4f}")
with open("scores.json", "w", encoding="utf-8") as out:
    json.dump(scores, out)
with open("model.txt", "w", encoding="utf-8") as out:
    out.write(model.model_to_string())
