"""Models as folders: each version in the files of its own library, with what it takes to ask it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from bascule.errors import BasculeError, MissingExtra
from bascule.history import Commit, Workspace
from bascule.protocols.mlflow.exporting import FORMATS, files_of_bundle
from bascule.protocols.plain.copying import copy_artifact
from bascule.protocols.plain.item import Item, item_of
from bascule.registry.versions import ModelVersion, list_versions
from bascule.serving.engines.converting import onnx_of_estimator
from bascule.serving.engines.exporting import onnx_of
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.reading import forest_of
from bascule.tracking.artifacts import Artifacts
from bascule.training import ModelBundle, unpack_model

# How the file of a format is called that MLflow's layout has no place for.
ENDINGS = {"catboost": "cbm", "onnx": "onnx", "xgboost": "ubj"}


def write_model(workspace: Workspace, commit: Commit, path: str, name: str, made: Path) -> Item:
    """Write all versions of a model.

    A version is a folder with `version.json` (what the registry knows), its card, and its files: as MLflow's layout
    has them, with a loader that needs no Bascule, where the format has a place there.
    """
    folder, notes = made / path, []
    for version in list_versions(workspace, commit, name):
        place = folder / str(version.version)
        place.mkdir(parents=True)
        (place / "version.json").write_bytes(msgspec.json.format(msgspec.json.encode(version), indent=2) + b"\n")
        for digest, file in ((version.card, "card.md"), (version.contract, "contract.yaml")):
            if digest:
                (place / file).write_bytes(workspace.store.get(digest))
        if why := _write_files(workspace, version, place):
            notes.append(f"version {version.version}: {why}")
    return item_of(path, made, folder, note="; ".join(notes))


def _write_files(workspace: Workspace, version: ModelVersion, place: Path) -> str:
    """Write the files of a version; return what is missing, in words."""
    if version.place:
        _, _, inside = version.place.partition(":/")
        copied = copy_artifact(Artifacts(workspace), inside.lstrip("/"), place)
        return "" if copied else f"its files are not here but at {version.place}"
    bundle = unpack_model(workspace.store.get(version.artifact))
    if bundle.format in FORMATS:
        for name, data in files_of_bundle(bundle, version.artifact).items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    else:
        (place / f"model.{ENDINGS.get(bundle.format, 'bin')}").write_bytes(bundle.model)
        _write_json(place / "signature.json", bundle.signature.as_dict())
    if bundle.feature_set is not None:
        _write_json(place / "features.json", bundle.feature_set)
    return "" if bundle.format == "onnx" else _write_onnx(bundle, place)


def _write_onnx(bundle: ModelBundle, place: Path) -> str:
    """Write a model as ONNX too, in its own precision, where that says the same; return why not, in words."""
    try:
        try:
            made = onnx_of(forest_of(bundle), single=False)
        except Unfit:
            if bundle.format != "skops":
                raise
            made = onnx_of_estimator(bundle, single=False)
        (place / "model.onnx").write_bytes(made)
    except MissingExtra as error:
        return f"no ONNX: {error.message}"
    except (Unfit, BasculeError) as error:
        return f"no ONNX: {error}"
    return ""


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
