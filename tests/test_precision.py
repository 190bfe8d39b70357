"""`auto` is bf16 if the device computes in it and its gradients are right, and fp32 otherwise."""

from typing import Any

import pytest
import torch

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning import precision
from alexnet_lab.learning.precision import choose, gradient_error
from alexnet_lab.learning.training import train
from alexnet_lab.machine.devices import has_bf16, make_deterministic
from alexnet_lab.params.study import Study

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "avx512_f": True}, False),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"architecture": "aarch64", "bf16": False, "fp16_arith": True}, False),
    ],
)
def test_the_instruction_set_says_whether_a_cpu_has_bf16(
    capabilities: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16(CPU) is expected


def test_a_torch_that_does_not_know_the_instruction_set_has_no_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bf16(CPU)


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_the_compute_capability_says_whether_a_gpu_has_bf16(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_bf16(GPU) is expected


def chosen(
    setting: Any,
    capable: bool,
    error: float,
    study: Study,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[str, list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(precision, "has_bf16", lambda _: capable)
    monkeypatch.setattr(precision, "gradient_error", lambda *_: error)
    return choose(setting, study.recipe("batchnorm", "with_bn"), data, lines.append), lines


@pytest.mark.parametrize(
    ("capable", "error", "lines"),
    [
        (True, 0.03, []),
        (
            False,
            0.03,
            [
                "precision: fp32, because this CPU has no bf16 instructions (avx512_bf16 or "
                "amx_bf16; on ARM, bf16)"
            ],
        ),
        (
            True,
            0.41,
            ["precision: fp32, because bf16's gradient is 41 % off here, more than 20 %"],
        ),
        (
            True,
            float("nan"),
            ["precision: fp32, because bf16's gradient is nan % off here, more than 20 %"],
        ),
    ],
    ids=["right", "not capable", "wrong", "not a number"],
)
def test_auto_is_bf16_only_if_the_device_has_it_and_it_is_right(
    capable: bool,
    error: float,
    lines: list[str],
    study: Study,
    cifar10: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = "fp32" if lines else "bf16"
    assert chosen("auto", capable, error, study, cifar10, monkeypatch) == (expected, lines)


@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_a_precision_that_params_yaml_names_is_used(
    setting: str, study: Study, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for capable, error in ((False, 1.0), (True, 0.0)):
        assert chosen(setting, capable, error, study, cifar10, monkeypatch) == (setting, [])


@pytest.mark.parametrize(
    ("exercise", "variant"),
    [("activation", "sigmoid"), ("schedules", "constant"), ("batchnorm", "with_bn")],
)
def test_bf16_gradients_are_near_those_of_fp32(
    exercise: str, variant: str, study: Study, mnist: Dataset, cifar10: Dataset
) -> None:
    data = mnist if exercise == "activation" else cifar10
    error = gradient_error(study.recipe(exercise, variant), data)
    assert 0 < error < precision.TOLERANCE  # 0 would mean that fp32 was compared with itself


def test_bf16_learns_what_fp32_learns(study: Study, mnist: Dataset) -> None:
    make_deterministic(2)
    recipe = study.recipe("activation", "relu").model_copy(update={"epochs": 5})
    fp32, bf16 = (list(train(recipe, mnist, 0, p))[-1] for p in ("fp32", "bf16"))
    assert fp32 != bf16
    assert bf16.test_accuracy == pytest.approx(fp32.test_accuracy, abs=3)  # of 500 images
    assert bf16.test_accuracy > 80


def test_a_recipe_that_does_not_fit_the_images_is_named_before_anything_is_computed(
    study: Study, cifar10: Dataset
) -> None:
    with pytest.raises(UserError, match=r"train\.normalize needs 3"):
        choose("auto", study.recipe("activation", "relu"), cifar10, print)
