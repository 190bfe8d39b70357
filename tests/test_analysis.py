"""Summaries, figures and the report, on curves whose answers are known by hand."""

import json
import math
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
import yaml

from alexnet_lab import params
from alexnet_lab.benchmark import steps as benchmark
from alexnet_lab.benchmark.layers import network_facts
from alexnet_lab.benchmark.steps import (
    CRASHED,
    MEASURED,
    NO_DEVICE,
    TOO_LARGE,
    measure_all,
)
from alexnet_lab.errors import UserError
from alexnet_lab.machine.devices import is_out_of_memory
from alexnet_lab.machine.files import write_csv, write_json
from alexnet_lab.params.claims import Effect, More, Topic, Value
from alexnet_lab.params.recipes import Mlp
from alexnet_lab.params.study import Benchmark, Compare, Data, Network, Study, Target
from alexnet_lab.results import runs as reading
from alexnet_lab.results.analysis import divergences, metrics, summarize
from alexnet_lab.results.experiments import table as experiments_table
from alexnet_lab.results.explore import leaders, training_chart
from alexnet_lab.results.figures import (
    PALETTE,
    benchmark_figure,
    colours,
    overview_figure,
    training_figure,
)
from alexnet_lab.results.finding import finding
from alexnet_lab.results.panels import PANELS
from alexnet_lab.results.pictures import PICTURES
from alexnet_lab.results.quantities import QUANTITIES, epochs_to_threshold
from alexnet_lab.results.report import remarks, report
from alexnet_lab.results.runs import Runs, read_runs
from alexnet_lab.results.sections import (
    benchmark_answer,
    benchmark_section,
    places,
    spent,
    training_section,
)
from alexnet_lab.results.tables import layers_table
from alexnet_lab.results.throughput import (
    arithmetic,
    benchmark_metrics,
    largest_batch,
    memory,
    read_benchmark,
    side_by_side,
    speed_up,
    throughput,
)
from tests.conftest import ROOT

TOPIC = Topic(question="Why?", what_if="a=1")
ALL_PANELS = Compare(
    baseline="slow",
    last_epochs=2,
    margins={"window_accuracy": 0.5, "gap_clean": 0.01},
    quantities=("gradient_norm", "epochs_to_threshold", "gap"),
    panels=tuple(PANELS),
    threshold=70,
)


def runs_of(
    curves: pd.DataFrame, timing: pd.DataFrame | None = None, compare: Compare = ALL_PANELS
) -> Runs:
    if timing is None:
        timing = curves[["variant", "seed", "epoch"]].assign(
            seconds=1.0, hardware="here", precision="fp32", name=float("nan")
        )
    return Runs(curves, timing, compare, classes=10)


def compare_of(**changes: Any) -> Compare:
    return ALL_PANELS.model_copy(update=changes)


def run(variant: str, seed: int, accuracies: list[float]) -> pd.DataFrame:
    epochs = range(1, len(accuracies) + 1)
    return pd.DataFrame(
        {
            "variant": variant,
            "seed": seed,
            "epoch": epochs,
            "lr": 0.1,
            "train_loss": [1.0 / e for e in epochs],
            "train_loss_clean": [0.5 / e for e in epochs],
            "test_loss": 1.0,
            "test_accuracy": accuracies,
            "gradient_norm": 0.25,
            "train_accuracy": float("nan"),
            "held_back_accuracy": float("nan"),
            "layer_gradients": "0.25 0.5",
        }
    )


def two_variants() -> pd.DataFrame:
    return pd.concat(
        [
            run("slow", 0, [50.0, 60.0, 71.0]),
            run("slow", 1, [50.0, 60.0, 69.0]),
            run("fast", 0, [70.0, 75.0, 80.0]),
            run("fast", 1, [65.0, 75.0, 82.0]),
        ],
        ignore_index=True,
    )


@pytest.fixture
def curves() -> pd.DataFrame:
    return two_variants()


@pytest.fixture
def timing(curves: pd.DataFrame) -> pd.DataFrame:
    return curves[["variant", "seed", "epoch"]].assign(
        seconds=2.0,
        hardware="a CPU",
        precision="bf16",
        name=[f"{number}" for number in range(len(curves))],
    )


def test_the_report_says_which_variant_ran_where_if_they_differ(timing: pd.DataFrame) -> None:
    assert places(timing) == "a CPU in bf16"
    timing.loc[timing["variant"] == "fast", "precision"] = "fp32"
    assert places(timing) == "a CPU in bf16 (slow); a CPU in fp32 (fast)"


