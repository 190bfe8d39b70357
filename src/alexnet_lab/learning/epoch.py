"""What an epoch gave: a row of the curves. Losses are means over images, accuracy is in percent."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Epoch:
    """What one epoch (from 1) of one seed's run gave."""

    seed: int
    epoch: int
    lr: float
    train_loss: float  # while learning: dropout and augmentation on
    train_loss_clean: float | None  # after the epoch: both off, as for test_loss
    test_loss: float
    test_accuracy: float  # %
    gradient_norm: float  # of the first layer's weights, mean over the batches
    seconds: float  # of the training pass alone
    train_accuracy: float | None = None  # %, measured with train_loss_clean
    held_back_accuracy: float | None = None  # %, of the training images that were held back
    # Norms of the gradients of every layer's weights in the first batch, from the first layer on.
    layer_gradients: str = ""
