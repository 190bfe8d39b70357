"""Files that are complete or absent: written beside their place, then renamed."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from alexnet_lab.errors import UserError


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """One line a row, six significant digits, empty where undefined."""
    frame = pd.DataFrame(list(rows))
    replace(path, lambda new: frame.to_csv(new, index=False, float_format="%.6g"))


def write_json(content: Any, path: Path) -> None:
    """Valid JSON always: a number that is not finite becomes null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    replace(path, lambda new: new.write_text(text + "\n"))


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a file or a folder beside ``path``, then put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.stem}.{os.getpid()}.new{path.suffix}")
    try:
        write(new)
        if path.is_dir():
            shutil.rmtree(path)
        new.replace(path)
    finally:
        shutil.rmtree(new, ignore_errors=True) if new.is_dir() else new.unlink(missing_ok=True)


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def read_runs(folder: Path, variants: Iterable[str]) -> pd.DataFrame:
    """The variants' CSV files as one frame with a column ``variant``; others are left alone.

    UserError if one is missing.
    """
    return pd.concat(
        [_read_csv(folder / f"{name}.csv").assign(variant=name) for name in variants],
        ignore_index=True,
    )


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro` makes it.") from error


def read_json(path: Path) -> Any:
    """Parsed JSON; UserError if it is missing or broken."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read; `dvc repro` makes it.") from error
