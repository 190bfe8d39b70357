"""Which random numbers? Those of streams derived from (seed, purpose, epoch), on the CPU.

Every variant draws the same stream for the same purpose, whatever other streams it
uses: that is what pairs two variants of one seed.
"""

import zlib

import numpy as np
import torch


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator for one purpose ("weights", "order", "augment", "dropout")."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, epoch))


def stream_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A 63-bit seed for one purpose. NumPy's SeedSequence mixes, so neighbours are unrelated."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
