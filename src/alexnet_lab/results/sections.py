"""One section of the report per exercise: its answer in words, its tables, its claims."""

from dataclasses import dataclass

import pandas as pd

from alexnet_lab.params.claims import Topic
from alexnet_lab.results import analysis, tables, throughput
from alexnet_lab.results.analysis import Comparison, Summary
from alexnet_lab.results.claims import Ledger, Measured, check_all
from alexnet_lab.results.finding import benchmark_finding, finding
from alexnet_lab.results.quantities import QUANTITIES, sample
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.statistics import FEWEST, NOTHING, Estimate, level_of_each


@dataclass(frozen=True)
class Section:
    """One exercise's part of the report."""

    name: str
    topic: Topic
    finding: str  # in one sentence, without its full stop
    brief: str  # the answer for the table at a glance
    answer: str
    tables: tuple[pd.DataFrame, ...]
    how_sure: str
    measured_on: str
    ledger: Ledger
    measured: Measured
    effect: Estimate = NOTHING  # the difference that the topic names, or the speed-up
    short: str = ""  # the answer in a few words, if the verdicts bear it

    @property
    def headline(self) -> str:
        """The answer in short, if there is one, and the finding."""
        return f"{self.short}. {self.finding}." if self.short else f"{self.finding}."


def training_section(name: str, topic: Topic, runs: Runs, in_short: bool = True) -> Section:
    """The section of a training exercise; ``in_short`` allows the answer of claims.yaml."""
    claims = topic.claims.values()
    summary, comparisons = analysis.summarize(runs), analysis.compare_variants(runs, claims)
    size, measured = analysis.family(runs.compare, runs.variants, claims), analysis.measure(runs)
    level, effect = level_of_each(size), NOTHING
    if topic.effect and runs.compare.judges(topic.effect.of, topic.effect.less, runs.variants):
        accuracy = measured["window_accuracy"]
        effect = accuracy.difference(topic.effect.of, topic.effect.less, level)
    table = tables.summary_table(summary, runs.compare)
    if "seconds" in runs.compare.panels:
        seconds = QUANTITIES["seconds"]
        mean = seconds.compute(runs).groupby("variant", sort=False).mean()
        table[seconds.label] = mean[[*summary]].round(seconds.digits).to_numpy()
    compared = tables.comparison_table(comparisons, runs.compare)
    ledger = check_all(name, topic, measured, level, runs.compare.margins)
    return Section(
        name,
        topic,
        finding(runs, topic),
        extremes(summary, runs),
        training_answer(summary, comparisons, runs),
        (table,) if compared.empty else (table, compared),
        how_sure(runs, size),
        f"{places(runs.timing)}: {spent(runs.timing)} of training, all runs added up",
        ledger,
        measured,
        effect,
        short_answer(name, topic, comparisons, ledger) if in_short else "",
    )


def short_answer(name: str, topic: Topic, compared: list[Comparison], ledger: Ledger) -> str:
    """The answer of claims.yaml in a few words, if all verdicts that it rests on are so."""
    if topic.short is None:
        return ""
    found = {(each.quantity, each.variant): each.verdict for each in compared}
    verdicts = [
        *(
            found.get((quantity, variant)) == verdict
            for quantity, variants in topic.short.compared.items()
            for variant, verdict in variants.items()
        ),
        *(
            ledger[f"{name}_{claim}"].verdict == verdict
            for claim, verdict in topic.short.claims.items()
        ),
    ]
    return topic.short.says if all(verdicts) else ""


def how_sure(runs: Runs, size: int) -> str:
    """What the intervals of an exercise's tables hold, and which spreads were pooled."""
    pools = [pool for pool in sample("window_accuracy", runs).pools if len(pool) > 1]
    alone = [v for v in runs.variants if not any(v in pool for pool in pools)]
    spread = f"pooled over {'; '.join(map(', '.join, pools))}" if pools else "each variant's own"
    if pools and alone:
        spread += f" ({', '.join(alone)}: its own)" if len(alone) == 1 else ", the others their own"
    differences = (
        f"those of differences hold together, for all {size} that get a verdict, and are "
        f"{100 * level_of_each(size):.4g} % each"
        if size > 1
        else "that of the difference too"
        if size
        else "no difference is judged"
    )
    stars = (
        " A star marks what ran in other arithmetic or on other hardware than "
        f"{runs.compare.baseline}."
    )
    return (
        f"Intervals of means are 95 % each; {differences}. The spread of accuracy is {spread}."
        f"{stars if runs.apart else ''}"
    )


