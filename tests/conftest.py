import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from alexnet_lab import params
from alexnet_lab.data.datasets import Dataset
from alexnet_lab.data.sample import read_sample
from alexnet_lab.machine.hardware import Hardware
from alexnet_lab.params.study import Study
from alexnet_lab.runs import committed, names
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import Store

ROOT = Path(__file__).parent.parent
SETTINGS = ("DATA", "RUNS", "RUNS_GIB", "COMMITTED", "WORKERS", "DEVICE", "CLUSTER", "CLUSTER_MIX")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on who runs it, or on what another one has computed.

    What git holds is left out: a test of that makes a repository of its own.
    """
    for name in ("DVC_STAGE", *(f"ALEXNET_LAB_{setting}" for setting in SETTINGS)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALEXNET_LAB_COMMITTED", "0")
    forget()
    yield
    forget()


def forget() -> None:
    """What a process computes once: it may have changed."""
    for function in (committed.committed, committed._files, names.images):
        function.cache_clear()


@cache
def json_of(name: str) -> str:
    """A YAML file of the project as JSON: read once for all tests of a process."""
    return json.dumps(yaml.safe_load((ROOT / name).read_text("utf-8")))


@pytest.fixture
def raw() -> dict[str, Any]:
    """params.yaml as a fresh, mutable dict, in which nothing is shared as it is in the file."""
    return json.loads(json_of("params.yaml"))


@pytest.fixture
def study(raw: dict[str, Any]) -> Study:
    return params.parse(raw)


def with_residual(raw: dict[str, Any]) -> Study:
    """The study, and a variant with everything that a recipe can name and the study does not."""
    raw["batchnorm"]["variants"]["residual"] = {
        "model": {"batch_norm": True, "residual": True, "pool_padding": 1},
        "optimizer": {"weight_decay": 0.0005},
        "label_smoothing": 0.1,
    }
    return params.parse(raw)


def sample(name: str) -> Dataset:
    arrays = read_sample(ROOT / "data/sample" / name)
    tensors = (torch.from_numpy(array.copy()) for array in arrays.values())
    return Dataset(*tensors).to(torch.device("cpu"))


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return sample("mnist")


@pytest.fixture(scope="session")
def cifar10() -> Dataset:
    return sample("cifar10")


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both data sets, prepared: 150 training and 50 test images of each."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("mnist", "cifar10"):
        (folder / name).mkdir()
        for key, array in read_sample(ROOT / "data/sample" / name).items():
            np.save(folder / name / f"{key}.npy", array[: 150 if "train" in key else 50])
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def site(study: Study, few: Path, store: Store) -> Site:
    """The study, with few images, on a CPU without bf16."""
    return Site(study, few, Hardware("cpu", "a CPU", bf16=False), store)