@pytest.mark.parametrize(
    ("asked", "fast", "other", "apart"),
    [
        ({}, "fp32", "bf16", {"fast"}),
        ({"fast": "fp32"}, "fp32", "bf16", set()),
        ({"fast": "fp32", "slow": "bf16"}, "fp32", "bf16", set()),
        ({"fast": "bf16"}, "fp32", "bf16", {"fast"}),  # of before it was asked
        ({"slow": "bf16"}, "fp32", "bf16", set()),  # fast and no other chose its own
    ],
)
def test_a_precision_that_a_variant_asks_for_is_no_other_place(
    curves: pd.DataFrame,
    timing: pd.DataFrame,
    asked: dict[str, str],
    fast: str,
    other: str,
    apart: set[str],
) -> None:
    timing["precision"] = timing["variant"].map({"fast": fast, "slow": other})
    assert replace(runs_of(curves, timing), asked=asked).apart == apart
    timing.loc[timing["variant"] == "fast", "hardware"] = "another CPU"
    assert replace(runs_of(curves, timing), asked=asked).apart == {"fast"}


def test_a_precision_that_no_variant_asks_for_is_another_place(timing: pd.DataFrame) -> None:
    """Of two that chose their own, one took another: then what is asked for counts no more."""
    third = timing[timing["variant"] == "slow"].assign(variant="third")
    timing = pd.concat([timing, third], ignore_index=True)
    timing["precision"] = timing["variant"].map({"slow": "bf16", "fast": "fp32", "third": "fp32"})
    runs = replace(runs_of(pd.DataFrame(), timing), asked={"third": "fp32"})
    assert runs.apart == {"fast", "third"}


def test_a_variant_of_another_recipe_is_neither_judged_nor_ranked(curves: pd.DataFrame) -> None:
    runs = runs_of(curves, compare=compare_of(against={"fast": None}))
    topic = Topic(effect=Effect(of="fast", less="slow"))
    section = training_section("demo", topic, runs)
    assert section.effect.n == 0 and section.finding == "Nothing is compared"
    assert not runs.compare.ranks and not leaders(training_chart(runs, topic))
    assert "ighest" not in section.answer and "no difference is judged" in section.how_sure


def test_what_ran_elsewhere_is_marked_and_not_compared(
    curves: pd.DataFrame, timing: pd.DataFrame
) -> None:
    """In the answer, in every table, in the figure and in the claims."""
    timing.loc[timing["variant"] == "fast", "precision"] = "fp32"
    runs = runs_of(curves, timing)
    claims = {
        "better": More(
            kind="more", says="", place="", quantity="window_accuracy", of="fast", than=("slow",)
        )
    }
    section = training_section("demo", Topic(claims=claims), runs)
    assert "**fast***" in section.answer and "**fast** not comparable" in section.answer
    assert "A star marks" in section.how_sure
    assert list(section.tables[0].index) == ["slow", "fast*"]
    assert section.tables[0]["s/epoch"].tolist() == [2.0, 2.0]
    assert set(section.tables[1]["verdict"]) == {"not comparable"}
    checked = section.ledger["demo_better"]
    assert checked.verdict == "undecided" and "other arithmetic" in checked.note
    figure = training_figure(runs)
    names = {tick.get_text() for axis in figure.axes for tick in axis.get_yticklabels()}
    assert "fast*" in names and "fast" not in names
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert "not comparable" in texts and figure.get_supxlabel().startswith("* in other")
    assert section.finding == "Fast ran elsewhere, so cannot be compared"
    same = training_section("demo", Topic(), runs_of(curves, timing.assign(precision="fp32")))
    assert "*" not in "".join(same.tables[0].index) and "star" not in same.how_sure


def test_without_a_margin_of_accuracy_the_answer_compares_nothing(curves: pd.DataFrame) -> None:
    compare = compare_of(margins={"gap_clean": 0.01})
    assert "Against" not in training_section("demo", TOPIC, runs_of(curves, None, compare)).answer


def test_a_variant_compared_with_another_is_labelled_so(
    curves: pd.DataFrame, timing: pd.DataFrame
) -> None:
    third = curves[curves["variant"] == "fast"].assign(variant="third")
    timing = pd.concat([timing, timing[timing["variant"] == "fast"].assign(variant="third")])
    timing.loc[timing["variant"] == "third", "precision"] = "fp32"
    compare = compare_of(against={"third": "fast"}, panels=("differences",))
    runs = runs_of(pd.concat([curves, third]), timing, compare)
    answer = training_section("demo", TOPIC, runs).answer
    assert "Against **slow**, paired by seed: **fast**" in answer
    assert "Against **fast**: **third** not comparable" in answer
    ticks = [tick.get_text() for tick in training_figure(runs).axes[0].get_yticklabels()]
    assert ticks == ["fast\n− slow", "third*\n− fast"]


