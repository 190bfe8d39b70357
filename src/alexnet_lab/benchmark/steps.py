"""How long does one training step of AlexNet take on this device, and does it fit?

Each batch size runs in a process of its own: so the peak memory is that of this batch size, and
running out of memory ends that process, not the study.
"""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from alexnet_lab.benchmark.networks import AlexNet, parameter_count
from alexnet_lab.machine.devices import (
    is_out_of_memory,
    synchronize,
    use_full_precision,
)
from alexnet_lab.machine.hardware import cpu, gpu, has_gpu
from alexnet_lab.machine.processes import DeathError, Remote
from alexnet_lab.params.study import Benchmark

MEASURED, TOO_LARGE, CRASHED = "measured", "does not fit", "crashed"
NO_DEVICE = "no such device here"
MIB = 2**20


@dataclass(frozen=True)
class Measurement:
    """The timed steps of one batch size on one device; no seconds if it was not measured."""

    batch_size: int
    status: str
    seconds: tuple[float, ...] = ()  # one per timed step
    peak_memory_mib: float | None = None  # CPU: of the whole process; GPU: torch's tensors
    hardware: str = ""

    def steps(self) -> list[dict[str, Any]]:
        """One row per timed step, or one row without seconds if nothing was measured."""
        return [
            {
                "batch_size": self.batch_size,
                "iteration": iteration,
                "seconds": seconds,
                "peak_memory_mib": self.peak_memory_mib,
                "hardware": self.hardware,
                "status": self.status,
            }
            for iteration, seconds in enumerate(self.seconds or (None,), start=1)
        ]


def measure_all(benchmark: Benchmark, device_name: str) -> Iterator[Measurement]:
    """Measure every batch size in turn; one that does not fit is reported, and the rest goes on."""
    for batch_size in benchmark.batch_sizes:
        if device_name == "cuda" and not has_gpu():
            yield Measurement(batch_size, NO_DEVICE)
        else:
            yield _in_own_process(benchmark, device_name, batch_size)


def _in_own_process(benchmark: Benchmark, device_name: str, batch_size: int) -> Measurement:
    with Remote(partial(_once, benchmark, device_name, batch_size)) as remote:
        remote.ask()
        try:
            measurement = remote.answer()
        except DeathError as death:
            return Measurement(batch_size, TOO_LARGE if death.killed else CRASHED)
    assert measurement is not None  # noqa: S101  # _once yields one
    return measurement


def _once(benchmark: Benchmark, device_name: str, batch_size: int) -> Iterator[Measurement]:
    yield measure(benchmark, device_name, batch_size)


def measure(benchmark: Benchmark, device_name: str, batch_size: int) -> Measurement:
    """Warm up with full steps, then time each step, the copy to the device included."""
    device = torch.device(device_name)
    use_full_precision()
    try:
        seconds = time_steps(benchmark, device, batch_size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Measurement(batch_size, TOO_LARGE)
    hardware = gpu() if device.type == "cuda" else cpu()
    memory = peak_memory_mib(device)
    return Measurement(batch_size, MEASURED, tuple(seconds), memory, hardware.name)


def time_steps(benchmark: Benchmark, device: torch.device, batch_size: int) -> list[float]:
    """Measure the seconds of each timed training step of AlexNet on random images."""
    torch.manual_seed(0)
    side = benchmark.image_pixels
    images = torch.randn(batch_size, 3, side, side)  # stays on the CPU; each step copies it
    labels = torch.randint(benchmark.classes, (batch_size,))
    network = AlexNet(benchmark.classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=benchmark.lr)
    seconds = []
    for _ in range(benchmark.warmup_iterations + benchmark.iterations):
        synchronize(device)
        start = time.perf_counter()
        loss = F.cross_entropy(network(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds[benchmark.warmup_iterations :]


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that was held: on the CPU by this process, on a GPU by torch's tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # macOS: bytes; Linux: KiB


def network_facts(benchmark: Benchmark) -> dict[str, float]:
    """Count parameters, GFLOP and memory, without computing anything.

    ``gflop_per_image`` is forward and backward; ``kept_mib_per_image`` is what the forward pass
    keeps for the backward pass, besides the parameters.
    """
    side = benchmark.image_pixels
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = AlexNet(benchmark.classes)
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = network(torch.empty(1, 3, side, side))
        logits.sum().backward()
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    return {
        "parameters": parameter_count(network),
        "gflop_per_image": round(counter.get_total_flops() / 1e9, 3),
        "kept_mib_per_image": round(sum(s.nbytes() for s in kept.values()) / MIB, 3),
    }
