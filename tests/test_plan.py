"""The plan counts what would be trained, once; progress shows what is known so far."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from alexnet_lab import console, params, plan
from alexnet_lab.errors import UserError
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.plan import duration, with_overrides
from alexnet_lab.results import progress
from alexnet_lab.results.figures import PALETTE
from alexnet_lab.results.panels import PANELS, Lines
from alexnet_lab.results.progress import figure_of
from alexnet_lab.runs.records import Record, keep
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from tests.test_runs import where

ROOT = Path(__file__).parent.parent


def learn(run: Run, site: Site, epochs: Sequence[int], state: bool = False) -> list[Record]:
    """Some epochs (from 1) become known, without a computation; and the state of the last."""
    records = []
    for epoch in epochs:
        name = run.names[epoch - 1]
        numbers = Epoch(run.seed, epoch, 0.1, 1 / epoch, None, 1.0, 10.0 * epoch, 0.5, 2.0)
        records.append(Record(numbers, name, run.precision, run.hardware.name))
        keep(site.store, records[-1])
        if state and epoch == epochs[-1]:
            site.store.keep_state(name, b"state")
    return records


def due(site: Site, *stages: str) -> list[tuple[str, str, list[Run]]]:
    pairs = [stage.split("@") for stage in stages]
    return [(e, v, site.runs(e, v, "fp32")) for e, v in pairs]


def counts(site: Site, *stages: str) -> dict[str, tuple[int, int, int]]:
    frame = plan.plan(due(site, *stages), site.store)
    rows = frame[["epochs", "known", "to train"]].itertuples()
    return {str(row[0]): tuple(row[1:]) for row in rows}


def test_what_is_known_is_not_trained(site: Site) -> None:
    site = where(site, seeds=(0, 1))
    assert counts(site, "activation@relu") == {"activation@relu": (10, 0, 10)}
    first, second = site.runs("activation", "relu", "fp32")
    learn(first, site, range(1, 6))
    learn(second, site, range(1, 4), state=True)
    assert counts(site, "activation@relu") == {"activation@relu": (10, 8, 2)}
    site.store.drop_state(second.names[2])  # it starts over
    assert counts(site, "activation@relu") == {"activation@relu": (10, 8, 5)}
    learn(second, site, (2,), state=True)  # one epoch again
    assert counts(site, "activation@relu") == {"activation@relu": (10, 8, 3)}


def test_epochs_that_stages_share_are_counted_once(site: Site) -> None:
    site = where(site, seeds=(0,))
    stages = ("schedules@constant", "schedules@step", "schedules@exponential", "schedules@cosine")
    assert counts(site, *stages) == {
        "schedules@constant": (50, 0, 50),
        "schedules@step": (50, 0, 40),
        "schedules@exponential": (50, 0, 49),
        "schedules@cosine": (50, 0, 49),
    }
    assert counts(site, *reversed(stages))["schedules@constant"] == (50, 0, 40)
    learn(site.runs("schedules", "constant", "fp32")[0], site, range(1, 11), state=True)
    assert counts(site, *stages[:2]) == {
        "schedules@constant": (50, 10, 40),
        "schedules@step": (50, 10, 40),
    }


def test_a_shared_start_without_its_state_is_trained_again_once(site: Site) -> None:
    """Constant trains its ten known epochs again, and could leave the state where step parts."""
    site = where(site, seeds=(0,))
    learn(site.runs("schedules", "constant", "fp32")[0], site, range(1, 11))
    assert counts(site, "schedules@step") == {"schedules@step": (50, 10, 50)}
    assert counts(site, "schedules@constant", "schedules@step") == {
        "schedules@constant": (50, 10, 50),
        "schedules@step": (50, 10, 40),
    }


def test_the_time_is_that_of_past_epochs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = where(site, seeds=(0,))
    known = {("activation", "relu"): [3.0, 5.0], ("activation", "*"): [7.0]}
    monkeypatch.setattr(plan, "committed_seconds", lambda e, v="*": known.get((e, v), []))
    monkeypatch.setattr(plan, "committed_places", lambda e, v: {("fp32", "a CPU, 2 cores")})
    learn(site.runs("activation", "tanh", "fp32")[0], site, (1, 2))
    stages = [f"activation@{v}" for v in ("relu", "sigmoid", "tanh")]
    frame = plan.plan(due(site, *stages, "batchnorm@with_bn"), site.store)
    assert frame["s/epoch"].tolist()[:3] == [4.0, 7.0, 2.0]
    assert pd.isna(frame["s/epoch"].iloc[3])
    monkeypatch.setattr(plan, "committed_places", lambda e, v: {("bf16", "a GPU")})
    elsewhere = plan.plan(due(site, *stages), site.store)["s/epoch"]
    assert pd.isna(elsewhere.iloc[0]) and elsewhere.iloc[2] == 2.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (40.4, "40 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3540, "59 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (float("nan"), "?"),
    ],
)
def test_durations_are_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_ifs_are_applied_as_dvc_applies_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    what_ifs = ["lr=0.05", "seeds=[0,1]", "schedules.variants.step.schedule.every=7"]
    changed = params.load(with_overrides(what_ifs, tmp_path / "params.yaml"))
    assert changed.lr == 0.05 and changed.seeds == (0, 1)
    assert changed.recipe("schedules", "step").schedule.every == 7  # type: ignore[union-attr]
    assert params.load(with_overrides([], tmp_path / "params.yaml")) == params.load()


@pytest.mark.parametrize("what_if", ["lr", "=", "lr=[", "nowhere.lr=1"])
def test_a_what_if_that_cannot_be_applied_is_one_sentence(
    what_if: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as error:
        params.load(with_overrides([what_if], tmp_path / "params.yaml"))
    assert "\n" not in f"{error.value}" and str(tmp_path) not in f"{error.value}"


def planned(
    site: Site, monkeypatch: pytest.MonkeyPatch, *what_ifs: str, target: str | None = None
) -> list[str]:
    """What the command prints, where no stage's code or data differs from dvc.lock."""
    options = [word for what_if in what_ifs for word in ("-S", what_if)]
    options += [target] if target else []
    monkeypatch.setattr("sys.argv", ["plan", *options])
    monkeypatch.setattr(plan, "stale_stages", list)
    monkeypatch.setattr(plan, "this_machine", lambda: site.hardware)
    monkeypatch.setenv("ALEXNET_LAB_RUNS", str(site.store.folder))
    monkeypatch.setattr(console, "console", console.Console(width=200, soft_wrap=True))
    with console.console.capture() as captured:
        plan.main()
    return captured.get().splitlines()


