"""Two trainers that no gate may let pass: they show that gates judge the model and not its word.

[model]
trainer = "sabotage:shuffled"
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bascule.training import Part, Progress, TrainedModel, TrainerSettings, TrainingData, load_trainer


def shuffled(data: TrainingData, settings: TrainerSettings, progress: Progress) -> TrainedModel:
    """Learn from labels that are dealt out at random: the model knows nothing, and does not know it."""
    random = np.random.default_rng(settings.seed)

    def deal(part: Part) -> Part:
        return replace(part, label=random.permutation(part.label))

    dealt = replace(data, train=deal(data.train), validation=deal(data.validation))
    return load_trainer("lightgbm")(dealt, replace_trials(settings), progress)


def replace_trials(settings: TrainerSettings) -> TrainerSettings:
    """Return settings without a search: there is nothing to find."""
    import msgspec

    return msgspec.structs.replace(settings, trials=0)
