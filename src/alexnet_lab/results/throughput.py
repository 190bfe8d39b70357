"""What do the benchmark's timed steps say, and its networks' layers? DataFrames in, numbers out.

Timing has one row per (variant, batch size, step); a batch that was not measured has one row
without seconds, whose ``status`` says why. Layers have one row per (network, layer).
"""

from collections.abc import Mapping
from math import isnan
from pathlib import Path

import pandas as pd

from alexnet_lab.params.study import Target
from alexnet_lab.results.runs import read_runs
from alexnet_lab.results.statistics import Sample

STEPS = 10  # that the text's seconds are of
GTX_580 = 3072  # MiB of the GPU that AlexNet was trained on (Krizhevsky et al., 2012), two of them
BATCH_OF_2012 = 128  # images; half of each network on either GPU
MIB = 2**20
PUBLISHED = Path(__file__).with_name("published.csv")  # on 224×224 images, measured by others


def read_benchmark(folder: Path, variants: Mapping[str, Target]) -> pd.DataFrame:
    """Read the benchmark's files of one kind; ``stage`` is the variant that wrote a row.

    ``variant`` is its name, or, if it times several networks, the network and the device, or the
    stage if another one times that as well. Rows of before there was a peak have none. UserError if
    a file is missing.
    """
    rows = read_runs(folder, variants).rename(columns={"variant": "stage"})
    targets = rows["stage"].map(variants)
    if "peak_gflop_per_s" not in rows:
        rows["peak_gflop_per_s"] = float("nan")
    first = targets.map(lambda target: target.networks[0])
    rows["network"] = rows["network"].fillna(first) if "network" in rows else first
    device = targets.map(lambda target: "gpu" if target.device == "cuda" else target.device)
    alone = targets.map(lambda target: len(target.networks) == 1)
    several = rows["stage"].mask(alone).groupby([rows["network"], device]).transform("nunique")
    where = rows["stage"].where(several > 1, device)
    rows["variant"] = rows["stage"].where(alone, rows["network"] + ", " + where)
    return rows


def throughput(timing: pd.DataFrame) -> pd.DataFrame:
    """Images per second by (variant, batch_size): median, lowest and highest step.

    Also ``seconds``, of all timed steps together, the peak memory in MiB, the network, stage and
    hardware. Batches that were not measured are left out.
    """
    steps = timing.dropna(subset=["seconds"])
    groups = steps.groupby(["variant", "batch_size"], sort=False)
    rates = groups.agg(
        steps=("seconds", "count"),
        seconds=("seconds", "sum"),
        median=("seconds", "median"),
        slowest=("seconds", "max"),
        fastest=("seconds", "min"),
        peak_memory_mib=("peak_memory_mib", "max"),
        network=("network", "first"),
        stage=("stage", "first"),
        hardware=("hardware", "first"),
    ).reset_index()
    for rate, step in (("img_per_s", "median"), ("lowest", "slowest"), ("highest", "fastest")):
        rates[rate] = rates["batch_size"] / rates.pop(step)
    return rates