def test_a_finding_of_one_run_each_gives_no_verdict(curves: pd.DataFrame) -> None:
    one = curves[curves["seed"] == 0]
    assert finding(runs_of(one), TOPIC).endswith("; one run each, so no verdict")


def test_a_finding_has_the_digits_of_its_quantity_and_no_number_that_is_none(
    curves: pd.DataFrame, timing: pd.DataFrame
) -> None:
    curves.loc[curves["variant"] == "fast", "train_loss_clean"] -= 0.0042
    compare = compare_of(margins={"gap_clean": 0.001})
    found = finding(runs_of(curves, timing, compare), TOPIC)
    assert found == "Gap, clean, against slow: +0.0042 with fast"
    timing.loc[timing["variant"] == "fast", "precision"] = "fp32"
    found = finding(runs_of(curves, timing, compare), TOPIC)
    assert found == "Gap, clean, against slow: (not comparable) with fast"


def test_a_window_is_at_the_end_of_each_run() -> None:
    """Whatever the length of the others."""
    runs = runs_of(pd.concat([run("slow", 0, [1.0, 2.0, 3.0]), run("fast", 0, [7.0])]))
    window = QUANTITIES["window_accuracy"].compute(runs)
    assert window["slow"].tolist() == [2.5] and window["fast"].tolist() == [7]


def test_one_comparison_is_said_to_hold_by_itself(curves: pd.DataFrame) -> None:
    one, several = (
        training_section("demo", TOPIC, runs_of(curves, None, compare_of(margins=margins)))
        for margins in ({"window_accuracy": 0.5}, ALL_PANELS.margins)
    )
    assert "95 % each; that of the difference too. The spread" in one.how_sure
    assert "for all 2 that get a verdict, and are 97.5 % each. The spread" in several.how_sure


def test_one_difference_far_from_the_others_does_not_hide_them(curves: pd.DataFrame) -> None:
    near = {
        f"near_{n}": curves[curves["variant"] == "slow"].assign(variant=f"near_{n}") for n in "ab"
    }
    for name, rows in near.items():
        rows["test_accuracy"] += 0.5 if name.endswith("a") else -0.4
    compare = compare_of(panels=("differences",))
    for others, scale in ((near.values(), "symlog"), ((), "linear")):
        figure = training_figure(runs_of(pd.concat([curves, *others]), None, compare))
        assert figure.axes[0].get_xscale() == scale


def test_the_report_says_how_long_the_runs_took(timing: pd.DataFrame) -> None:
    assert spent(timing.assign(seconds=3600 / len(timing))) == "60 min"
    assert spent(timing.assign(seconds=4896 * 2 / len(timing))) == "2.7 h"


def test_an_epoch_that_two_variants_share_was_trained_once(timing: pd.DataFrame) -> None:
    timing["seconds"] = 60.0
    assert spent(timing) == "12 min"
    timing.loc[timing["epoch"] == 1, "name"] = timing["seed"].map("seed {}".format)
    assert spent(timing) == "10 min"
    timing.loc[(timing["variant"] == "fast") & (timing["epoch"] == 1), "seconds"] = 61.0
    assert spent(timing) == "12 min"  # two computations of one epoch
    assert spent(timing.assign(name=math.nan)) == "12 min"  # timing of before there were names


def test_epochs_to_threshold_count_from_one_and_are_undefined_if_never(
    curves: pd.DataFrame,
) -> None:
    reached = epochs_to_threshold(runs_of(curves))
    assert reached["fast"].tolist() == [1, 2]
    assert reached["slow", 0] == 3 and math.isnan(reached["slow", 1])


def test_the_summary_is_means_over_seeds_and_null_where_undefined(curves: pd.DataFrame) -> None:
    summary = summarize(runs_of(curves))
    assert list(summary) == ["slow", "fast"]
    assert summary["fast"]["final_accuracy"] == 81
    # t(0.975, 2) = 4.303; both variants have a standard deviation of √2, so the pooled s.e. is 1.
    assert summary["fast"]["final_accuracy_ci95"] == 4.3
    assert summary["fast"]["window_accuracy"] == 78
    assert summary["fast"]["epochs_to_threshold"] == 1.5
    assert summary["slow"]["epochs_to_threshold"] is None
    assert summary["slow"]["seeds_reaching_threshold"] == 1
    assert summarize(runs_of(curves[curves["seed"] == 0]))["fast"]["final_accuracy_ci95"] is None


