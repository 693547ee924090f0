"""How often A/B tests and bandits of several new versions raise a false alarm, and when they find the better one.

    python benchmarks/rollouts.py [RUNS]

Each run is one rollout, looked at after every unit, by the bounds that the controller uses: each new version against stable, at `alpha`
divided by their number. In an A/A run all versions are alike; a false alarm is any of them shown to be better or worse at any time. 5 % is
promised. The bandit's weights follow the evidence every 250 units, as the controller's do.
"""

from __future__ import annotations

import sys

import numpy as np

from bascule.delivery.bandit import whole_shares
from bascule.delivery.means import chances_of_best, mean_sequence

ALPHA, UNITS, EACH, FLOOR = 0.05, 3_000, 250, 5


def run(rng: np.random.Generator, means: list[float], kind: str, *, bandit: bool) -> tuple[bool, bool, int]:
    """Return whether an arm was shown to be better, or worse, and after how many units the best one was shown."""
    count = len(means)
    arm, value = np.empty(UNITS, dtype=int), np.empty(UNITS)
    weights = np.empty((UNITS, count))
    shares = np.full(count, 1 / count)
    for start in range(0, UNITS, EACH):
        part = slice(start, start + EACH)
        weights[part] = shares
        arm[part] = rng.choice(count, EACH, p=shares)
        mean = np.array(means)[arm[part]]
        value[part] = rng.random(EACH) < mean if kind == "buys" else mean * rng.lognormal(0, 1, EACH)
        held = [value[: start + EACH][arm[: start + EACH] == one] for one in range(count)]
        if bandit and min(map(len, held)) >= 30:
            shares = np.array(whole_shares(chances_of_best(held, seed=start), FLOOR)) / 100
    better, worse, first = False, False, UNITS + 1
    for one in range(1, count):
        mine = (arm == one) | (arm == 0)
        share = weights[mine, one] / (weights[mine, one] + weights[mine, 0])
        _, low, high = mean_sequence(value[mine], arm[mine] == one, share, ALPHA / (count - 1))
        better, worse = better or bool((low > 0).any()), worse or bool((high < 0).any())
        if one == 1 and (low > 0).any():
            first = int(np.flatnonzero(mine)[int(np.argmax(low > 0))]) + 1
    return better, worse, first


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    print(f"{runs} runs of {UNITS:,} units each, looked at after every one\n")
    print(
        f"{'strategy':10}{'new':>4}  {'value':8}{'false alarms of equal versions':>32}{'a third more is found':>24}{'median':>10}"
    )
    for bandit in (False, True):
        for new in (2, 4):
            for kind in ("buys", "revenue"):
                rng = np.random.default_rng(new)
                base = 0.3 if kind == "buys" else 1.0
                same = [run(rng, [base] * (new + 1), kind, bandit=bandit) for _ in range(runs)]
                alarms = sum(better or worse for better, worse, _ in same) / runs
                few = max(20, runs // 10)
                one = [run(rng, [base, base * 4 / 3, *[base] * (new - 1)], kind, bandit=bandit) for _ in range(few)]
                found = [first for _, _, first in one if first <= UNITS]
                share, median = len(found) / few, f"{int(np.median(found)):,}" if found else "–"
                name = "bandit" if bandit else "A/B/n"
                print(f"{name:10}{new:>4}  {kind:8}{alarms:>32.1%}{share:>24.0%}{median:>10}", flush=True)


if __name__ == "__main__":
    main()
