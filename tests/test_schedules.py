"""Learning rates are those of torch's own schedulers, or worked out by hand for the warm-up."""

import math
import warnings
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.params.recipes import Constant, Cosine, Exponential, Schedule, Step, WarmupCosine

EPOCHS, BASE = 50, 0.1
Make = Callable[[torch.optim.Optimizer], torch_schedules.LRScheduler]


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Constant(kind="constant"), lambda o: torch_schedules.ConstantLR(o, factor=1)),
        (
            Step(kind="step", every=10, gamma=0.1),
            lambda o: torch_schedules.StepLR(o, step_size=10, gamma=0.1),
        ),
        (
            Exponential(kind="exponential", gamma=0.95),
            lambda o: torch_schedules.ExponentialLR(o, gamma=0.95),
        ),
        (Cosine(kind="cosine"), lambda o: torch_schedules.CosineAnnealingLR(o, T_max=EPOCHS)),
    ],
)
def test_closed_forms_are_torchs_schedulers(schedule: Schedule, make: Make) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scheduler steps, the optimiser does not
        scheduler = make(optimizer)
        for epoch in range(EPOCHS):
            expected = optimizer.param_groups[0]["lr"]
            assert learning_rate(schedule, BASE, epoch, EPOCHS) == pytest.approx(expected)
            scheduler.step()


def test_warm_up_is_linear_and_then_half_a_cosine() -> None:
    schedule = WarmupCosine(kind="warmup_cosine", warmup_epochs=5)
    rates = [learning_rate(schedule, BASE, epoch, EPOCHS) for epoch in range(EPOCHS)]
    assert rates[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert rates[-1] == pytest.approx(BASE * (1 + math.cos(math.pi * 44 / 45)) / 2)
    assert all(later < earlier for earlier, later in pairwise(rates[5:]))


def test_a_run_shorter_than_its_warm_up_only_warms_up() -> None:
    schedule = WarmupCosine(kind="warmup_cosine", warmup_epochs=5)
    assert [learning_rate(schedule, 1.0, epoch, 2) for epoch in range(2)] == [0.2, 0.4]


def test_a_rate_that_overflows_is_infinite() -> None:
    assert learning_rate(Exponential(kind="exponential", gamma=1e300), 0.1, 2, 5) == math.inf