def test_a_diverged_run_makes_nulls_not_numbers(curves: pd.DataFrame, tmp_path: Path) -> None:
    curves.loc[(curves["variant"] == "slow") & (curves["epoch"] == 3), "test_loss"] = math.nan
    summary = summarize(runs_of(curves))
    assert summary["slow"]["final_test_loss"] is None and summary["slow"]["gap"] is None
    write_json({"a": {"b": math.nan, "c": math.inf, "d": 1.5}}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": {"b": None, "c": None, "d": 1.5}}


def test_both_gaps_are_means_over_the_last_epochs(curves: pd.DataFrame) -> None:
    gap, clean = (QUANTITIES[name].compute(runs_of(curves)) for name in ("gap", "gap_clean"))
    assert gap["slow", 0] == pytest.approx(1 - (1 / 2 + 1 / 3) / 2)
    assert clean["slow", 0] == pytest.approx(1 - (1 / 4 + 1 / 6) / 2)
    of_all = QUANTITIES["gap"].compute(runs_of(curves, compare=compare_of(last_epochs=99)))
    assert of_all["slow", 0] == pytest.approx(1 - 11 / 18)


def test_a_variant_has_one_colour_in_every_panel(
    curves: pd.DataFrame, timing: pd.DataFrame
) -> None:
    figure = training_figure(runs_of(curves, timing))
    assert colours(["slow", "fast"]) == {"slow": PALETTE[0], "fast": PALETTE[1]}
    for axis in figure.axes:
        if not axis.axison:  # an empty cell
            continue
        title = axis.get_title(loc="left")
        assert title and axis.get_xlabel(), "a panel without words"
        used = {line.get_color() for line in axis.lines} - {"grey"}
        assert used == ({PALETTE[1]} if "minus" in title else set(PALETTE[:2]))
    ticks = [tick.get_text() for tick in figure.axes[7].get_yticklabels()]
    assert ticks == ["slow", "fast"]


def test_every_word_of_a_figure_stays_inside_it() -> None:
    names = ("constant", "step", "exponential", "cosine", "warmup_and_then_cosine")
    runs = [run(name, seed, [50.0, 60.0 + seed]) for name in names for seed in (0, 1)]
    curves = pd.concat(runs, ignore_index=True)
    panels = ("train_loss", "gap", "window_accuracy", "differences")
    compare = compare_of(baseline=names[-1], panels=panels, margins={"window_accuracy": 1})
    figure = training_figure(runs_of(curves, compare=compare))
    figure.draw_without_rendering()
    whole = figure.bbox.padded(1)
    assert len(figure.axes) == 4 and len(figure.legends) == 1
    words = [figure.legends[0]]
    for axis in figure.axes:
        every = (axis.xaxis.label, axis.yaxis.label, axis._left_title)
        words += [word for word in every if word.get_text()]
    assert len(words) == 1 + 4 * 2 + 1
    for box in (word.get_window_extent() for word in words):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1


def test_equal_values_stand_beside_each_other(timing: pd.DataFrame) -> None:
    curves = pd.concat([run("slow", seed, [50.0, 60.0]) for seed in (0, 1)], ignore_index=True)
    compare = compare_of(panels=("final_accuracy",))
    dots = training_figure(runs_of(curves, compare=compare)).axes[0].lines[0].get_xydata()
    assert len({tuple(dot) for dot in dots}) == 2


def test_the_figure_says_where_a_threshold_was_not_reached(
    curves: pd.DataFrame, timing: pd.DataFrame
) -> None:
    compare = compare_of(panels=("epochs_to_threshold",), threshold=81)
    figure = training_figure(runs_of(curves[curves["seed"] == 0], compare=compare))
    assert [text.get_text() for text in figure.axes[0].texts] == ["not reached"] * 2
    both = training_figure(runs_of(curves, compare=compare))
    assert [t.get_text() for t in both.axes[0].texts] == ["not reached", "3.0 (1 of 2 seeds)"]


LAYERS = pd.DataFrame(  # a MiB of weights each
    {
        "network": ["one_tower", "one_tower", "two_towers"],
        "layer": ["image", "fc", "fc"],
        "output": ["3×2×2", "7", "7"],
        "parameters": [0, 2**18, 2**18],
        "flop": [0, 10**9, 3 * 10**9],
        "kept_bytes": [2**20, 2 * 2**20, 5 * 2**20],
        "gradient_bytes": [0, 2**20, 2**20],
    }
)


def steps(
    variant: str,
    batch: int,
    seconds: list[float | None],
    stage: str = "",
    network: str = "one_tower",
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": variant,
            "stage": stage or variant,
            "network": network,
            "batch_size": batch,
            "iteration": range(1, len(seconds) + 1),
            "seconds": pd.array(seconds, dtype="float"),
            "peak_memory_mib": 100.0,
            "hardware": variant.upper(),
            "status": [NO_DEVICE if value is None else MEASURED for value in seconds],
            "peak_gflop_per_s": 100.0 if stage else float("nan"),
        }
    )


