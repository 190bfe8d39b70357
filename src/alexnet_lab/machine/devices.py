"""torch on this machine: its devices, the same bits on every run, and too little memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic

from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import SMALLER


def make_deterministic(threads: int) -> None:
    """Make this process compute the same bits on every run: fixed threads, fixed kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS is not deterministic
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms, which also imports the compiler, for three seconds.
    torch.set_deterministic_debug_mode("error")
    # Filling new memory is an aid for finding faults: a kernel each time.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
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