def places(timing: pd.DataFrame) -> str:
    """Hardware and precision; if variants differ in them, which variant ran where."""
    place = timing["hardware"] + " in " + timing["precision"]
    variants = timing.groupby(place, sort=False)["variant"].unique()
    if len(variants) == 1:
        return str(variants.index[0])
    return "; ".join(f"{where} ({', '.join(names)})" for where, names in variants.items())


def spent(timing: pd.DataFrame) -> str:
    """How long all epochs of all runs trained; seeds that ran side by side are added up.

    An epoch that was computed once for several variants counts once.
    """
    named = timing[timing["name"].notna()]
    again = named[named.duplicated(["name", "seconds"])]
    minutes = timing["seconds"].drop(again.index).sum() / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def extremes(summary: Summary, runs: Runs) -> str:
    """The highest and the lowest accuracy of the variants that did not wholly diverge."""
    learnt = _learnt(summary)
    if not learnt:
        return "every run diverged"
    ranked = sorted(learnt, key=lambda name: learnt[name]["window_accuracy"] or 0.0, reverse=True)
    ends = []
    for name in (ranked[0], ranked[-1]):
        accuracy = tables.with_interval(learnt[name], "window_accuracy") or "–"
        ends.append(f"**{runs.starred(name)}**, {accuracy} %")
    return f"highest test accuracy: {ends[0]}; lowest: {ends[1]}"


def _learnt(summary: Summary) -> Summary:
    return {k: row for k, row in summary.items() if row.get("seeds_diverged") != row["seeds"]}


def training_answer(summary: Summary, comparisons: list[Comparison], runs: Runs) -> str:
    """The best and worst accuracy, how sure that is, and what diverged."""
    diverged = [
        f"**{name}** from epoch {row['diverged_from_epoch']:g} "
        f"({row['seeds_diverged']:g} of {row['seeds']:g} seeds)"
        for name, row in summary.items()
        if "seeds_diverged" in row
    ]
    learnt = _learnt(summary)
    if not learnt:
        return f"Every run diverged: {', '.join(diverged)}."
    seeds = next(iter(learnt.values()))["seeds"] or 0
    sentences = [f"H{extremes(summary, runs)[1:]}."] if runs.compare.ranks else []
    if seeds >= FEWEST:  # else the finding says that there is no verdict
        what = f"Means over the last {runs.compare.last_epochs} epochs of {seeds:g} seeds"
        what = f"{what}, with their 95 % intervals."
        sentences.append(f"({what})" if sentences else what)
        found = [each for each in comparisons if each.quantity == "window_accuracy"]
        for other in dict.fromkeys(each.other for each in found):
            verdicts = [_verdict(each) for each in found if each.other == other]
            how = ", paired by seed" if other == found[0].other else ""
            sentences.append(f"Against **{other}**{how}: {'; '.join(verdicts)}.")
    if diverged:
        sentences.append(f"Diverged: {', '.join(diverged)}.")
    return " ".join(sentences)


def _verdict(comparison: Comparison) -> str:
    """Such as "**tanh** undecided (-0.06 ± 1.10 points)"."""
    found = tables.difference(comparison)
    details = f" ({found} points)" if found else ""
    return f"**{comparison.variant}** {comparison.verdict}{details}"


