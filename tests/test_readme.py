"""The README's numbers are those of metrics/."""

import json
import re

import pandas as pd
import pytest

from alexnet_lab import params
from alexnet_lab.files import read_runs
from alexnet_lab.report import benchmark_section, report, training_section
from alexnet_lab.statistics import estimate
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
ANSWERS = " ".join(README.partition("\n## Two commands")[0].split())  # whatever the line breaks


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
    return report(sections, {}, [], {})


def of(run: str, column: str = "test_accuracy") -> pd.DataFrame:
    """A run's curve: epochs as rows, seeds as columns."""
    rows = pd.read_csv(ROOT / f"metrics/runs/{run}.csv")
    return rows.pivot(index="epoch", columns="seed", values=column)


def surprises() -> list[str]:
    """What the README says that no table of the report does."""
    constant, step = of("schedules/constant"), of("schedules/step")
    differences = (
        of("augmentation/none").loc[5] - constant.loc[5],  # the rate alone: 0.01, 0.1
        step.loc[11] - step.loc[10],
    )
    percents = constant.mean(axis=1).max(), of("activation/sigmoid").loc[2].mean()
    clean = [of(f"augmentation/{v}", "train_loss_clean") for v in ("none", "alexnet_style")]
    return [
        *(f"{points.mean:+.2f} ± {points.half:.2f}" for points in map(estimate, differences)),
        *(f"{percent:.2f} %" for percent in percents),
        *(f"{losses.loc[20].mean():.3f}" for losses in clean),
        "{:.2f}, {:.2f} and {:.2f} %".format(*constant.loc[3]),
    ]


def test_its_table_is_the_reports(page: str) -> None:
    rows = [" ".join(row.split()) for row in page.splitlines() if row.startswith("| ")]
    assert [row for row in rows[:6] if row not in ANSWERS] == []  # head, an exercise each


def test_its_numbers_with_intervals_are_measured(page: str) -> None:
    said = re.findall(r"[-+]?[\d.]+ ± [\d.]*\d|[\d.]+×? \([\d.-]+ to [\d.-]*\d\)", ANSWERS)
    assert len(said) > 10
    assert [one for one in said if one not in page and one not in surprises()] == []


def test_its_surprises_are_in_the_runs() -> None:
    assert [one for one in surprises() if one not in ANSWERS] == []


def test_its_speeds_are_what_was_measured() -> None:
    for stage, found in json.loads((ROOT / "metrics/speed.json").read_text()).items():
        seconds = f"{found['reference_s']:.1f} | {found['engine_s']:.1f}"
        ratios = f"{found['ratio']:.1f} | {found['ratio_fp32']:.1f} | {found['share_of_peak']:.2f}"
        assert f"| {stage} | {seconds} | {ratios} |" in README
