"""What is this machine, and can it do bf16? Asked without torch, whose import takes seconds.

Machines of one ``kind`` compute the same bits: it is part of the name of every epoch.
"""

import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_lab.errors import UserError

Device = Literal["cpu", "cuda"]

BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux names them: x86, x86, ARM
# Variables that let torch's libraries compute with fewer instructions, and so other bits.
LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
SMALLER = (  # what to do if memory runs out
    "lower batch_size (-S batch_size=64) or the model's sizes in params.yaml, or train fewer "
    "seeds at once with ALEXNET_LAB_WORKERS=1."
)
GROUP = Path("/sys/fs/cgroup")
# Signs of a GPU's driver: NVIDIA, WSL, ROCm, Jetson. Without one, torch need not be asked.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/nvmap")


@dataclass(frozen=True)
class Hardware:
    """Where a run computes."""

    device: Device
    kind: str  # such as "AMD EPYC (family 25, model 17, bf16)" or "NVIDIA H100 80GB HBM3"
    bf16: bool  # whether it computes in bf16 itself: elsewhere bf16 is emulated, and slow

    @property
    def name(self) -> str:
        """The kind, and how many cores there are, for a table of times."""
        return f"{self.kind}, {core_count()} cores" if self.device == "cpu" else self.kind

    def is_kind_of(self, name: str) -> bool:
        """Whether a name that was written down is of this kind, whatever its number of cores."""
        return name == self.kind or name.startswith(f"{self.kind}, ")


def this_machine() -> Hardware:
    """CUDA if there is such a device, else the CPU; ALEXNET_LAB_DEVICE overrides.

    UserError if it names another device or one that is not there.
    """
    name = os.environ.get("ALEXNET_LAB_DEVICE") or "auto"
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"ALEXNET_LAB_DEVICE is '{name}'; it should be cpu or cuda.")
    if name == "cpu" or (name == "auto" and not has_driver()):
        return cpu()
    if has_gpu():
        return gpu()
    if name == "cuda":
        raise UserError("ALEXNET_LAB_DEVICE is cuda, but torch finds no CUDA device here.")
    return cpu()


def has_driver() -> bool:
    """Whether there may be a GPU that torch can use."""
    return sys.platform == "win32" or any(Path(sign).exists() for sign in DRIVERS)


def has_gpu() -> bool:
    """Whether torch can run on a CUDA device here."""
    import torch  # here, since that takes seconds

    return torch.cuda.is_available()


def gpu() -> Hardware:
    """The CUDA device. It has bf16 from compute capability 8.0 on."""
    import torch

    bf16 = torch.cuda.get_device_capability() >= (8, 0)
    limits = "".join(f" ({limit})" for limit in _limits())
    return Hardware("cuda", f"{torch.cuda.get_device_name()}{limits}", bf16)


def cpu() -> Hardware:
    """The CPU, by its generation: one vendor's name can stand for several."""
    facts = _cpu_facts()
    known = set(facts.get("flags", facts.get("Features", "")).split())
    bf16 = bool(known & BF16_INSTRUCTIONS)
    name = facts.get("model name") or platform.processor() or platform.machine()
    parts = [f"family {facts['cpu family']}"] if "cpu family" in facts else []
    parts += [f"{key.split()[-1]} {facts[key]}" for key in ("model", "CPU part") if key in facts]
    parts += ["bf16" if bf16 else "no bf16"]
    parts += _limits()
    return Hardware("cpu", f"{name} ({', '.join(parts)})", bf16)


def _limits() -> list[str]:
    return [f"{limit}={os.environ[limit]}" for limit in LIMITS if limit in os.environ]


def _cpu_facts() -> dict[str, str]:
    """What Linux says of the first CPU; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def memory_left() -> float:
    """How many bytes of memory can still be had here, or in this container; inf if not Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    left = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    limit, used = (_of_container(f"memory.{word}") for word in ("max", "current"))
    return min(left, limit - used) if limit and used else left


def core_count() -> int:
    """How many cores this process may use, here or in this container."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    quota = _of_container("cpu.max")
    return min(cores, max(1, round(quota))) if quota else cores


def _of_container(file: str) -> float | None:
    """A limit of the control group, in its unit (of cpu.max: cores); None if there is none."""
    try:
        number, *period = (GROUP / file).read_text(encoding="utf-8").split()
        return float(number) / float(period[0] if period else 1)
    except (OSError, ValueError):  # not such a Linux, or "max"
        return None