def benchmark_section(topic: Topic, timing: pd.DataFrame, layers: pd.DataFrame) -> Section:
    """The section of the benchmark; batches that were not measured say why."""
    rates = throughput.arithmetic(timing, layers)
    computed = throughput.memory(layers, sorted(timing["batch_size"].unique()))
    timed = timing.dropna(subset=["hardware"])
    steps = [step for claim in topic.claims.values() for step in getattr(claim, "steps", ())]
    measured, effect = throughput.by_step(timing), NOTHING
    if topic.effect and "speed_up" in measured and topic.effect.of in measured["speed_up"].runs:
        effect = measured["speed_up"].mean(topic.effect.of)
    return Section(
        "benchmark",
        topic,
        benchmark_finding(rates),
        benchmark_answer(timing, brief=True).removesuffix("."),
        " ".join([benchmark_answer(timing), *towers_answer(timing), memory_answer(layers)]),
        (
            tables.throughput_table(rates, throughput.not_measured(timing)),
            tables.published_table(),
            tables.memory_table(computed, rates),
            *(tables.layers_table(rows) for _, rows in layers.groupby("network", sort=False)),
        ),
        "Memory is counted in float32: weights, their gradients, momentum as in 2012 (the "
        "benchmark's SGD has none), and what torch keeps of the forward pass, which is about four "
        "tensors per normalisation. Workspaces come on top. Arithmetic is that of the products "
        "with weights, forward and backward; the peak is that of a product of large fp32 matrices, "
        "the fastest of several, timed after the steps (–: not timed). A speed-up in words is "
        "that of the median steps; the one that claims are held against is a mean over steps. "
        "Others measured what is published, each in a setting of their own.",
        places(timed.assign(variant=timed["stage"], precision="fp32")) if len(timed) else "nothing",
        check_all("benchmark", topic, measured, level_of_each(len(steps))),
        measured,
        effect,
    )


def towers_answer(timing: pd.DataFrame) -> list[str]:
    """One sentence per variant that times several networks: how fast two towers are."""
    ratios, sentences = throughput.side_by_side(throughput.throughput(timing)), []
    for stage, rows in timing[timing["stage"] != timing["variant"]].groupby("stage", sort=False):
        here = ratios[ratios.index.get_level_values("stage") == stage]
        if here.empty:
            reasons = ", ".join(throughput.not_measured(rows)["status"].unique())
            sentences.append(f"{stage} not measured ({reasons}).")
            continue
        hardware = rows["hardware"].dropna().iloc[0]
        sentences.append(
            f"The two towers of 2012 train {here.min():.2f}× to {here.max():.2f}× as many images "
            f"per second as one tower, timed in turn ({stage}: {hardware})."
        )
    return sentences


def memory_answer(layers: pd.DataFrame) -> str:
    """Which batches fit into the GPU of 2012, by count."""
    fit, with_gradients = (
        ", or ".join(
            f"{count} images of {network.replace('_', ' ')}"
            for network, count in throughput.largest_batch(layers, gradients_too=too).items()
        )
        for too in (False, True)
    )
    return (
        f"By count, a step of {fit} fits into the {throughput.GTX_580:,} MiB of a GTX 580, "
        "momentum included; if the gradients of all activations are held at once, "
        f"{with_gradients}. The batch of 2012 was {throughput.BATCH_OF_2012}."
    )


def benchmark_answer(timing: pd.DataFrame, brief: bool = False) -> str:
    """The speed-up by batch size, the best of each device, and plainly what is missing."""
    timing = timing[timing["stage"] == timing["variant"]]  # one network, one device
    rates = throughput.throughput(timing)
    gains = throughput.speed_up(rates)
    best = rates.groupby("variant", sort=False)["img_per_s"].max()
    parts = [f"{str(name).upper()} up to {top:.1f} img/s" for name, top in best.items()]
    if not gains.empty:
        by_batch = ", ".join(f"{gain:.1f}× at batch {batch}" for batch, gain in gains.items())
        span = f"{gains.min():.1f}× to {gains.max():.1f}×, by batch size"
        parts.insert(0, f"GPU over CPU {span if brief else by_batch}")
    for name, rows in throughput.not_measured(timing).groupby("variant", sort=False):
        if name not in best.index:
            parts.append(f"{str(name).upper()} not measured ({', '.join(rows['status'].unique())})")
    return "; ".join(parts) + "."
