"""bf16 is used where it is faster and right, and fp32 wherever there is a doubt."""

from typing import Any

import pytest

from alexnet_lab.data.datasets import Dataset
from alexnet_lab.errors import UserError
from alexnet_lab.learning import precision
from alexnet_lab.learning.precision import Trial, choose, trial
from alexnet_lab.learning.training import train
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.params.study import Study


def chosen(
    asked: Any, found: Trial, study: Study, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    said: list[str] = []
    monkeypatch.setattr(precision, "trial", lambda *_: found)
    return choose(asked, study.recipe("batchnorm", "with_bn"), data, said.append), said


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Trial(speed_up=1.7, error=0.03), "bf16"),
        (Trial(speed_up=1.1, error=0.03), "fp32"),  # not worth it
        (Trial(speed_up=0.2, error=0.03), "fp32"),  # emulated
        (Trial(speed_up=3.0, error=0.9), "fp32"),  # wrong
        (Trial(speed_up=3.0, error=float("nan")), "fp32"),
    ],
)
def test_auto_takes_bf16_only_where_it_is_faster_and_right(
    found: Trial, expected: str, study: Study, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, said = chosen("auto", found, study, cifar10, monkeypatch)
    assert choice == expected
    assert len(said) == (expected == "fp32")  # it says so once
    assert all("precision: fp32, since bf16 is" in line for line in said)


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_done(
    asked: str, study: Study, cifar10: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (Trial(0.1, 1.0), Trial(9.0, 0.0)):
        assert chosen(asked, found, study, cifar10, monkeypatch) == (asked, [])


@pytest.mark.parametrize(
    ("exercise", "variant"),
    [("activation", "sigmoid"), ("schedules", "constant"), ("batchnorm", "with_bn")],
)
def test_bf16_gradients_are_near_those_of_fp32(
    exercise: str, variant: str, study: Study, mnist: Dataset, cifar10: Dataset
) -> None:
    data = mnist if exercise == "activation" else cifar10
    found = trial(study.recipe(exercise, variant), data)
    assert 0 < found.error < precision.TOLERANCE  # 0 would be fp32 against itself
    assert found.speed_up > 0


def test_bf16_learns_what_fp32_learns(study: Study, mnist: Dataset) -> None:
    make_deterministic(2)
    recipe = study.recipe("activation", "relu").model_copy(update={"epochs": 5})
    fp32, bf16 = (list(train(recipe, mnist, 0, p))[-1] for p in ("fp32", "bf16"))
    assert fp32 != bf16
    assert bf16.test_accuracy == pytest.approx(fp32.test_accuracy, abs=3)  # of 500 images
    assert bf16.test_accuracy > 80


def test_a_recipe_that_does_not_fit_the_images_is_named_before_the_trial(
    study: Study, cifar10: Dataset
) -> None:
    with pytest.raises(UserError, match=r"train\.normalize needs 3"):
        choose("auto", study.recipe("activation", "relu"), cifar10, print)
