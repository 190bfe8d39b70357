"""The learning rate of an epoch, in closed form.

The first four are torch's StepLR, ExponentialLR and CosineAnnealingLR(T_max=epochs);
warm-up then cosine is the original exercise's own, which reaches the base rate in
epoch ``warmup_epochs``.
"""

import math

from alexnet_lab.params.recipes import Constant, Cosine, Exponential, Schedule, Step, WarmupCosine


def learning_rate(schedule: Schedule, base: float, epoch: int, epochs: int) -> float:
    """The rate in ``epoch`` (from 0) of ``epochs``."""
    match schedule:
        case Constant():
            return base
        case Step(every=every, gamma=gamma):
            return base * power(gamma, epoch // every)
        case Exponential(gamma=gamma):
            return base * power(gamma, epoch)
        case Cosine():
            return base * half_cosine(epoch / epochs)
        case WarmupCosine(warmup_epochs=warmup):
            if epoch < warmup:
                return base * (epoch + 1) / warmup
            return base * half_cosine((epoch - warmup) / (epochs - warmup))


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def power(base: float, exponent: int) -> float:
    """Infinite where Python would raise: such a rate diverges, which is a result."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