def arithmetic(timing: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """The throughput, in ``gflop_per_s`` what it is of arithmetic, and ``peak``, both GFLOP/s.

    The peak is what a product of matrices reached in the same stage; NaN if none was timed.
    """
    rates = throughput(timing)
    gflop = layers.groupby("network")["flop"].sum() / 1e9
    rates["gflop_per_s"] = rates["img_per_s"] * rates["network"].map(gflop)
    rates["peak"] = rates["stage"].map(timing.groupby("stage")["peak_gflop_per_s"].max())
    return rates


def side_by_side(rates: pd.DataFrame) -> "pd.Series[float]":
    """Two towers' images per second over one tower's of the same stage, by (stage, batch_size)."""
    wide = rates.pivot(index=["stage", "batch_size"], columns="network", values="img_per_s")
    wide = wide.reindex(columns=["one_tower", "two_towers"])
    return (wide["two_towers"] / wide["one_tower"]).dropna()


def not_measured(timing: pd.DataFrame) -> pd.DataFrame:
    """The (variant, batch_size) that have no times, and in ``status`` why."""
    return timing.loc[timing["seconds"].isna(), ["variant", "batch_size", "status"]]


def speed_up(rates: pd.DataFrame) -> "pd.Series[float]":
    """GPU over CPU images per second by batch size; empty unless both were measured."""
    wide = rates.pivot(index="batch_size", columns="variant", values="img_per_s")
    wide = wide.reindex(columns=["cpu", "gpu"])
    return (wide["gpu"] / wide["cpu"]).dropna()


def by_step(timing: pd.DataFrame) -> dict[str, Sample]:
    """What the benchmark's claims are about, by (batch size, step): a step is a run here.

    ``cpu_seconds`` and ``gpu_seconds`` of as many steps as the text times, all as long as this one;
    ``cpu_rate`` and ``gpu_rate`` in images per second; ``speed_up``, GPU over CPU, also for "mean",
    over the seconds of all batch sizes together. What was not measured is left out.
    """
    timed = timing.dropna(subset=["seconds"])
    rows = timed.set_index([timed["batch_size"].map(str), timed["iteration"]])
    rows = rows.rename_axis(["variant", "seed"])
    found: dict[str, pd.Series[float]] = {}
    for device, steps in rows.groupby(timed["variant"].to_numpy(), sort=False):
        found[f"{device}_seconds"] = STEPS * steps["seconds"]
        found[f"{device}_rate"] = steps["batch_size"] / steps["seconds"]
    if {"cpu_seconds", "gpu_seconds"} <= found.keys():
        both = pd.concat({d: found[f"{d}_seconds"] for d in ("cpu", "gpu")}, axis=1).dropna()
        sums = pd.concat({"mean": both.groupby("seed").sum()}, names=["variant"])
        every = pd.concat([both, sums])
        found["speed_up"] = every["cpu"] / every["gpu"]
    return {name: Sample(values, pool=False) for name, values in found.items()}


def memory(layers: pd.DataFrame, batch_sizes: list[int]) -> pd.DataFrame:
    """MiB in float32 by (network, batch size): what a training step holds at least, of what.

    ``computed`` is what the benchmark's plain SGD needs: without momentum. Workspaces and the
    gradients of activations come on top.
    """
    sums = layers.groupby("network", sort=False)[["parameters", "kept_bytes"]].sum().reset_index()
    rows = sums.merge(pd.DataFrame({"batch_size": batch_sizes}), how="cross")
    rows = rows.set_index(["network", "batch_size"], drop=False)
    weights = 4 * rows["parameters"] / MIB
    kept = rows["kept_bytes"] / MIB * rows["batch_size"]
    parts = {"weights": weights, "gradients": weights, "momentum": weights, "kept": kept}
    return pd.DataFrame(parts | {"computed": weights + weights + kept})


def largest_batch(layers: pd.DataFrame, gradients_too: bool = False) -> dict[str, int]:
    """How many images fit into a GTX 580 by that count, with momentum, by network.

    ``gradients_too`` counts the gradient of every layer's output as if all were held at once.
    """
    sums = layers.groupby("network").sum(numeric_only=True)
    free = GTX_580 * MIB - 3 * 4 * sums["parameters"]
    each = sums["kept_bytes"] + (sums["gradient_bytes"] if gradients_too else 0)
    return {str(network): int(count) for network, count in (free / each).items()}


def benchmark_metrics(runs: pd.DataFrame) -> dict[str, dict[str, int]]:
    """The largest batch that was measured on each device; nothing if none was."""
    sizes = runs["batch_size"].where(runs["status"] == "measured")
    largest = sizes.groupby(runs["variant"], sort=False).max()
    return {
        str(variant): {} if isnan(size) else {"largest_batch": int(size)}
        for variant, size in largest.items()
    }
