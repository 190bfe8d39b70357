"""The README's numbers are those of the report and of metrics/."""

import json
import re
import subprocess

import pandas as pd
import pytest

from alexnet_lab.results.report import spent
from alexnet_lab.results.statistics import estimate
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


def of_timing(run: str) -> float:
    """Its mean seconds per epoch."""
    return float(pd.read_csv(ROOT / f"metrics/timing/{run}.csv")["seconds"].mean())


def surprises() -> list[str]:
    """What the README says that no table of the report does, phrase by phrase."""
    names = ("constant", "step", "exponential", "cosine", "warmup_cosine")
    constant, step, exponential, cosine, warm = (of(f"schedules/{name}") for name in names)
    ahead = estimate(of("augmentation/none").loc[5] - constant.loc[5])
    jump = estimate(step.loc[11] - step.loc[10])
    risen = estimate(warm.loc[5] - warm.loc[2])
    high = warm.mean(axis=1).loc[6:15]
    assert of("schedules/warmup_cosine", "lr").loc[6:15].to_numpy().min() > 0.09
    over = (high - constant.mean(axis=1).loc[6:15]).round()
    head_start = [estimate(warm.loc[epoch] - cosine.loc[epoch]) for epoch in (3, 20, 50)]
    decay = estimate(exponential.loc[50] - warm.loc[50])
    sigmoid, relu = (of(f"activation/{v}", "gradient_norm") for v in ("sigmoid", "relu"))
    ratio = (relu / sigmoid).mean(axis=1)
    none, heaviest = (
        of(f"augmentation/{v}", "train_loss_clean").loc[20].mean()
        for v in ("none", "alexnet_style")
    )
    behind = estimate((of("activation/sigmoid") - of("activation/relu")).loc[1])
    places = ("activation/*", "schedules/*", "schedules/[ew]*", "augmentation/*", "batchnorm/*")
    trained = [
        spent(pd.concat(map(pd.read_csv, (ROOT / "metrics/timing").glob(f"{place}.csv"))))
        for place in places
    ]
    slower = of_timing("batchnorm/with_bn") / of_timing("batchnorm/without_bn")
    without, with_bn = (
        (of(f"batchnorm/{v}", "test_loss") - of(f"batchnorm/{v}", "train_loss")).loc[20].mean()
        for v in ("without_bn", "with_bn")
    )
    return [
        f"accuracy never exceeds {constant.mean(axis=1).max():.2f} %",
        f"is {ahead.mean:+.2f} ± {ahead.half:.2f} points ahead after 5 epochs",
        f"ends at {of('augmentation/none').loc[20].mean():.2f} % after 20",
        f"(0.1 to 0.01) brings {jump.mean:+.2f} ± {jump.half:.2f} points in one epoch",
        f"{warm.loc[2].mean():.2f} % after epoch 2, at 0.04",
        f"accuracy has changed by {risen.mean:+.2f} ± {risen.half:.2f} points",
        f"stays between {high.min():.2f} and {high.max():.2f} % too, from epoch 6 to 15",
        f"That is {over.min():.0f} to {over.max():.0f} points over the constant rate",
        "It is {} points ahead of cosine after epoch 3, {} after epoch 20, and ends at {}".format(
            *(f"{one.mean:+.2f} ± {one.half:.2f}" for one in head_start)
        ),
        f"ends {decay.mean:+.2f} ± {decay.half:.2f} points above warm-up + cosine",
        "activation {}, schedules {} (those two: {}), augmentation {}, "
        "batch normalisation {}".format(*trained),
        f"for {slower:.1f} times the seconds an epoch",
        f"{heaviest:.3f} with the heaviest and {none:.3f} with none",
        f"larger with it ({with_bn:.3f} against {without:.3f} at the last epoch)",
        f"{ratio[1]:.1f} times smaller than ReLU's in epoch 1 and {ratio[5]:.1f} times in epoch 5",
        f"It is {behind.mean:+.2f} ± {behind.half:.2f} points behind after epoch 1",
    ]


def test_its_table_is_the_reports(page: str) -> None:
    """Head, an exercise each, the takeaways, and no other row."""
    rows = [row for row in page.splitlines() if row.startswith("| ")][:7]
    lead = README.partition("\n## Two commands")[0]
    assert [row for row in lead.splitlines() if row.startswith("| ")] == rows


def test_its_verdicts_are_the_ledgers(page: str) -> None:
    assert next(line for line in page.splitlines() if "text makes" in line) in ANSWERS


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


def test_its_what_ifs_start_from_what_is_committed() -> None:
    """The HEAD column of each pasted `dvc metrics diff`."""
    pasted = re.findall(r"^metrics/activation.json +(\w+)\.(\w+) +([\d.]+) ", README, re.MULTILINE)
    committed = json.loads((ROOT / "metrics/activation.json").read_text())
    assert {variant for variant, _, _ in pasted} == set(committed)
    for variant, name, value in pasted:
        assert float(value) == committed[variant][name]