def test_throughput_is_the_batch_over_the_median_step() -> None:
    rates = throughput(steps("cpu", 32, [1.0, 2.0, 4.0])).iloc[0]
    assert (rates["img_per_s"], rates["lowest"], rates["highest"]) == (16, 8, 32)
    assert rates["seconds"] == 7


def test_a_speed_up_needs_both_devices() -> None:
    cpu = [steps("cpu", 32, [2.0]), steps("cpu", 64, [4.0])]
    absent = pd.concat([*cpu, steps("gpu", 32, [None])])
    assert speed_up(throughput(absent)).empty
    both = pd.concat([*cpu, steps("gpu", 32, [0.1]), steps("gpu", 64, [None])])
    assert speed_up(throughput(both)).to_dict() == {32: pytest.approx(20)}
    runs = pd.DataFrame(
        {
            "variant": ["cpu", "gpu"],
            "batch_size": 32,
            "status": [MEASURED, NO_DEVICE],
        }
    )
    assert benchmark_metrics(runs) == {"cpu": {"largest_batch": 32}, "gpu": {}}
    answer = benchmark_answer(absent)
    assert "GPU not measured (no such device here)" in answer and "×" not in answer
    assert "GPU over CPU 20.0× at batch 32" in benchmark_answer(both)
    figure = benchmark_figure(absent, LAYERS)
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert {"GPU not measured", "gpu: no such device here"} <= {*texts}
    section = benchmark_section(TOPIC, absent, LAYERS)
    assert "no such device here" in set(section.tables[0]["img/s, median"])


def test_two_towers_are_compared_with_one_that_was_timed_in_turn(tmp_path: Path) -> None:
    both = [
        steps(f"{network}, cpu", 32, [seconds], "towers", network)
        for network, seconds in (("one_tower", 0.5), ("two_towers", 2.0))
    ]
    timing = pd.concat([steps("cpu", 32, [0.1]), *both])
    rates = arithmetic(timing, LAYERS).set_index("variant")
    assert side_by_side(throughput(timing)).to_dict() == {("towers", 32): 0.25}
    assert rates["gflop_per_s"].to_dict() == pytest.approx(
        {"cpu": 320, "one_tower, cpu": 64, "two_towers, cpu": 48}
    )
    assert rates["peak"].tolist()[1:] == [100, 100] and math.isnan(rates["peak"].iloc[0])
    section = benchmark_section(TOPIC, timing, LAYERS)
    assert "train 0.25× to 0.25× as many images per second as one tower" in section.answer
    assert "two" not in section.brief
    shares = section.tables[0]["of the measured peak"].tolist()
    assert shares == [None, "64 % of 100", "48 % of 100"]
    benchmark_figure(timing, LAYERS).savefig(tmp_path / "x.png")


def test_a_variant_of_several_networks_is_read_as_one_for_each(tmp_path: Path) -> None:
    write_csv([{"batch_size": 2}], tmp_path / "cpu.csv")  # from before there were two
    both: tuple[Network, ...] = ("one_tower", "two_towers")
    write_csv([{"network": name, "batch_size": 2} for name in both], tmp_path / "towers.csv")
    targets = {"cpu": Target(device="cpu"), "towers": Target(device="cuda", networks=both)}
    rows = read_benchmark(tmp_path, targets)
    assert rows["variant"].tolist() == ["cpu", "one_tower, gpu", "two_towers, gpu"]
    assert rows["network"].tolist() == ["one_tower", *both]
    assert rows["stage"].tolist() == ["cpu", "towers", "towers"]
    targets["towers"] = Target(device="cpu", networks=both)  # as `cpu`, which times one alone
    rows = read_benchmark(tmp_path, targets)
    assert rows["variant"].tolist() == ["cpu", "one_tower, cpu", "two_towers, cpu"]
    (tmp_path / "here.csv").write_bytes((tmp_path / "towers.csv").read_bytes())
    rows = read_benchmark(tmp_path, targets | {"here": targets["towers"]})
    assert rows["variant"].tolist()[1:] == [f"{n}, {s}" for s in ("towers", "here") for n in both]


