"""The learning rate of an epoch, in closed form.

Step, exponential and cosine are torch's StepLR, ExponentialLR and CosineAnnealingLR(T_max=epochs).
The cosine after a warm-up is the original exercise's own: it reaches the base rate in epoch
``warmup_epochs``.
"""

import math

from alexnet_lab.params import recipes


def learning_rate(schedule: recipes.Schedule, base: float, epoch: int, epochs: int) -> float:
    """The learning rate in ``epoch`` (from 0) of ``epochs``, for a base rate."""
    match schedule:
        case recipes.Constant():
            return base
        case recipes.Step(every=every, gamma=gamma):
            return base * power(gamma, epoch // every)
        case recipes.Exponential(gamma=gamma):
            return base * power(gamma, epoch)
        case recipes.Cosine():
            return base * half_cosine(epoch / epochs)
        case recipes.WarmupCosine(warmup_epochs=warmup):
            if epoch < warmup:
                return base * (epoch + 1) / warmup
            return base * half_cosine((epoch - warmup) / (epochs - warmup))


def half_cosine(progress: float) -> float:
    """Fall from 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def power(base: float, exponent: int) -> float:
    """``base`` to the power of ``exponent``; infinite if that overflows.

    Such a rate diverges, which is a result.
    """
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
