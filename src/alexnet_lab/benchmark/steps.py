"""How long does one training step of AlexNet take on this device, and does it fit?

How long it might take says a product of two matrices, timed in the same process.

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
from torch.nn import functional as F

from alexnet_lab.benchmark.layers import MIB
from alexnet_lab.benchmark.networks import NETWORKS
from alexnet_lab.machine.devices import (
    is_out_of_memory,
    synchronize,
    use_full_precision,
)
from alexnet_lab.machine.hardware import cpu, gpu, has_gpu
from alexnet_lab.machine.processes import DeathError, Remote
from alexnet_lab.params.study import Benchmark, Network, Target

MEASURED, TOO_LARGE, CRASHED = "measured", "does not fit", "crashed"
NO_DEVICE = "no such device here"
SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices
PRODUCTS = 20


@dataclass(frozen=True)
class Measurement:
    """The timed steps of a network at one batch size; no seconds if it was not measured."""

    network: Network
    batch_size: int
    status: str
    seconds: tuple[float, ...] = ()  # one per timed step
    peak_memory_mib: float | None = None  # CPU: of the whole process; GPU: torch's tensors
    hardware: str = ""
    peak_gflop_per_s: float | None = None  # of a product of matrices in fp32

    def steps(self) -> list[dict[str, Any]]:
        """One row per timed step, or one row without seconds if nothing was measured."""
        return [
            {
                "network": self.network,
                "batch_size": self.batch_size,
                "iteration": iteration,
                "seconds": seconds,
                "peak_memory_mib": self.peak_memory_mib,
                "hardware": self.hardware,
                "status": self.status,
                "peak_gflop_per_s": self.peak_gflop_per_s,
            }
            for iteration, seconds in enumerate(self.seconds or (None,), start=1)
        ]


def measure_all(benchmark: Benchmark, target: Target) -> Iterator[Measurement]:
    """Measure every batch size, and of each all networks in turn.

    One that does not fit is reported, and the rest goes on.
    """
    for batch_size in benchmark.batch_sizes:
        for network in target.networks:
            if target.device == "cuda" and not has_gpu():
                yield Measurement(network, batch_size, NO_DEVICE)
            else:
                yield _in_own_process(benchmark, target.device, network, batch_size)


def _in_own_process(
    benchmark: Benchmark, device_name: str, network: Network, batch_size: int
) -> Measurement:
    with Remote(partial(_once, benchmark, device_name, network, batch_size)) as remote:
        remote.ask()
        try:
            measurement = remote.answer()
        except DeathError as death:
            return Measurement(network, batch_size, TOO_LARGE if death.killed else CRASHED)
    assert measurement is not None  # noqa: S101  # _once yields one
    return measurement


def _once(
    benchmark: Benchmark, device_name: str, network: Network, batch_size: int
) -> Iterator[Measurement]:
    yield measure(benchmark, device_name, network, batch_size)


def measure(
    benchmark: Benchmark, device_name: str, network: Network, batch_size: int
) -> Measurement:
    """Warm up with full steps, then time each step, the copy to the device included."""
    device = torch.device(device_name)
    use_full_precision()
    try:
        seconds = time_steps(benchmark, device, network, batch_size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Measurement(network, batch_size, TOO_LARGE)
    hardware = gpu() if device.type == "cuda" else cpu()
    memory = peak_memory_mib(device)  # before the matrices
    return Measurement(
        network,
        batch_size,
        MEASURED,
        tuple(seconds),
        memory,
        hardware.name,
        peak_gflop_per_s(device),
    )


def time_steps(
    benchmark: Benchmark, device: torch.device, network: Network, batch_size: int
) -> list[float]:
    """Measure the seconds of each timed training step of a network on random images."""
    torch.manual_seed(0)
    side = benchmark.image_pixels
    images = torch.randn(batch_size, 3, side, side)  # stays on the CPU; each step copies it
    labels = torch.randint(benchmark.classes, (batch_size,))
    model = NETWORKS[network](benchmark.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=benchmark.lr)
    seconds = []
    for _ in range(benchmark.warmup_iterations + benchmark.iterations):
        synchronize(device)
        start = time.perf_counter()
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds[benchmark.warmup_iterations :]


def peak_gflop_per_s(device: torch.device) -> float:
    """The GFLOP/s of the fastest of some products of two square fp32 matrices."""
    side = SIDE[device.type]
    left, right = torch.rand(2, side, side, device=device)
    seconds = []
    for _ in range(PRODUCTS):
        synchronize(device)
        start = time.perf_counter()
        left @ right
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds) / 1e9


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that was held: on the CPU by this process, on a GPU by torch's tensors."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # macOS: bytes; Linux: KiB
