from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from alexnet_lab import params
from alexnet_lab.data.datasets import Dataset
from alexnet_lab.data.sample import read_sample
from alexnet_lab.params.study import Study

ROOT = Path(__file__).parent.parent


@pytest.fixture
def raw() -> dict[str, Any]:
    """params.yaml as a fresh, mutable dict."""
    return yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.fixture
def study(raw: dict[str, Any]) -> Study:
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
