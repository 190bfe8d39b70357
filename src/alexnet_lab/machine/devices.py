"""Where does it run? The device that is there, and its name for the record."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from alexnet_lab.errors import UserError

SMALLER = (
    "lower batch_size (-S batch_size=64) or the model's sizes in params.yaml, or train fewer "
    "seeds at once with ALEXNET_LAB_WORKERS=1."
)


def choose_device() -> torch.device:
    """CUDA where there is one, else the CPU; ALEXNET_LAB_DEVICE overrides."""
    name = os.environ.get("ALEXNET_LAB_DEVICE") or ("cuda" if has_gpu() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"ALEXNET_LAB_DEVICE is '{name}'; it should be cpu or cuda.")
    if name == "cuda" and not has_gpu():
        raise UserError("ALEXNET_LAB_DEVICE is cuda, but torch finds no CUDA device here.")
    return torch.device(name)


def has_gpu() -> bool:
    """Whether torch can run on a CUDA device here."""
    return torch.cuda.is_available()


def make_deterministic(threads: int) -> None:
    """The same bits on every run of this process: fixed threads, deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    use_full_precision()


def use_full_precision() -> None:
    """fp32 means fp32 on a GPU too: cuDNN would otherwise round convolutions to TF32."""
    torch.backends.cudnn.allow_tf32 = False


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read next is true."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def within_memory() -> Iterator[None]:
    """Running out of memory in here is a UserError that names the keys to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"Training does not fit in memory: {SMALLER}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Torch has a class for some of these errors; its CPU allocator and cuBLAS have words."""
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def hardware_name(device: torch.device) -> str:
    """Such as "AMD EPYC, 2 cores" or "NVIDIA H100 80GB HBM3"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {core_count()} cores"


def core_count() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
