"""Write the data of the three scripts: real measurements that come with scikit-learn, as CSV files below data/.

python prepare.py [FOLDER]
"""

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits


def main(folder: Path) -> None:
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, load in (("diabetes", load_diabetes), ("breast_cancer", load_breast_cancer), ("digits", load_digits)):
        found = load()
        with open(data / f"{name}.csv", "w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([*(one.replace(" ", "_") for one in found.feature_names), "target"])
            writer.writerows([*row, target] for row, target in zip(found.data.tolist(), found.target, strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
