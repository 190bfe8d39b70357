"""Where does it run? The device, what it can do, and its name for the record."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from alexnet_lab.errors import UserError

SMALLER = (
    "lower batch_size (-S batch_size=64) or the model's sizes in params.yaml, or train fewer "
    "seeds at once with ALEXNET_LAB_WORKERS=1."
)
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")  # torch.cpu's names: x86, x86, ARM


def choose_device() -> torch.device:
    """CUDA if there is such a device, else the CPU; ALEXNET_LAB_DEVICE overrides.

    UserError if it names another device or one that is not there.
    """
    name = os.environ.get("ALEXNET_LAB_DEVICE") or ("cuda" if has_gpu() else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"ALEXNET_LAB_DEVICE is '{name}'; it should be cpu or cuda.")
    if name == "cuda" and not has_gpu():
        raise UserError("ALEXNET_LAB_DEVICE is cuda, but torch finds no CUDA device here.")
    return torch.device(name)


def has_gpu() -> bool:
    """Whether torch can run on a CUDA device here."""
    return torch.cuda.is_available()


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16 itself: elsewhere bf16 is emulated, and slow."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # none if torch is old
    return any(known.get(name) for name in BF16_INSTRUCTIONS)


def make_deterministic(threads: int) -> None:
    """Make this process compute the same bits on every run: fixed threads, fixed kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS is not deterministic
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    use_full_precision()


def use_full_precision() -> None:
    """Let fp32 mean fp32 on a GPU too: cuDNN would otherwise round convolutions to TF32."""
    torch.backends.cudnn.allow_tf32 = False


def synchronize(device: torch.device) -> None:
    """Wait until the device has done its work, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def within_memory() -> Iterator[None]:
    """Turn running out of memory inside into a UserError that names the keys to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"Training does not fit in memory: {SMALLER}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. Torch's CPU allocator and cuBLAS say so only in their messages."""
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def hardware_name(device: torch.device) -> str:
    """The device's name, such as "AMD EPYC, 2 cores" or "NVIDIA H100 80GB HBM3"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {core_count()} cores"


def core_count() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
