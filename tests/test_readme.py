"""The README's numbers are those of the report and of metrics/."""

import json
import re
import subprocess

import pandas as pd
import pytest

from alexnet_lab.report import spent
from alexnet_lab.statistics import estimate
from benchmarks.speed import CASES
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
ANSWERS = " ".join(README.partition("\n## Two commands")[0].split())  # whatever the line breaks


changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "params.yaml"], cwd=ROOT).returncode
pytestmark = pytest.mark.skipif(changed == 1, reason="a what-if: the README has what is committed")


@pytest.fixture
def page() -> str:
    return (ROOT / "REPORT.md").read_text()


def of(run: str, column: str = "test_accuracy") -> pd.DataFrame:
    """A run's curve: epochs as rows, seeds as columns."""
    rows = pd.read_csv(ROOT / f"metrics/runs/{run}.csv")
    return rows.pivot(index="epoch", columns="seed", values=column)


def surprises() -> list[str]:
    """What the README says that no table of the report does, phrase by phrase."""
    names = ("constant", "step", "exponential", "cosine", "warmup_cosine")
    constant, step, exponential, cosine, warm = (of(f"schedules/{name}") for name in names)
    ahead = estimate(of("augmentation/none").loc[5] - constant.loc[5])
    jump = estimate(step.loc[11] - step.loc[10])
    risen = estimate(warm.loc[5] - warm.loc[2])
    high = warm.mean(axis=1).loc[6:13]
    assert of("schedules/warmup_cosine", "lr").loc[6:13].to_numpy().min() > 0.09
    head_start = [estimate(warm.loc[epoch] - cosine.loc[epoch]) for epoch in (3, 20, 50)]
    decay = estimate(exponential.loc[50] - warm.loc[50])
    sigmoid, relu = (of(f"activation/{v}", "gradient_norm") for v in ("sigmoid", "relu"))
    ratio = (relu / sigmoid).mean(axis=1)
    none, heaviest = (
        of(f"augmentation/{v}", "train_loss_clean").loc[20].mean()
        for v in ("none", "alexnet_style")
    )
    trained = [
        spent(pd.concat(map(pd.read_csv, (ROOT / "metrics/timing" / exercise).glob("*.csv"))))
        for exercise in ("activation", "schedules", "augmentation", "batchnorm")
    ]
    without, with_bn = (
        (of(f"batchnorm/{v}", "test_loss") - of(f"batchnorm/{v}", "train_loss")).loc[20].mean()
        for v in ("without_bn", "with_bn")
    )
    return [
        f"accuracy never exceeds {constant.mean(axis=1).max():.2f} %",
        f"is {ahead.mean:+.2f} ± {ahead.half:.2f} points ahead of 0.1 after 5 epochs",
        f"one epoch brings {jump.mean:+.2f} ± {jump.half:.2f}.",
        f"{warm.loc[2].mean():.2f} % after epoch 2, at 0.04",
        f"accuracy has changed by {risen.mean:+.2f} ± {risen.half:.2f} points",
        f"stays between {high.min():.2f} and {high.max():.2f} % too",
        "It is {} points ahead of cosine after epoch 3, {} after epoch 20, and ends at {}".format(
            *(f"{one.mean:+.2f} ± {one.half:.2f}" for one in head_start)
        ),
        f"ends {decay.mean:+.2f} ± {decay.half:.2f} points above warm-up + cosine",
        "activation {}, schedules {}, augmentation {}, batch normalisation {}".format(*trained),
        f"{heaviest:.3f} with the heaviest and {none:.3f} with none",
        f"({with_bn:.3f} with it, {without:.3f} without, at the last epoch)",
        f"{ratio[1]:.1f} times smaller than ReLU's in epoch 1 and {ratio[5]:.1f} times in epoch 5",
    ]


def test_its_table_is_the_reports(page: str) -> None:
    """Head and an exercise each, and no other row."""
    rows = [row for row in page.splitlines() if row.startswith("| ")][:6]
    lead = README.partition("\n## Two commands")[0]
    assert [row for row in lead.splitlines() if row.startswith("| ")] == rows


def test_its_verdicts_are_the_ledgers(page: str) -> None:
    assert next(line for line in page.splitlines() if "claims that can be" in line) in ANSWERS


def test_its_numbers_with_intervals_are_measured(page: str) -> None:
    pattern = r"[-+]?[\d.]+ ± [\d.]*\d|[\d.]+×? \([\d.-]+ to [\d.-]*\d\)"
    said = set(re.findall(pattern, ANSWERS))
    assert len(said) > 10
    assert said - set(re.findall(pattern, page + " ".join(surprises()))) == set()


def test_its_surprises_are_in_the_runs() -> None:
    assert [one for one in surprises() if one not in ANSWERS] == []


def test_its_speeds_are_what_was_measured() -> None:
    """A row a case of the benchmark, and no other."""
    rows = []
    for stage, found in json.loads((ROOT / "metrics/speed.json").read_text()).items():
        seconds = f"{found['reference_s']:.1f} | {found['engine_s']:.1f}"
        ratios = f"{found['ratio']:.1f} | {found['ratio_fp32']:.1f} | {found['share_of_peak']:.2f}"
        rows.append(f"| {stage} | {seconds} | {ratios} |")
    assert list(CASES) == [row.split()[1] for row in rows]
    assert [row for row in README.splitlines() if re.match(r"\| \w+@", row)] == rows
