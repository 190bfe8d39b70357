"""What an exercise found, in one sentence made from its numbers: for titles and answers."""

from collections.abc import Mapping, Sequence
from math import isnan

import pandas as pd

from alexnet_lab.params.claims import Topic
from alexnet_lab.results.analysis import Comparison, compare_variants, divergences
from alexnet_lab.results.quantities import QUANTITIES, label, sample
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.throughput import speed_up

Names = Mapping[str, str]  # of all variants, in a sentence


def finding(runs: Runs, topic: Topic) -> str:
    """Such as "Batch norm adds 4.7 points": how test accuracy differs from the baseline's.

    If variants have different baselines, it says the difference that the topic names, or all. If
    accuracy is not compared, it says how the first quantity differs that is.
    """
    claims, names = topic.claims.values(), {v: topic.names.get(v, v) for v in runs.variants}
    found = compare_variants(runs, claims)
    if found and "window_accuracy" not in {each.quantity for each in found}:
        first = [each for each in found if each.quantity == found[0].quantity]
        return _each(first, names, label(found[0].quantity, runs.compare))
    effect = topic.effect
    if (
        runs.compare.against
        and effect
        and runs.compare.judges(effect.of, effect.less, runs.variants)
    ):
        found = compare_variants(runs, claims, [(effect.of, effect.less)])
    found = [each for each in found if each.quantity == "window_accuracy"]
    if not found:
        return _highest(runs, names)
    if all(each.difference.n == 1 for each in found):
        return f"{_highest(runs, names)}; one run each, so no verdict"
    if runs.compare.against and len(found) > 1:
        return _each(found, names, "points of accuracy")
    return _sentence(found, names)


def benchmark_finding(rates: pd.DataFrame) -> str:
    """Such as "The GPU is 24.3 to 31.4 times as fast as the CPU"."""
    rates = rates[rates["stage"] == rates["variant"]]  # one network, one device
    gains = speed_up(rates)
    if not gains.empty:
        ends = dict.fromkeys(f"{gain:.1f}" for gain in (gains.min(), gains.max()))
        return f"The GPU is {' to '.join(ends)} times as fast as the CPU"
    best = rates.groupby("variant", sort=False)["img_per_s"].max()
    parts = [
        f"the {str(name).upper()} trains up to {top:.1f} images/s" for name, top in best.items()
    ]
    return "; ".join(["No speed-up was measured", *parts])


def listed(words: Sequence[str]) -> str:
    """Such as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def points(values: Sequence[float]) -> str:
    """The sizes of differences, such as "3.1 to 8.0 points"."""
    sizes = sorted(map(abs, values))
    ends = [f"{size:.{1 if size >= 1 else 2}f}" for size in (sizes[0], sizes[-1])]
    return f"{' to '.join(dict.fromkeys(ends))} points"


def _each(found: Sequence[Comparison], names: Names, what: str) -> str:
    """Every difference, such as "Points of accuracy, against slow: +4.7 with speed"."""
    others = {each.other for each in found}
    one = len(others) == 1
    base = f"against {names[found[0].other]}" if one else "each against its own baseline"
    parts = []
    for each in found:
        mean, accuracy = each.difference.mean, each.quantity == "window_accuracy"
        digits = 1 if accuracy else QUANTITIES[each.quantity].digits
        number = "" if isnan(mean) else f"{mean:+.{digits}f} ".replace("-", "−")
        unsure = each.verdict in ("undecided", "undefined", "not comparable")
        word = f"({each.verdict}) " if unsure else ""
        parts.append(f"{number}{word}with {names[each.variant]}")
    return f"{what[:1].upper()}{what[1:]}, {base}: {', '.join(parts)}"


def _sentence(found: Sequence[Comparison], names: Names) -> str:
    base, who = names[found[0].other], listed([names[each.variant] for each in found])
    by = points([each.difference.mean for each in found])
    verdicts = list(dict.fromkeys(each.verdict for each in found))
    words = [_words([e for e in found if e.verdict == verdict], names) for verdict in verdicts]
    if verdicts == ["worse"]:
        text = f"{base} is above {who}, by {by}"
    elif verdicts == ["better"] and len(found) > 2:
        text = f"{base} is {by} below all others"
    elif len(names) == 2 and verdicts != ["undecided"]:
        text = "; ".join(words)
    elif len(found) == 1 and verdicts == ["better"]:
        text = f"{who} is {by} above {base}"
    else:
        text = "; ".join(f"{part} from {base}" if "apart" in part else part for part in words)
        text = text if "from" in text else f"{text}, against {base}"
    return text[:1].upper() + text[1:]


def _words(same: Sequence[Comparison], names: Names) -> str:
    """What is said of variants with the same verdict."""
    who, many = listed([names[each.variant] for each in same]), len(same) > 1
    by = points([each.difference.mean for each in same])
    match same[0].verdict:
        case "better":
            return f"{who} add{'' if many else 's'} {by}"
        case "worse":
            return f"{who} cost{'' if many else 's'} {by}"
        case "equivalent":
            return f"{who} make{'' if many else 's'} no difference that matters"
        case "not comparable":
            return f"{who} ran elsewhere, so cannot be compared"
    return f"{who} {'are' if many else 'is'} not told apart"


def _highest(runs: Runs, names: Names) -> str:
    if not runs.compare.ranks:
        return "Nothing is compared"
    means: pd.Series[float] = sample("window_accuracy", runs).values.groupby("variant").mean()
    if divergences(runs).notna().all():
        return "Every run diverged"
    return f"Highest test accuracy: {names[str(means.idxmax())]}, {means.max():.1f} %"
