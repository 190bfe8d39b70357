"""Epochs that git holds: the committed curves, with the names in the timing files beside them.

DVC removes a stage's outputs before it runs, so they are read from git, not from the workspace.
"""

import csv
import io
import os
import subprocess
import tarfile
from dataclasses import fields
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from alexnet_lab.errors import UserError
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.runs.records import Record

CURVES, TIMING = PurePosixPath("metrics/runs"), PurePosixPath("metrics/timing")
COLUMNS = {field.name for field in fields(Epoch)} - {"seconds"}
Rows = dict[tuple[str, str], dict[str, str]]  # by seed and epoch, as written


@cache
def committed() -> dict[str, Record]:
    """Every named epoch of the last commit, by its name; none without git."""
    files = _files()
    known = {}
    for path, timing in files.items():
        if path.is_relative_to(TIMING):
            curves = files.get(CURVES / path.relative_to(TIMING), {})
            for key, row in timing.items():
                # What other code recorded has no name that this code gives.
                if row.get("name") and curves.get(key, {}).keys() == COLUMNS:
                    record = _record(curves[key], row)
                    if record.serves(clean=True) or record.name not in known:
                        known[record.name] = record
    return known


def committed_places(exercise: str, variant: str) -> set[tuple[str, str]]:
    """The precision and hardware of each committed epoch of a variant."""
    rows = _files().get(TIMING / exercise / f"{variant}.csv", {})
    return {(row["precision"], row["hardware"]) for row in rows.values()}


def committed_seconds(exercise: str, variant: str = "*") -> list[float]:
    """The seconds of every committed epoch of a variant, or of all of an exercise's."""
    pattern = f"{TIMING / exercise / variant}.csv"
    files = [rows for path, rows in _files().items() if path.match(pattern)]
    return [float(row["seconds"]) for rows in files for row in rows.values()]


@cache
def _files() -> dict[PurePosixPath, Rows]:
    """The training exercises' CSV files in the last commit.

    ALEXNET_LAB_COMMITTED=0 leaves them out, so that they are trained again. UserError if it is
    neither that nor 1.
    """
    setting = os.environ.get("ALEXNET_LAB_COMMITTED") or "1"
    if setting not in ("0", "1"):
        raise UserError(f"ALEXNET_LAB_COMMITTED is '{setting}'; it should be 0 or 1.")
    if setting == "0":
        return {}
    command = ("git", "archive", "HEAD", f"{CURVES}", f"{TIMING}")
    try:
        english = os.environ | {"LC_ALL": "C"}
        archive = subprocess.run(command, capture_output=True, check=True, env=english).stdout  # noqa: S603  # fixed words
    except (OSError, subprocess.CalledProcessError) as error:
        said: bytes = getattr(error, "stderr", None) or b""
        if b"dubious" in said:  # the folder is another user's; git says what to do
            raise UserError(said.decode(errors="replace").strip()) from error
        return {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {
            PurePosixPath(member.name): _rows(file.read().decode())
            for member in files
            if member.isfile() and (file := files.extractfile(member))
        }


def _rows(text: str) -> Rows:
    rows = csv.DictReader(io.StringIO(text))
    return {(row["seed"], row["epoch"]): row for row in rows if {"seed", "epoch"} <= row.keys()}


def _record(curve: dict[str, str], timing: dict[str, str]) -> Record:
    layers = curve["layer_gradients"]
    texts = {key: text for key, text in curve.items() if key != "layer_gradients"}
    numbers: dict[str, Any] = {key: float(text or "nan") for key, text in texts.items()}
    numbers |= {"seed": int(curve["seed"]), "epoch": int(curve["epoch"])}
    for key in ("train_loss_clean", "train_accuracy", "held_back_accuracy"):
        if not curve[key] and (curve["train_loss"] or key.endswith("accuracy")):  # else it diverged
            numbers[key] = None
    epoch = Epoch(**numbers, seconds=float(timing["seconds"]), layer_gradients=layers)
    return Record(epoch, timing["name"], timing["precision"], timing["hardware"])
