"""The README's numbers are those of metrics/."""

import json
import re
import subprocess

import pandas as pd
import pytest

from alexnet_lab import params
from alexnet_lab.claims import check_all
from alexnet_lab.files import read_runs
from alexnet_lab.report import benchmark_section, report, training_section
from alexnet_lab.statistics import estimate
from benchmarks.speed import CASES
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
ANSWERS = " ".join(README.partition("\n## Two commands")[0].split())  # whatever the line breaks


changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "params.yaml"], cwd=ROOT).returncode
pytestmark = pytest.mark.skipif(changed == 1, reason="a what-if: the README has what is committed")


@pytest.fixture(scope="module")
def page() -> str:
    """The report on what is trained so far."""
    study = params.load(ROOT / "params.yaml")
    timed = read_runs(ROOT / "metrics/timing/benchmark", study.benchmark.variants)
    sections = [benchmark_section(study.benchmark, timed)]
    for name, exercise in study.exercises.items():
        curves, timing = (ROOT / "metrics" / one / name for one in ("runs", "timing"))
        trained = [v for v in exercise.variants if (curves / f"{v}.csv").exists()]
        runs = read_runs(curves, trained), read_runs(timing, trained)
        sections.append(training_section(name, exercise, *runs))
    return report(sections, check_all("takeaways", study.takeaways, {}), [], {})


def of(run: str, column: str = "test_accuracy") -> pd.DataFrame:
    """A run's curve: epochs as rows, seeds as columns."""
    rows = pd.read_csv(ROOT / f"metrics/runs/{run}.csv")
    return rows.pivot(index="epoch", columns="seed", values=column)


def surprises() -> list[str]:
    """What the README says that no table of the report does, phrase by phrase."""
    constant, step = of("schedules/constant"), of("schedules/step")
    ahead = estimate(of("augmentation/none").loc[5] - constant.loc[5])
    jump = estimate(step.loc[11] - step.loc[10])
    sigmoid, relu = (of(f"activation/{v}", "gradient_norm") for v in ("sigmoid", "relu"))
    ratio = (relu / sigmoid).mean(axis=1)
    none, heaviest = (
        of(f"augmentation/{v}", "train_loss_clean").loc[20].mean()
        for v in ("none", "alexnet_style")
    )
    without, with_bn = (
        (of(f"batchnorm/{v}", "test_loss") - of(f"batchnorm/{v}", "train_loss")).loc[20].mean()
        for v in ("without_bn", "with_bn")
    )
    return [
        f"accuracy never exceeds {constant.mean(axis=1).max():.2f} %",
        f"is {ahead.mean:+.2f} ± {ahead.half:.2f} points ahead after 5 epochs",
        f"one epoch brings {jump.mean:+.2f} ± {jump.half:.2f} points",
        "in bf16 {:.2f}, {:.2f} and {:.2f} %".format(*constant.loc[3]),
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