@pytest.fixture
def project(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with few images, where dvc.lock has the parameters of every stage."""
    folder = tmp_path / "project"
    shutil.copytree(site.data, folder / "data")
    shutil.copy(ROOT / "params.yaml", folder)
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    keys = {"lr": raw["lr"], "seeds": raw["seeds"]}
    stages = {
        f"{exercise}@{variant}": {"params": {"params.yaml": keys}}
        for exercise, content in site.study.exercises.items()
        for variant in content.variants
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("project")
def test_the_plan_is_of_the_stages_that_a_what_if_changes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(site, monkeypatch) == [
        "Every training stage is up to date: nothing would be trained."
    ]
    lines = planned(site, monkeypatch, "seeds=[0,3]")
    rows = {line.split()[0]: line.split()[1:4] for line in lines if "@" in line}
    exercises = site.study.exercises
    assert {*rows} == {f"{name}@{v}" for name in exercises for v in exercises[name].variants}
    to_train = {name: int(row[2]) for name, row in rows.items()}
    # Two seeds. The schedules part after 1 and 10 epochs; what repeats a recipe trains nothing.
    schedules = [n for name, n in to_train.items() if name.startswith("schedules")]
    assert schedules == [2 * epochs for epochs in (50, 40, 49, 49, 50)]
    assert to_train["rates@with_bn"] == to_train["dropout@dropout_0_5"] == 0
    epochs = {"activation": 15, "augmentation": 80, "batchnorm": 40}
    # The controls.
    epochs |= {"rates": 80, "repair": 60, "dropout": 60, "longer": 220, "low_rate": 223}
    epochs |= {"arithmetic": 70}  # the half in bf16: that in fp32 is known here
    epochs |= {"depth": 45, "modern": 120}
    for exercise, each in epochs.items():
        rows_of_it = [n for name, n in to_train.items() if name.split("@")[0] == exercise]
        assert sum(rows_of_it) == 2 * each, exercise
    total = sum(to_train.values())
    assert lines[-1].startswith(f"0 epochs are known, {total:,} are to train: ")
    some = planned(site, monkeypatch, "seeds=[0,3]", target="compare@activation")
    found = {line.split()[0] for line in some if "@" in line}
    assert found == {"activation@relu", "activation@sigmoid", "activation@tanh"}
    with pytest.raises(UserError, match=r"No epoch is known of other data: set data\.source"):
        planned(site, monkeypatch, "data.source=sample")


# --- what is known so far ---


def test_the_figure_of_what_is_known_has_the_colours_of_the_whole(site: Site) -> None:
    """Tanh is the third variant; alone in the figure, it still has the third colour."""
    site = where(site, seeds=(0, 1))
    exercise = site.study.exercise("activation")
    runs = site.runs("activation", "tanh", "fp32")
    known = learn(runs[0], site, (1, 2, 3)) + learn(runs[1], site, (1,))
    figure = figure_of(exercise, {"tanh": known})
    used = {line.get_color() for axis in figure.axes for line in axis.lines} - {"grey"}
    assert used == {PALETTE[2]} and list(exercise.variants)[2] == "tanh"


@pytest.mark.parametrize("exercise", ["activation", "schedules", "augmentation", "batchnorm"])
def test_every_exercise_can_be_drawn_after_one_epoch(exercise: str, site: Site) -> None:
    variants = site.study.exercise(exercise).variants
    last = list(variants)[-1]
    known = learn(site.runs(exercise, last, "fp32")[0], site, (1,))
    figure = figure_of(site.study.exercise(exercise), {last: known})
    figure.draw_without_rendering()
    curves = [
        name
        for name in site.study.exercise(exercise).compare.panels
        if isinstance(PANELS[name], Lines)
    ]
    assert len([axis for axis in figure.axes if axis.get_title(loc="left")]) == len(curves) > 1


def test_an_exercise_that_shows_dots_alone_has_its_accuracy_drawn(site: Site) -> None:
    exercise = site.study.exercise("activation")
    compare = exercise.compare.model_copy(update={"panels": ("window_accuracy",)})
    known = learn(site.runs("activation", "relu", "fp32")[0], site, (1,))
    figure = figure_of(exercise.model_copy(update={"compare": compare}), {"relu": known})
    assert figure.axes[0].get_title(loc="left") == "Test accuracy"


def test_progress_prints_a_table_and_draws_what_has_begun(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(site.data, tmp_path / "data")
    for name in ("params.yaml", "claims.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "this_machine", lambda: site.hardware)
    monkeypatch.setenv("ALEXNET_LAB_RUNS", str(site.store.folder))
    monkeypatch.setattr("sys.argv", ["progress"])
    monkeypatch.setattr(console, "console", console.Console(width=200))
    learn(site.runs("activation", "tanh", "fp32")[3], site, (1, 2))
    progress.main()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["activation", "tanh", "2", "50", "▅█"] in printed
    assert [path.name for path in (tmp_path / "progress").iterdir()] == ["activation.png"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        ([0.0], "▁"),
        ([10.0], "█"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇██"),
        ([float(n) for n in range(1, 17)], "▁▂▂▃▃▄▄▅▅▆▆▇▇███"),
        ([50.0] * 40, "█" * 16),
    ],
)
def test_a_curve_fits_in_one_word(values: list[float], text: str) -> None:
    assert console.sparkline(values) == text


def test_the_last_value_of_a_long_curve_is_its_last() -> None:
    for length in (17, 33, 50):
        curve = [1.0] * (length - 1) + [8.0]
        assert console.sparkline(curve)[-2:] == "▂█", length


def test_bars_show_only_what_was_trained_without_a_terminal(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "console", console.Console(width=200, soft_wrap=True))
    run = site.runs("activation", "relu", "fp32")[0]
    known = learn(run, site, (1, 2))
    both: Any = [(known[0], False), (known[1], True)]
    assert list(console.follow(both, {0: run.title}, 5)) == known
    assert capsys.readouterr().out == (
        "activation relu seed 0 epoch 2/5: loss 0.5000, test accuracy 20.00 %, 2.0 s\n"
    )


@pytest.mark.usefixtures("project")
def test_a_stage_whose_code_or_data_changed_is_due(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = [SimpleNamespace(name=name) for name in ("activation@tanh", "report")]
    monkeypatch.setattr(plan, "stale_stages", lambda: stale)
    raw = plan.read_yaml(Path("params.yaml"))
    assert plan.due_stages(site.study, raw) == {("activation", "tanh")}


@pytest.mark.usefixtures("project")
def test_a_target_that_is_no_exercise_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'report' is no exercise and no variant of one; there are"):
        planned(site, monkeypatch, "seeds=[0,3]", target="report")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("timed", "said"),
    [
        ("", "how long is not known, since git has no times of such a machine."),
        (
            "activation",
            "more than 30 s with 2 at once; of some, git has no times of such a machine.",
        ),
        ("[a-z]", "{all} with 2 at once, by past seconds."),
    ],
)
def test_the_plan_says_how_long_as_far_as_git_has_times(
    timed: str, said: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seconds an epoch, two at once; activation has 15 of a seed, two seeds."""
    monkeypatch.setenv("ALEXNET_LAB_WORKERS", "2")
    times = [2.0]
    monkeypatch.setattr(
        plan, "past_seconds", lambda name, *_: times if timed and re.match(timed, name) else []
    )
    *lines, last = planned(site, monkeypatch, "seeds=[0,3]")
    to_train = sum(int(line.split()[3]) for line in lines if "@" in line)
    assert last.endswith(f" are to train: {said.format(all=duration(to_train))}")
    nothing = next(line.split() for line in lines if "rates@with_bn " in line)
    assert nothing[3] == "0" and " ".join(nothing[5:]) == "0 s"
