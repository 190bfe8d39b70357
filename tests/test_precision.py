"""`auto` is bf16 if the device computes in it and its gradients are right, and fp32 otherwise."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning import precision
from alexnet_lab.learning.precision import error_on
from alexnet_lab.learning.training import train
from alexnet_lab.machine import hardware
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.hardware import Hardware, cpu, gpu, this_machine
from alexnet_lab.params.study import Study
from alexnet_lab.runs.site import TOLERANCE, Site

STAGE = ("batchnorm", "with_bn")


def in_this_process(tasks: Iterable[Callable[[], Iterator[float]]], _: int) -> Iterator[float]:
    return (item for task in tasks for item in task())


EPYC = {"model name": "AMD EPYC", "cpu family": "25", "model": "17"}


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (EPYC | {"flags": "fpu avx512_bf16"}, "AMD EPYC (family 25, model 17, bf16)"),
        (EPYC | {"flags": "fpu amx_bf16"}, "AMD EPYC (family 25, model 17, bf16)"),
        (EPYC | {"flags": "fpu avx512f"}, "AMD EPYC (family 25, model 17, no bf16)"),
        ({"Features": "fp asimd bf16", "CPU part": "0xd40"}, "aarch64 (part 0xd40, bf16)"),
        ({"Features": "fp asimd"}, "aarch64 (no bf16)"),
        ({}, "aarch64 (no bf16)"),  # not Linux
    ],
)
def test_the_kind_of_a_cpu_says_its_generation_and_whether_it_has_bf16(
    facts: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_cpu_facts", lambda: facts)
    monkeypatch.setattr(hardware.platform, "processor", lambda: "")
    monkeypatch.setattr(hardware.platform, "machine", lambda: "aarch64")
    assert cpu() == Hardware("cpu", kind, bf16="no bf16" not in kind)


@pytest.mark.parametrize("limit", hardware.LIMITS)
def test_a_cpu_that_may_use_fewer_instructions_is_another_kind(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(limit, raising=False)
    before = cpu().kind
    monkeypatch.setenv(limit, "default")
    assert cpu().kind != before and f"{limit}=default" in cpu().kind


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True)])
def test_the_compute_capability_says_whether_a_gpu_has_bf16(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert gpu() == Hardware("cuda", "a GPU", expected)


def test_cores_belong_to_the_name_and_not_to_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    one, gpu = Hardware("cpu", "a CPU", bf16=False), Hardware("cuda", "a GPU", bf16=True)
    monkeypatch.setattr(hardware, "core_count", lambda: 8)
    assert (one.name, gpu.name) == ("a CPU, 8 cores", "a GPU")
    assert one.is_kind_of("a CPU, 2 cores") and gpu.is_kind_of("a GPU")
    assert not one.is_kind_of("a CPU of another kind, 8 cores") and not gpu.is_kind_of("a GPU 2")


def test_the_device_is_the_gpu_if_there_is_one_and_the_environment_overrides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "gpu", lambda: Hardware("cuda", "a GPU", bf16=True))
    for driver, torch_has in ((True, True), (True, False), (False, False)):
        monkeypatch.setattr(hardware, "has_driver", lambda driver=driver: driver)
        monkeypatch.setattr(hardware, "has_gpu", lambda has=torch_has: has)
        assert this_machine().device == ("cuda" if torch_has else "cpu")
        with monkeypatch.context() as patch:
            patch.setenv("ALEXNET_LAB_DEVICE", "cpu")
            assert this_machine().device == "cpu"
    for word, message in (("tpu", "is 'tpu'; it should be"), ("cuda", "finds no CUDA device")):
        monkeypatch.setenv("ALEXNET_LAB_DEVICE", word)
        with pytest.raises(UserError, match=f"ALEXNET_LAB_DEVICE .*{message}"):
            this_machine()


def of(site: Site, setting: Any, capable: bool) -> Site:
    kind = Hardware("cpu", f"a CPU {capable}", bf16=capable)
    return replace(site, study=site.study.model_copy(update={"precision": setting}), hardware=kind)


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
            math.nan,
            ["precision: fp32, because bf16's gradient is nan % off here, more than 20 %"],
        ),
    ],
    ids=["right", "not capable", "wrong", "not a number"],
)
def test_auto_is_bf16_only_if_the_device_has_it_and_it_is_right(
    capable: bool,
    error: float,
    lines: list[str],
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is compared once: what is known later says the same."""
    site, said, calls = of(site, "auto", capable), list[str](), list[Any]()

    def gradient_error(*arguments: Any) -> float:
        calls.append(arguments)
        return error

    monkeypatch.setattr(precision, "gradient_error", gradient_error)
    monkeypatch.setattr("alexnet_lab.runs.site.side_by_side", in_this_process)
    expected = "fp32" if lines else "bf16"
    assert site.likely_precision(*STAGE) == ("bf16" if capable else "fp32")
    for _ in range(2):
        assert site.precision(*STAGE, said.append) == expected
        assert site.likely_precision(*STAGE) == expected
    assert said == lines * 2 and len(calls) == capable


