"""One step of training, and how a GPU repeats it: recorded once, replayed for every batch."""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_lab.learning.models import Classifier


class Step:
    """Forward, backward and update for one batch."""

    def __init__(
        self, classifier: Classifier, optimizer: torch.optim.Optimizer, label_smoothing: float
    ) -> None:
        self.classifier, self.optimizer = classifier, optimizer
        self.label_smoothing = label_smoothing

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Learn from images (B, C, H, W) uint8 and labels (B,) int64.

        Returns the mean loss, and the norm of the gradient of the first layer's weights.
        """
        logits = self.classifier(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        return loss.detach(), torch.linalg.vector_norm(cast(Tensor, self.first.grad))

    @property
    def first(self) -> Tensor:
        """The weights of the first layer."""
        return self.classifier.first_weight


class Replay:
    """A step on a GPU, recorded as a CUDA graph: one launch in place of some hundred.

    It computes the same bits (``pytest -m gpu``). The learning rate is part of a recording, so
    each rate has its own. The step must have been taken before, so that its memory is there.
    """

    def __init__(self, step: Step, batch_size: int) -> None:
        self.step, self.batch_size = step, batch_size
        self._graph: torch.cuda.CUDAGraph | None = None
        self._lr = 0.0

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Do what the step does; a batch of another size, such as the last, is not recorded."""
        if len(images) != self.batch_size:
            return self.step(images, labels)
        if self._graph is None or self._lr != self.step.optimizer.param_groups[0]["lr"]:
            self._record(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        cast(torch.cuda.CUDAGraph, self._graph).replay()
        return self._loss.clone(), self._norm.clone()

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Record the step without taking it.

        torch.cuda.graph would collect garbage first, which takes as long as many steps.
        """
        self._images, self._labels = images.clone(), labels.clone()
        self._graph, self._lr = None, self.step.optimizer.param_groups[0]["lr"]
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            graph.capture_begin()
            self._loss, self._norm = self.step(self._images, self._labels)
            graph.capture_end()
        here.wait_stream(aside)
        self._graph = graph
