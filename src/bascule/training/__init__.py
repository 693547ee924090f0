"""Training sets in, models out: time splits with an embargo, trainers, the search, and models as safe bytes.

The room owns the immutable training sets (`training_sets` records and their Parquet files), the signature of a model
and the one file format that a model is kept in. Trainers are plain functions; those in the box use the same door as a
user's own. Evaluation, serving, monitoring, delivery and the project room may call it; it knows nothing of gates or
traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.ondemand import on_demand

if TYPE_CHECKING:
    from bascule.training.bundle import ModelBundle, pack_model, unpack_model
    from bascule.training.formats import FORMATS, Predictor, load_predictor
    from bascule.training.frame import check_label
    from bascule.training.label import Target, encode_target, infer_target
    from bascule.training.linear import LinearModel, fit_linear
    from bascule.training.signature import (
        Field,
        Output,
        Signature,
        differing_inputs,
        encode,
        infer_signature,
        read_signature,
    )
    from bascule.training.spec import Split, TrainingSpec
    from bascule.training.split import split_by_hash, split_by_time
    from bascule.training.trainer import (
        TRAINERS,
        MetricPoint,
        Part,
        Progress,
        Step,
        TrainedModel,
        Trainer,
        TrainerSettings,
        TrainingData,
        Trial,
        load_trainer,
        train,
    )
    from bascule.training.training_set import (
        TrainingSet,
        build_training_set,
        read_training_set,
        training_data,
        training_rows,
    )

__all__ = [
    "FORMATS",
    "TRAINERS",
    "Field",
    "LinearModel",
    "MetricPoint",
    "ModelBundle",
    "Output",
    "Part",
    "Predictor",
    "Progress",
    "Signature",
    "Split",
    "Step",
    "Target",
    "TrainedModel",
    "Trainer",
    "TrainerSettings",
    "TrainingData",
    "TrainingSet",
    "TrainingSpec",
    "Trial",
    "build_training_set",
    "check_label",
    "differing_inputs",
    "encode",
    "encode_target",
    "fit_linear",
    "infer_signature",
    "infer_target",
    "load_predictor",
    "load_trainer",
    "pack_model",
    "read_signature",
    "read_training_set",
    "split_by_hash",
    "split_by_time",
    "train",
    "training_data",
    "training_rows",
    "unpack_model",
]

# The process that tries a model's file needs none of the lake: what is public is loaded when it is asked for.
__getattr__ = on_demand(
    __name__,
    {
        "bundle": ("ModelBundle", "pack_model", "unpack_model"),
        "formats": ("FORMATS", "Predictor", "load_predictor"),
        "frame": ("check_label",),
        "label": ("Target", "encode_target", "infer_target"),
        "linear": ("LinearModel", "fit_linear"),
        "signature": (
            "Field",
            "Output",
            "Signature",
            "differing_inputs",
            "encode",
            "infer_signature",
            "read_signature",
        ),
        "spec": ("Split", "TrainingSpec"),
        "split": ("split_by_hash", "split_by_time"),
        "trainer": (
            "TRAINERS",
            "MetricPoint",
            "Part",
            "Progress",
            "Step",
            "TrainedModel",
            "Trainer",
            "TrainerSettings",
            "TrainingData",
            "Trial",
            "load_trainer",
            "train",
        ),
        "training_set": ("TrainingSet", "build_training_set", "read_training_set", "training_data", "training_rows"),
    },
)