@pytest.mark.parametrize("setting", ["fp32", "bf16"])
def test_a_precision_that_params_yaml_names_is_used(
    setting: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(precision, "gradient_error")  # nothing is compared
    said: list[str] = []
    for capable in (False, True):
        here = of(site, setting, capable)
        assert here.precision(*STAGE, said.append) == here.likely_precision(*STAGE) == setting
    emulated = ["precision: bf16, emulated and slow, because this CPU has no bf16 instructions"]
    assert [line.partition(" (")[0] for line in said] == emulated * (setting == "bf16")
    assert not site.store.folder.exists()


def test_auto_gives_the_names_of_the_precision_that_it_means(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "gradient_error", lambda *_: 0.0)
    monkeypatch.setattr("alexnet_lab.runs.site.side_by_side", in_this_process)

    def named(setting: str, capable: bool) -> tuple[str, ...]:
        here = of(site, setting, capable)
        return here.runs(*STAGE, here.precision(*STAGE, print))[0].names

    for capable, meant, other in ((True, "bf16", "fp32"), (False, "fp32", "bf16")):
        assert named("auto", capable) == named(meant, capable) != named(other, capable)


@pytest.mark.parametrize(
    ("exercise", "variant"),
    [("activation", "sigmoid"), ("schedules", "constant"), ("batchnorm", "with_bn")],
)
def test_bf16_gradients_are_near_those_of_fp32(
    exercise: str, variant: str, study: Study, mnist: Dataset, cifar10: Dataset
) -> None:
    data = mnist if exercise == "activation" else cifar10
    error = error_on(study.recipe(exercise, variant), data)
    assert 0 < error < TOLERANCE  # 0 would mean that fp32 was compared with itself


def test_bf16_learns_what_fp32_learns(study: Study, mnist: Dataset) -> None:
    make_deterministic(1)
    recipe = study.recipe("activation", "relu").model_copy(update={"epochs": 5})
    fp32, bf16 = (list(train(recipe, mnist, 0, p))[-1] for p in ("fp32", "bf16"))
    assert fp32 != bf16
    assert bf16.test_accuracy == pytest.approx(fp32.test_accuracy, abs=3)  # of 500 images
    assert bf16.test_accuracy > 80


def test_a_recipe_that_does_not_fit_the_images_is_named_before_anything_is_computed(
    study: Study, site: Site
) -> None:
    recipe = study.recipe("activation", "relu")
    with pytest.raises(UserError, match=r"train\.normalize needs 3"):
        precision.gradient_error(recipe, site.data / "cifar10", 1, "cpu")


@pytest.mark.parametrize(
    ("files", "cores", "left"),
    [
        ({"cpu.max": "200000 100000", "memory.max": "4000", "memory.current": "1000"}, 2, 3000),
        ({"cpu.max": "50000 100000", "memory.max": "max", "memory.current": "1000"}, 1, 2**20),
        ({"cpu.max": "max 100000"}, 8, 2**20),
        ({}, 8, 2**20),
    ],
)
def test_a_containers_limits_are_those_of_its_control_group(
    files: dict[str, str], cores: int, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    monkeypatch.setattr(hardware, "GROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    real = Path.read_text

    def read(path: Path, **how: Any) -> str:
        return "MemAvailable: 1024 kB" if path.name == "meminfo" else real(path, **how)

    monkeypatch.setattr(Path, "read_text", read)
    assert (hardware.core_count(), hardware.memory_left()) == (cores, left)
