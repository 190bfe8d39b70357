"""What does each layer of a network cost: parameters, arithmetic, memory? Nothing is computed."""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from alexnet_lab.benchmark.networks import NETWORKS
from alexnet_lab.params.study import Benchmark, Network

MIB = 2**20
# They count with the layer before them: they work in place, or are small.
WITHIN = (nn.ReLU, nn.Dropout, nn.Flatten, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Layer:
    """One layer's costs, per image where they grow with the batch."""

    layer: str
    output: str  # such as "64×55×55"
    parameters: int = 0
    flop: int = 0  # forward and backward: of the multiplications and additions with weights
    kept_bytes: int = 0  # what the forward pass keeps for the backward pass, besides the weights
    gradient_bytes: int = 0  # of its output: the backward pass holds it until the next one is there


def layers(network: nn.Sequential, side: int) -> list[Layer]:
    """The image and the layers of a network on torch's meta device, for images of side × side.

    A tensor that is kept counts with the layer that made it, and once.
    """
    image = torch.empty(1, 3, side, side, device="meta")
    rows = [Layer("image", _shape(image))]
    made: dict[int, int] = {_storage(image): 0}  # which row a tensor belongs to
    kept: dict[int, Tensor] = {}
    weights = {_storage(parameter) for parameter in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept.setdefault(_storage(tensor), tensor)
            made.setdefault(_storage(tensor), len(rows) - 1)
        return tensor

    x, alive = image, []
    for name, module in network.named_children():
        if not isinstance(module, WITHIN):
            rows.append(Layer(name, ""))
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            x = module(x)
        alive.append(x)  # so that no other tensor gets its address
        made.setdefault(_storage(x), len(rows) - 1)
        if not isinstance(module, WITHIN):
            rows[-1] = _costs(name, module, x, first=len(rows) == 2)
    for address, tensor in kept.items():
        place, size = made[address], tensor.untyped_storage().nbytes()
        rows[place] = replace(rows[place], kept_bytes=rows[place].kept_bytes + size)
    return rows


def _costs(name: str, module: nn.Module, output: Tensor, first: bool) -> Layer:
    """What is not kept: forward, and backward to the weights and, unless it is first, below."""
    own = list(module.parameters())
    passes = 2 if first else 3
    flop = passes * 2 * own[0][0].numel() * output.numel() if own else 0
    parameters = sum(each.numel() for each in own)
    return Layer(name, _shape(output), parameters, flop, gradient_bytes=4 * output.numel())


def layers_of(benchmark: Benchmark, network: Network) -> list[Layer]:
    """The layers of one of the benchmark's networks."""
    with torch.device("meta"):
        return layers(NETWORKS[network](benchmark.classes), benchmark.image_pixels)


def network_facts(benchmark: Benchmark, network: Network) -> dict[str, float]:
    """Parameters, GFLOP and MiB of a network: the sums over its layers."""
    rows = [asdict(row) for row in layers_of(benchmark, network)]
    parameters, flop, kept = (
        sum(row[key] for row in rows) for key in ("parameters", "flop", "kept_bytes")
    )
    return {
        "parameters": parameters,
        "gflop_per_image": round(flop / 1e9, 3),
        "kept_mib_per_image": round(kept / MIB, 3),
    }


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape[1:]))
