"""The stages as a user runs them: through their scripts, and through DVC itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
Ran = subprocess.CompletedProcess[str]
TINY = {  # the study at its smallest: the sample, one seed, one epoch, one timed step
    "\nepochs:\n": "\nepochs: 1\n",
    "\nseeds:\n": "\nseeds: [0]\n",
    "\nthreads: 1 ": "\nthreads: 2 ",
    " source: official ": " source: sample ",
    "  - 32\n  - 64\n  - 128\n  - 256\n": "  - 2\n  - 4\n",
    " warmup_iterations: 3 ": " warmup_iterations: 1 ",
    " iterations: 10 ": " iterations: 1 ",
    " image_pixels: 224 ": " image_pixels: 63 ",
}


@pytest.fixture(autouse=True)
def _git_counts(_clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git holds counts here, as it does for a user; a test that leaves it out says so."""
    monkeypatch.delenv("ALEXNET_LAB_COMMITTED")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the checkout's pipeline with the tiny study, nothing run yet."""
    return make_project(tmp_path / "project")


def make_project(folder: Path) -> Path:
    for name in ("stages", "src", "tools", "data/sample"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("dvc.yaml", "claims.yaml", ".dvcignore", ".gitignore", "data/.gitignore"):
        shutil.copy(ROOT / name, folder / name)
    params = (ROOT / "params.yaml").read_text()
    for here, small in TINY.items():
        assert params.count(here) == 1, here
        params = params.replace(here, small)
    (folder / "params.yaml").write_text(params)
    return folder


def call(project: Path, *command: str, **more: str) -> Ran:
    """Run a command of this environment; ``more`` are variables of the environment."""
    words, environment = [str(BIN / command[0]), *command[1:]], os.environ | more
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True)


# The command that dvc.yaml has for activation@relu and what it stands on, typed out.
WORDS = {
    "check": "python stages/check.py --topics claims.yaml --out checked.txt",
    "prepare": "python stages/prepare.py mnist --sample data/sample/mnist --out data/mnist",
    "train": "python stages/train.py activation relu --data data --curves c.csv --timing t.csv",
}


def run_stage(project: Path, name: str) -> Ran:
    return call(project, *WORDS[name].split())


def test_a_variant_trains_from_the_sample_to_its_curves(project: Path) -> None:
    prepared = run_stage(project, "prepare")
    assert prepared.stdout == "mnist (sample): 2,000 training and 500 test images\n"
    trained = run_stage(project, "train")
    assert trained.returncode == 0, trained.stderr
    lines = trained.stdout.splitlines()  # on a machine without bf16, one line more
    assert re.match(r"activation relu seed 0 epoch 1/1: loss \d\.\d+, test", lines[-1])
    curves = pd.read_csv(project / "c.csv")
    assert curves[["seed", "epoch"]].to_numpy().tolist() == [[0, 1]]
    assert curves["test_accuracy"].item() > 40  # chance is 10
    assert "seconds" not in curves and "hardware" not in curves
    assert pd.read_csv(project / "t.csv")["seconds"].item() > 0


def test_a_stage_works_in_a_locale_that_is_not_utf_8(project: Path) -> None:
    """ruff's PLW1514 sees to it that every file is opened as UTF-8; here the terminal counts."""
    for name in ("metrics/runs", "metrics/timing"):
        shutil.copytree(ROOT / name / "activation", project / name / "activation")
    path = project / "params.yaml"
    path.write_text(
        "# ± μ\n" + path.read_text("utf-8").replace("\nseeds: [0]", "\nseeds:"), "utf-8"
    )
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]["compare"]["do"][
        "cmd"
    ]
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = call(project, *command.replace("${item}", "activation").split(), **locale)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Does ReLU train better")  # the answer is what a repro ends with
    assert "Highest test accuracy: relu, 97.68 +- 0.10 %" in ran.stdout
    assert (project / "plots/activation.png").exists()


