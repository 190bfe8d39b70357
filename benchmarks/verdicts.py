"""Are the intervals and verdicts as sure as they say? Drawn runs, whose truth is known, tell.

python -m benchmarks.verdicts --out metrics/verdicts.json: the figures in docs/how-sure.md.
"""

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from alexnet_lab import cli, console, params
from alexnet_lab.machine.files import write_json
from alexnet_lab.params.claims import Difference, Ratio, Value
from alexnet_lab.results.analysis import measure
from alexnet_lab.results.claims import COMPATIBLE, INCOMPATIBLE, check
from alexnet_lab.results.runs import read
from alexnet_lab.results.statistics import Sample, judge, level_of_each

DRAWS = 10_000
TEXTS = 1_000  # honest texts, of all numbers that the real one gives
SEED_EFFECT = 0.5  # of what a seed does to all variants alike, in spreads of a run
MARGIN = 1.0


@dataclass(frozen=True)
class Setting:
    """An exercise that could be: the spread of each variant's runs, and how many there are."""

    spreads: tuple[float, ...]
    seeds: int


SETTINGS = {
    "three variants, ten seeds": Setting((1, 1, 1), 10),
    "four variants, three seeds": Setting((1, 1, 1, 1), 3),
    "five variants, five seeds": Setting((1, 1, 1, 1, 1), 5),
    "five variants, five seeds, one spread sixfold": Setting((6, 1, 1, 1, 1), 5),
}
Noise = Callable[[np.random.Generator, tuple[int, ...]], "np.ndarray"]
SHAPES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1,  # variance 1 as well
}


def sample(matrix: "np.ndarray") -> Sample:
    """Variants as rows, seeds as columns."""
    index = pd.MultiIndex.from_product(
        [[f"v{i}" for i in range(len(matrix))], range(matrix.shape[1])], names=["variant", "seed"]
    )
    return Sample(pd.Series(matrix.ravel(), index))


def simulate(name: str, shape: str, draws: int = DRAWS) -> dict[str, float]:
    """How often each interval holds, and each kind of verdict is false, all means being equal."""
    setting, noise = SETTINGS[name], SHAPES[shape]
    rng = np.random.default_rng(0)
    spreads, count = np.array(setting.spreads)[:, None], len(setting.spreads)
    level = level_of_each(count - 1)
    hits = dict.fromkeys(("mean", "one more run", "difference", "false family", "false equal"), 0)
    for _ in range(draws):
        own = noise(rng, (count, setting.seeds + 1)) * spreads
        drawn = own + SEED_EFFECT * rng.standard_normal(setting.seeds + 1)
        ours, more = sample(drawn[:, :-1]), drawn[1, -1]
        mean, further = ours.mean("v1"), ours.mean("v1", more=1)
        pairs = [ours.difference(f"v{i}", "v0", level) for i in range(1, count)]
        alone = ours.difference("v2", "v1")
        hits["mean"] += mean.low <= 0 <= mean.high
        hits["one more run"] += further.low <= more <= further.high
        hits["difference"] += alone.low <= 0 <= alone.high
        hits["false family"] += any(pair.low > 0 or pair.high < 0 for pair in pairs)
        # The truth lies on the edge of what matters: "equivalent" is false.
        edge = ours.values + MARGIN * (ours.values.index.get_level_values("variant") == "v2")
        shifted = Sample(edge).difference("v2", "v1")
        hits["false equal"] += judge(shifted, MARGIN, "higher") == "equivalent"
    return {key: round(100 * count / draws, 2) for key, count in hits.items()}


def honest_texts(texts: int = TEXTS) -> dict[str, float]:
    """What becomes of texts whose numbers are single runs from the distribution of ours.

    Every number that the real text gives of a training exercise is drawn anew, and so are our
    runs, as often as there are seeds: normal, with the means and pooled spreads of the real ones.
    """
    study = params.load()
    topics = params.load_claims(study)
    rng = np.random.default_rng(0)
    verdicts: list[str] = []
    for name, exercise in study.exercises.items():
        folders = (Path(f"metrics/{kind}/{name}") for kind in ("runs", "timing"))
        measured = measure(read(exercise, *folders))
        for claim in topics[name].claims.values():
            if isinstance(claim, Value | Difference | Ratio):
                values = measured[claim.quantity]
                if np.isfinite(values.values).all():
                    verdicts += _verdicts(claim, topics[name], values, texts, rng)
    count = {v: verdicts.count(v) for v in (COMPATIBLE, INCOMPATIBLE)}
    return {
        "numbers": len(verdicts) // texts,
        **{key: round(100 * number / len(verdicts), 2) for key, number in count.items()},
        "undecided": round(100 * (1 - sum(count.values()) / len(verdicts)), 2),
    }


def _verdicts(claim, topic, values, texts, rng) -> Iterator[str]:  # type: ignore[no-untyped-def]
    means = np.array([runs.mean() for runs in values.runs.values()])
    spreads = np.sqrt([values.spread_of(v).variance for v in values.runs])
    seeds = len(next(iter(values.runs.values())))
    index = values.values.index
    for _ in range(texts):
        drawn = means[:, None] + spreads[:, None] * rng.standard_normal((len(means), seeds + 1))
        one = dict(zip(values.runs, drawn[:, -1], strict=True))
        match claim:
            case Value():
                value = one[claim.of]
            case Difference():
                value = one[claim.of] - one[claim.less]
            case _:
                value = one[claim.of] / one[claim.over]
        said = claim.model_copy(update={"value": float(value)})
        ours = Sample(pd.Series(drawn[:, :-1].ravel(), index), values.places, values.pool)
        yield check(said, topic, {claim.quantity: ours}).verdict


def main() -> None:
    """Simulate, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cases = [(setting, shape) for setting in SETTINGS for shape in SHAPES]
    with ProcessPoolExecutor() as pool:
        honest = pool.submit(honest_texts)
        rows = list(pool.map(simulate, *zip(*cases, strict=True)))
    found = {f"{name}, {shape}": row for (name, shape), row in zip(cases, rows, strict=True)}
    console.show_table("Of a hundred", pd.DataFrame(found).T)
    console.show_table("Of a hundred honest numbers", pd.DataFrame({"": honest.result()}).T)
    write_json({"draws": DRAWS, "settings": found, "honest texts": honest.result()}, args.out)


if __name__ == "__main__":
    cli.run(main)