def test_memory_is_what_the_weights_and_the_kept_tensors_take() -> None:
    needed = memory(LAYERS, [2, 4])
    columns = ["weights", "gradients", "momentum", "kept", "computed"]
    assert needed.loc[("one_tower", 2), columns].tolist() == [1, 1, 1, 6, 8]
    assert needed.loc[("two_towers", 4), columns].tolist() == [1, 1, 1, 20, 22]
    assert largest_batch(LAYERS) == {"one_tower": 3069 // 3, "two_towers": 3069 // 5}
    with_gradients = largest_batch(LAYERS, gradients_too=True)
    assert with_gradients == {"one_tower": 3069 // 4, "two_towers": 3069 // 6}


def test_the_table_of_layers_ends_in_their_sum() -> None:
    table = layers_table(LAYERS[LAYERS["network"] == "one_tower"])
    assert table.index.tolist() == ["image", "fc", "all"]
    assert table.loc["all"].tolist() == [None, "262,144", "2.0", "3.0", "3.000", "1.000", "1.000"]
    assert table.loc["image"].tolist() == ["3×2×2", None, None, None, "1.000", None, None]


CPU = Target(device="cpu")


@pytest.fixture
def small(study: Study) -> Benchmark:
    changes = {
        "image_pixels": 63,
        "batch_sizes": (2, 4),
        "iterations": 2,
        "warmup_iterations": 1,
        "classes": 10,
    }
    return study.benchmark.model_copy(update=changes)


def test_each_batch_is_measured_or_reported_as_too_large(
    small: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a petabyte is refused by the allocator itself, for real."""
    monkeypatch.setattr(benchmark, "_in_own_process", benchmark.measure)
    monkeypatch.setitem(benchmark.SIDE, "cpu", 512)
    huge = small.model_copy(update={"batch_sizes": (10**10, 2)})
    refused, found = measure_all(huge, CPU)
    assert (refused.batch_size, refused.status, refused.seconds) == (10**10, TOO_LARGE, ())
    assert found.status == MEASURED and len(found.seconds) == 2 and min(found.seconds) > 0
    assert found.peak_memory_mib is not None and 100 < found.peak_memory_mib < 8192
    assert "cores" in found.hardware
    assert found.peak_gflop_per_s is not None and 1 < found.peak_gflop_per_s < 10**5


def test_networks_take_turns_batch_by_batch(
    small: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "_in_own_process", lambda *words: words[2:])
    both: tuple[Network, ...] = ("one_tower", "two_towers")
    order = list(measure_all(small, Target(device="cpu", networks=both)))
    assert order == [(network, size) for size in (2, 4) for network in both]


@pytest.mark.parametrize(
    ("number", "status"), [(9, TOO_LARGE), pytest.param(11, CRASHED, marks=pytest.mark.slow)]
)
def test_a_killed_process_did_not_fit_and_another_death_is_a_crash(
    small: Benchmark, monkeypatch: pytest.MonkeyPatch, number: int, status: str
) -> None:
    monkeypatch.setattr(benchmark, "_once", partial(_die, number))
    assert benchmark._in_own_process(small, "cpu", "one_tower", 2).status == status


def _die(number: int, *_: object) -> None:
    os.kill(os.getpid(), number)


def test_out_of_memory_is_known_by_class_or_by_word() -> None:
    words = "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"
    assert all(is_out_of_memory(RuntimeError(text)) for text in words)
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shapes"))


def flat(variant: str, losses: list[float]) -> pd.DataFrame:
    return run(variant, 0, [10.0] * len(losses)).assign(train_loss=losses)


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        ([1.5, 1.2, 0.9], None),
        ([2.303, 2.302, 2.303], None),  # it has not begun to learn
        ([2.303, 2.25, 2.301], None),  # nor here
        ([9.0, 2.2, 1.0], None),  # it recovered
        ([1.5, math.nan, math.nan], 2),
        ([1.5, 2.303, 2.302], 2),  # collapsed to guessing
        ([5397.0, 6.1, 2.36], 1),
        ([1.5, math.inf, 1.4, 40.0], 4),
        ([math.nan], 1),
    ],
)
def test_a_run_diverged_from_where_it_never_again_learnt(
    losses: list[float], epoch: int | None
) -> None:
    diverged = divergences(runs_of(flat("a", losses))).item()
    assert math.isnan(diverged) if epoch is None else diverged == epoch


def test_divergence_is_a_result(tmp_path: Path) -> None:
    """JSON stays valid, figure, legend and report say it; the healthy keep their scale."""
    lost = flat("lost", [1.5, math.nan, math.nan]).assign(test_loss=[1.0, 1e9, math.inf])
    other = run("lost", 1, [30.0, 40.0, 50.0])
    curves = pd.concat([run("fine", 0, [30.0, 40.0, 50.0]), lost, other])
    summary = summarize(runs_of(curves))
    write_json(summary, tmp_path / "m.json")
    written = json.loads((tmp_path / "m.json").read_text())
    assert written["lost"]["final_train_loss"] is None
    assert written["lost"]["seeds_diverged"] == 1
    assert written["lost"]["diverged_from_epoch"] == 2
    assert "seeds_diverged" not in written["fine"]
    figure = training_figure(runs_of(curves))
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    labels += [t.get_text() for a in figure.axes if a.get_legend() for t in a.get_legend().texts]
    assert "lost: diverged at epoch 2 (1 of 2)" in labels and "fine" in labels
    for axis in figure.axes:
        if "loss" in axis.get_title().lower():
            assert axis.get_ylim()[1] < 10, axis.get_title()
    figure.savefig(tmp_path / "x.png")
    assert metrics(summary, runs_of(curves))["lost"]["seeds_diverged"] == 1
    runs = runs_of(curves, compare=compare_of(baseline="fine"))
    answer = training_section("schedules", TOPIC, runs).answer
    assert "Diverged: **lost** from epoch 2 (1 of 2 seeds)." in answer


def test_an_exercise_that_diverged_altogether_is_drawn(tmp_path: Path) -> None:
    curves = flat("lost", [math.nan] * 3)
    figure = training_figure(runs_of(curves))
    figure.savefig(tmp_path / "x.png")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["every run diverged"]
    runs = runs_of(curves, compare=compare_of(baseline="lost"))
    section = training_section("schedules", TOPIC, runs)
    assert section.answer == "Every run diverged: **lost** from epoch 1 (1 of 1 seeds)."
    assert section.finding == "Every run diverged"


def test_the_overview_sets_what_was_measured_beside_what_the_text_says(
    curves: pd.DataFrame, tmp_path: Path
) -> None:
    claims = {
        of: Value(kind="value", says="", place="", quantity="final_accuracy", of=of, value=value)
        for of, value in (("fast", 77.5), ("lost", 50.0))
    }
    topics = {"one": Topic(claims=claims), "two": TOPIC}
    figure = overview_figure(dict.fromkeys(topics, runs_of(curves)), topics)
    figure.savefig(tmp_path / "x.png")
    for axis, expected in zip(figure.axes, ([(77.5, 1)], []), strict=True):
        crosses = [line for line in axis.lines if line.get_marker() == "x"]
        assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in crosses] == expected
        assert [tick.get_text() for tick in axis.get_yticklabels()] == ["slow", "fast"]
    assert "the text says" in figure.legends[0].get_texts()[1].get_text()
    alone = overview_figure({"two": runs_of(curves)}, topics)  # as in the demo
    assert len(alone.legends[0].get_texts()) == 1


def test_without_a_gpu_nothing_is_said_of_it(
    small: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "has_gpu", lambda: False)
    found = measure_all(small, Target(device="cuda"))
    assert [(m.status, m.seconds) for m in found] == [(NO_DEVICE, ())] * 2


def test_the_networks_facts_are_those_of_alexnet(study: Study) -> None:
    facts = network_facts(study.benchmark, "one_tower")
    assert facts["parameters"] == 61_100_840
    # 0.714 GMAC forward (convolutions 0.655, linear 0.059); backward twice, less the images'.
    assert facts["gflop_per_image"] == pytest.approx(3 * 2 * 0.714 - 2 * 0.0703, rel=0.01)
    # The image, each ReLU's output, and each pooling's output and indices of eight bytes.
    pooled = 46_656 + 32_448 + 9_216
    floats = 150_528 + 193_600 + 139_968 + 64_896 + 2 * 43_264 + 3 * pooled + 2 * 4_096
    assert facts["kept_mib_per_image"] == pytest.approx(4 * floats / 2**20, rel=0.03)


def test_the_rate_stands_beneath_the_loss_on_the_same_epochs(curves: pd.DataFrame) -> None:
    figure = PICTURES["loss_and_rate"](runs_of(curves.assign(lr=0.1)), {})
    loss, test, rate = figure.axes
    assert loss.get_xlim() == test.get_xlim() == rate.get_xlim()
    assert [line.get_color() for line in loss.lines] == [line.get_color() for line in rate.lines]
    assert set(rate.lines[0].get_ydata()) == {0.1}
    means = curves[curves["variant"] == "slow"].groupby("epoch")["train_loss"].mean()
    assert loss.lines[0].get_ydata().tolist() == means.tolist()


def test_gradients_have_a_panel_per_depth_and_activation_and_a_line_per_epoch() -> None:
    kinds: tuple[Literal["relu", "tanh"], ...] = ("relu", "tanh")
    norms = ["0.001 0.1 1", "0.1 0.1 1"]
    curves = pd.concat(
        run(name, seed, [10.0, 20.0]).assign(layer_gradients=norms)
        for name in ("relu_2", "tanh_2")
        for seed in (0, 1)
    )
    models = {f"{kind}_2": Mlp(kind="mlp", hidden=(8, 8), activation=kind) for kind in kinds}
    figure = PICTURES["layer_gradients"](runs_of(curves), models)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["relu, 2 hidden layers", "tanh, 2 hidden layers"]
    for axis in figure.axes:
        lines = [line.get_ydata().tolist() for line in axis.lines]
        assert lines == [[0.001, 0.1, 1], [0.1, 0.1, 1]] and axis.get_yscale() == "log"


def test_variants_of_other_lengths_are_drawn_in_one_picture() -> None:
    """The first epoch has one colour in both."""
    lines = [run("short", 0, [10.0]), run("long", 0, [10.0, 20.0])]
    models = {name: Mlp(kind="mlp", hidden=(8,), activation="relu") for name in ("short", "long")}
    models["long"] = models["long"].model_copy(update={"activation": "tanh"})
    figure = PICTURES["layer_gradients"](runs_of(pd.concat(lines)), models)
    short, long = ([line.get_color() for line in axis.lines] for axis in figure.axes)
    assert long[0] == short[0] and len(long) == 2


def test_a_panel_that_would_be_empty_is_left_out(curves: pd.DataFrame) -> None:
    compare = compare_of(margins={"gap_clean": 0.01}, panels=("test_accuracy", "differences"))
    titles = [
        axis.get_title(loc="left") for axis in training_figure(runs_of(curves, None, compare)).axes
    ]
    assert [*filter(None, titles)] == ["Test accuracy"]


def test_the_last_epochs_are_all_there_are_if_there_are_fewer(
    study: Study, curves: pd.DataFrame
) -> None:
    found = reading.runs_of(study.exercise("schedules"), curves, curves)
    assert found.compare.last_epochs == curves["epoch"].max() == 3


def test_the_report_says_what_a_reader_must_know(
    curves: pd.DataFrame, timing: pd.DataFrame, study: Study
) -> None:
    changed = study.model_copy(update={"lr": 0.05, "data": Data(source="sample", held_back=0)})
    section = training_section("demo", TOPIC, runs_of(curves, timing))
    page = report(changed, [section], {}, remarks(changed, {}))
    assert page.index("sample in git") < page.index("lr = 0.05") < page.index("Why?")
    assert "**fast**, 78.00 ± 2.15 %" in page and "plots/demo.png" in page
    assert "| slow" in page and "a CPU" in page and "seeds: activation 0, 1, 2" in page
    assert "`dvc exp run -S 'a=1'`" in page
    topics = params.load_claims(study, ROOT / "claims.yaml")
    assert report(study, [section], {}, remarks(study, topics)).count(">") == 0
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["schedules"]["train"]["lr"] = 0.01
    (said,) = remarks(params.parse(raw), topics)
    assert said.endswith("its claims are about: schedules has lr 0.01, the text 0.1.")
    raw["data"]["held_back"] = 5000
    raw["augmentation"]["train"]["model"]["dropout"] = 0
    raw["benchmark"]["batch_sizes"] = [1, 512]
    held_back, said = remarks(params.parse(raw), topics)
    assert held_back.startswith("5,000 training images are held back")
    assert "benchmark has batch_sizes [1, 512], the text [32, 64, 128, 256]" in said
    assert "augmentation has model.dropout 0.0, the text 0.5" in said
    whole = topics["activation"].model_copy(update={"setting": {"label_smoothing": 0}})
    assert remarks(study, {"activation": whole}) == []
    glanced = next(line for line in page.splitlines() if line.startswith("| Why?"))
    assert "**fast**, 78.00 ± 2.15 %; lowest: **slow**" in glanced


def test_curves_of_other_variants_are_left_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "removed"):
        write_csv([{"epoch": 1}], tmp_path / f"{name}.csv")
    assert read_runs(tmp_path, ["b", "a"])["variant"].tolist() == ["b", "a"]
    with pytest.raises(UserError, match=r"missing\.csv cannot be read"):
        read_runs(tmp_path, ["missing"])


def test_an_experiments_metric_that_several_files_have_is_named_by_its_exercise() -> None:
    name = "metrics/batchnorm.json:with_bn.window_accuracy"
    rows = [{"Experiment": e, "rev": e, name: value} for e, value in (("a", 1.0), ("b", 2.0))]
    assert experiments_table(rows, set()).index.tolist() == [
        "batchnorm with_bn window accuracy (%)"
    ]


def test_the_table_of_experiments_shows_what_differs_and_nothing_else() -> None:
    common = {"seeds": "[0, 1]", "src/alexnet_lab/x.py": "abc", "relu.gradient_norm": 0.3}
    rows = [
        {"Experiment": None, "rev": "workspace", "lr": None, "relu.window_accuracy": 97.0},
        {"Experiment": None, "rev": "main", "lr": None, "relu.window_accuracy": 97.0},
        {"Experiment": "raked-weka", "rev": "58d87e6", "lr": 0.05, "relu.window_accuracy": 65.11},
    ]
    shown = experiments_table([row | common for row in rows], {"lr", "seeds"})
    assert shown.to_dict("index") == {
        "lr": {"main": "None", "raked-weka": "0.05"},
        "relu window accuracy (%)": {"main": "97", "raked-weka": "65.11"},
    }