@pytest.mark.parametrize(
    ("stage", "change", "said"),
    [
        ("check", lambda raw: raw.update(epochs=0), "params.yaml: epochs should be"),
        ("prepare", lambda raw: raw.update(epochs=0), "params.yaml: epochs should be"),
        ("train", lambda raw: raw["batchnorm"]["train"].update(lrr=1), "unknown key 'lrr'"),
    ],
)
def test_a_wrong_parameter_anywhere_stops_before_any_training(
    project: Path, stage: str, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    raw = yaml.safe_load((project / "params.yaml").read_text())
    change(raw)
    (project / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    ran = run_stage(project, stage)
    assert ran.returncode == 1
    assert said in ran.stderr and ran.stderr.count("\n") == 1
    made = ("checked.txt", "data/mnist", "c.csv")
    assert not [path for path in made if (project / path).exists()]


def test_what_stops_a_stage_of_dvcs_says_the_way_back(project: Path) -> None:
    """A recipe that does not fit the images is found out late: DVC has removed the outputs."""
    last_lines = []
    for lock in (None, "stages: {}"):
        if lock:
            (project / "dvc.lock").write_text(lock)
        start_git(project)
        commit(project)
        ran = call(project, *WORDS["train"].split(), DVC_STAGE="activation@relu")  # without data
        assert ran.returncode == 1 and "data/mnist cannot be read" in ran.stderr
        last_lines.append(ran.stderr.splitlines()[-1])
    assert [line.startswith("To go back to what is committed") for line in last_lines] == [0, 1]


# --- through DVC: minutes ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose whole pipeline has run once and is committed."""
    return run_and_commit(make_project(tmp_path_factory.mktemp("dvc") / "project"))


@pytest.fixture
def done(finished: Path) -> Iterator[Path]:
    """The same as git has it: its epochs are known from the commit alone."""
    forget_runs(finished)
    yield finished
    restore(finished)


def start_git(project: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", key, value], cwd=project, check=True)


def run_and_commit(project: Path) -> Path:
    start_git(project)
    assert call(project, "dvc", "init", "-q").returncode == 0
    shutil.copytree(ROOT / ".dvc/plots", project / ".dvc/plots", dirs_exist_ok=True)
    ran = call(project, "dvc", "repro")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    commit(project)
    return project


def commit(project: Path) -> None:
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(["git", "commit", "-qm", "state"], cwd=project, check=True)


def stages_run(ran: Ran) -> set[str]:
    """But for `check`, which reads params.yaml whenever it has changed."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {*re.findall(r"^Running stage '(.+)':", ran.stdout, re.MULTILINE)} - {"check"}


def experiment(project: Path, *settings: str, targets: tuple[str, ...] = ()) -> Ran:
    """What `dvc exp run -S …` said, from the committed state, if no core works ahead."""
    options = [word for setting in settings for word in ("-S", setting)]
    return call(project, "dvc", "exp", "run", *options, *targets, ALEXNET_LAB_WORKERS="1")


def what_if(project: Path, *settings: str) -> set[str]:
    """The stages that `dvc exp run -S …` ran, from the committed state."""
    return stages_run(experiment(project, *settings))


def epochs_trained(ran: Ran) -> list[str]:
    """Such as "activation relu seed 0 epoch 1/1", sorted: DVC runs named targets in any order."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = re.findall(r"^(\w+ \w+ seed \d+ epoch \d+/\d+): loss", ran.stdout, re.MULTILINE)
    return sorted(lines)


def restore(project: Path) -> None:
    """Go back to what is committed; the store of runs stays."""
    subprocess.run(["git", "checkout", "-q", "."], cwd=project, check=True)
    subprocess.run(["git", "clean", "-qfd"], cwd=project, check=True)


def forget_runs(project: Path) -> None:
    """Leave what is known of runs to git."""
    shutil.rmtree(project / ".runs", ignore_errors=True)


RAW = yaml.safe_load((ROOT / "params.yaml").read_text())
EXERCISES = [name for name, node in RAW.items() if isinstance(node, dict) and "train" in node]


def variants(exercise: str) -> set[str]:
    return {f"{exercise}@{variant}" for variant in RAW[exercise]["variants"]}


def test_git_notices_a_refused_value_that_is_as_long_as_the_old_one(project: Path) -> None:
    """Git may have noted the file in the second in which DVC wrote it; a later time tells it."""
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("threads: 2 ", "threads: 0 "))
    os.utime(params, (1, 1))
    assert "threads should be greater" in run_stage(project, "check").stderr
    assert params.stat().st_mtime > 1


@pytest.mark.slow
def test_every_stage_end_to_end(done: Path) -> None:
    for exercise in EXERCISES:
        for path in (f"metrics/{exercise}.json", f"metrics/summary/{exercise}.json"):
            summary = json.loads((done / path).read_text())
            assert {f"{exercise}@{variant}" for variant in summary} == variants(exercise)
        assert (done / f"plots/{exercise}.png").stat().st_size > 10_000
    assert json.loads((done / "metrics/benchmark.json").read_text())["cpu"]["largest_batch"] == 4
    assert "sample" in (done / "REPORT.md").read_text()
    template = done.parent / "plots.html"
    template.write_text(call(done, "python", "-m", "alexnet_lab.results.page").stdout)
    words = ("--html-template", str(template), "--out", str(done.parent / "shown"))
    shown = call(done, "dvc", "plots", "show", *words)
    assert shown.returncode == 0, shown.stderr
    html = (done.parent / "shown/index.html").read_text()
    assert html.count("vegaEmbed('#") > len(EXERCISES) and "cdn.jsdelivr" not in html
    one = call(done, "dvc", "plots", "show", "schedules", "--json")
    points = json.loads(one.stdout)["data"]["schedules"][0]["content"]["data"]["values"]
    assert {f"schedules@{point['variant']}" for point in points} == variants("schedules")


@pytest.mark.slow
def test_a_second_repro_runs_nothing(done: Path) -> None:
    assert stages_run(call(done, "dvc", "repro")) == set()


@pytest.mark.slow
def test_a_comment_reruns_the_report_alone(done: Path) -> None:
    path = done / "params.yaml"
    path.write_text(f"# A comment.\n{path.read_text()}")
    assert stages_run(call(done, "dvc", "repro")) == {"report"}
    changed = ["git", "diff", "--name-only"]
    assert subprocess.check_output(changed, cwd=done, text=True) == "dvc.lock\nparams.yaml\n"


@pytest.mark.slow
def test_a_change_in_a_variant_reruns_it_its_comparison_and_the_report(done: Path) -> None:
    ran = what_if(done, "schedules.variants.exponential.schedule.gamma=0.5")
    # One epoch has one learning rate, so the curves come out the same and DVC stops there.
    assert "schedules@exponential" in ran
    assert ran <= {"schedules@exponential", "compare@schedules", "show@loss_and_rate", "report"}


@pytest.mark.slow
def test_an_exercises_own_lr_reruns_that_exercise_alone(done: Path) -> None:
    ran = what_if(done, "batchnorm.train.lr=0.05")
    assert ran == variants("batchnorm") | {"compare@batchnorm", "report"}


@pytest.mark.slow
def test_the_top_level_lr_retrains_all_four_exercises_only(done: Path) -> None:
    ran = what_if(done, "lr=0.05")
    trained = set().union(*map(variants, EXERCISES))
    compared = {f"compare@{exercise}" for exercise in EXERCISES}
    shown = {"show@loss_and_rate", "show@layer_gradients", "keep_filters", "show_filters"}
    assert ran == trained | compared | shown | {"report"}
    assert "lr = 0.05" in (done / "REPORT.md").read_text()


@pytest.mark.slow
def test_a_new_variant_trains_alone_and_is_compared(done: Path) -> None:
    setting = "+schedules.variants.warm={schedule: {kind: warmup_cosine, warmup_epochs: 2}}"
    ran = what_if(done, setting)
    assert ran == {"schedules@warm", "compare@schedules", "show@loss_and_rate", "report"}
    assert "warm" in json.loads((done / "metrics/schedules.json").read_text())
    assert "| warm " in (done / "REPORT.md").read_text()


@pytest.mark.slow
def test_a_variant_that_is_taken_away_is_drawn_no_more(done: Path) -> None:
    """Its files stay in the last commit's folders, and nothing reads them."""
    rerun = {"compare@schedules", "show@loss_and_rate", "report"}
    assert what_if(done, "~schedules.variants.step") == rerun
    shown = call(done, "dvc", "plots", "show", "--json")
    charts = json.loads(shown.stdout)["data"]
    assert "metrics/runs/schedules/cosine.csv" in charts
    assert not [name for name in charts if "schedules/step" in name]
    points = charts["schedules"][0]["content"]["data"]["values"]
    assert {point["variant"] for point in points} == {*RAW["schedules"]["variants"]} - {"step"}
    report = (done / "REPORT.md").read_text("utf-8")  # it quotes the text on `step`
    section = report.partition("\n## Schedules\n")[2].partition("\n### ")[0]  # not its controls
    assert re.search(r"^\| cosine +\|", section, re.MULTILINE)
    assert not re.search(r"^\| step +\|", section, re.MULTILINE)


@pytest.mark.slow
def test_a_rerun_moves_no_metric(done: Path) -> None:
    forced = ("dvc", "repro", "--force", "--single-item", "activation@tanh")
    assert epochs_trained(call(done, *forced)) == []
    assert stages_run(call(done, "dvc", "repro")) == set()  # even its seconds are the same
    forget_runs(done)
    again = call(done, *forced, ALEXNET_LAB_COMMITTED="0")
    assert epochs_trained(again) == ["activation tanh seed 0 epoch 1/1"]
    assert "report" in stages_run(call(done, "dvc", "repro"))  # its seconds are new
    assert json.loads(call(done, "dvc", "metrics", "diff", "--json").stdout) == {}


@pytest.mark.slow
def test_more_seeds_train_the_new_ones_alone(done: Path) -> None:
    ran = experiment(done, "seeds=[0,1]", targets=("activation", "schedules"))
    assert stages_run(ran) == variants("activation") | variants("schedules")
    trained = epochs_trained(ran)
    # All schedules but one begin with the same rate: the one that runs first trains for them.
    alike = {f"schedules {name} seed 1 epoch 1/1" for name in RAW["schedules"]["variants"]}
    alike.remove("schedules warmup_cosine seed 1 epoch 1/1")
    assert len(alike & {*trained}) == 1
    others = ("activation relu", "activation sigmoid", "activation tanh", "schedules warmup_cosine")
    assert [line for line in trained if line not in alike] == [
        f"{variant} seed 1 epoch 1/1" for variant in others
    ]


@pytest.mark.slow
def test_two_more_epochs_of_a_constant_schedule_train_two_per_run(done: Path) -> None:
    repro = ("dvc", "repro", "--force", "activation")
    alone = {"ALEXNET_LAB_COMMITTED": "0", "ALEXNET_LAB_WORKERS": "1"}  # no core works ahead
    assert len(epochs_trained(call(done, *repro, **alone))) == 3
    ran = experiment(done, "epochs=3", targets=("activation",))
    assert epochs_trained(ran) == [
        f"activation {variant} seed 0 epoch {epoch}/3"
        for variant in ("relu", "sigmoid", "tanh")
        for epoch in (2, 3)
    ]


@pytest.mark.slow
def test_a_variant_that_repeats_another_exercises_recipe_trains_nothing(done: Path) -> None:
    ran = experiment(done, "+schedules.variants.gentle={lr: 0.01}")
    remade = {"compare@schedules", "show@loss_and_rate", "report"}
    assert stages_run(ran) == {"schedules@gentle"} | remade
    assert "schedules gentle, seed 0: all 1 epoch known" in ran.stdout  # augmentation's none
    assert epochs_trained(ran) == []


@pytest.mark.slow
def test_going_back_trains_nothing_without_dvcs_cache_too(done: Path) -> None:
    """The parameters go back by hand; dvc.lock and the results are still the what-if's."""
    before = results(done)
    away = experiment(done, "activation.train.lr=0.002", targets=("activation", "report"))
    assert len(epochs_trained(away)) == 3
    assert results(done) != before
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=done, check=True)
    assert call(done, "dvc", "gc", "--workspace", "--force").returncode == 0
    shutil.rmtree(done / ".dvc/cache/runs")
    back = call(done, "dvc", "repro", "--no-run-cache")
    assert variants("activation") <= stages_run(back)
    assert epochs_trained(back) == []
    assert results(done) == before


def results(project: Path) -> dict[str, str]:
    """Curves, seconds and what is made of them."""
    paths = [path for path in (project / "metrics").rglob("*.*") if path.is_file()]
    return {str(path): path.read_text() for path in (*paths, project / "REPORT.md")}


@pytest.mark.slow
def test_without_the_store_every_result_is_still_up_to_date(done: Path) -> None:
    assert stages_run(call(done, "dvc", "repro")) == set()
    assert not (done / ".runs").exists()


@pytest.mark.slow
def test_a_key_that_no_stage_knows_is_refused_too(done: Path) -> None:
    ran = call(done, "dvc", "exp", "run", "-S", "+schedules.lr=0.05")
    assert ran.returncode != 0
    assert "params.yaml: schedules has the unknown key 'lr'" in ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("value", ["epochs=0", "data.source=web", "benchmark.iterations=0"])
def test_a_refused_value_removes_nothing(done: Path, value: str) -> None:
    ran = call(done, "dvc", "exp", "run", "-S", value)
    assert ran.returncode != 0 and "No result is lost: correct it, or git checkout" in ran.stderr
    changed = ["git", "diff", "--name-only"]
    assert subprocess.check_output(changed, cwd=done, text=True) == "params.yaml\n"
    assert (done / "data/mnist").exists()
    subprocess.run(["git", "checkout", "-q", "params.yaml"], cwd=done, check=True)
    assert stages_run(call(done, "dvc", "repro")) == set()


@pytest.mark.slow
def test_a_wrong_override_is_one_sentence_and_trains_nothing(done: Path) -> None:
    ran = call(done, "dvc", "exp", "run", "-S", "schedules.compare.threshold=140", "-S", "lr=0.2")
    assert ran.returncode != 0
    assert "params.yaml: schedules.compare.threshold should be less than 100" in ran.stderr
    assert "epoch 1/1" not in ran.stdout
