"""scikit-learn: how diabetes goes on in a year, by a forest. Seeded, so that it comes out the same in every byte."""

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

rows = np.loadtxt("data/diabetes.csv", delimiter=",", skiprows=1)
x_train, x_test, y_train, y_test = train_test_split(rows[:, :-1], rows[:, -1], test_size=0.25, random_state=7)
model = RandomForestRegressor(n_estimators=60, min_samples_leaf=4, random_state=7).fit(x_train, y_train)
predicted = model.predict(x_test)
print(f"mean absolute error {mean_absolute_error(y_test, predicted):.2f}, R2 {r2_score(y_test, predicted):.3f}")
np.savetxt("predictions.csv", predicted, fmt="%.17g", header="predicted", comments="")
np.savez("importance.npz", importance=model.feature_importances_)
