"""Shared, interrupted, damaged or waited for: a run gives what a plain loop from nothing gives."""

import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from alexnet_lab import cli, params
from alexnet_lab.data import datasets
from alexnet_lab.errors import UserError
from alexnet_lab.learning.training import train
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.files import write_csv
from alexnet_lab.params.recipes import Arithmetic, Recipe
from alexnet_lab.runs import committed, stage, trainer
from alexnet_lab.runs.ahead import read_yaml, stages_to_come
from alexnet_lab.runs.records import Record, curves, keep, timing
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings, known_epochs, outlook, spare_tasks, train_runs
from alexnet_lab.runs.store import Store
from alexnet_lab.runs.trainer import carry_out
from alexnet_lab.weights import first_layer
from tests.conftest import forget
from tests.test_store import DAMAGES, files_of

ROOT = Path(__file__).parent.parent
RELU = ("activation", "relu")
NONE: frozenset[str] = frozenset()
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    make_deterministic(threads=1)
    monkeypatch.setattr(stage, "memory_left", lambda: 2**40)


def where(site: Site, **changes: Any) -> Site:
    """The site with what-ifs."""
    return replace(site, study=site.study.model_copy(update=changes))


def a_run(site: Site, *stage: str, precision: Arithmetic = "fp32", **changes: Any) -> Run:
    """Seed 0 of a variant; four epochs, if nothing else is said."""
    changes = {"epochs": 4, "seeds": (0,)} | changes
    return where(site, **changes).runs(*(stage or RELU), precision)[0]


@cache
def _from_nothing(recipe: str, data: Path, seed: int, precision: Arithmetic) -> Rows:
    images = datasets.load(data)
    epochs = train(Recipe.model_validate_json(recipe), images, seed, precision)
    return curves([Record(epoch, "", "", "") for epoch in epochs])


def from_nothing(run: Run) -> Rows:
    """The curve by the plain loop, without a store."""
    return _from_nothing(run.recipe.model_dump_json(), run.data, run.seed, run.precision)


def carried(run: Run, store: Store, wanted: frozenset[str] = NONE) -> tuple[Rows, list[int]]:
    """The curve, as a stage takes it, and which epochs were trained for it."""
    known: dict[int, Record] = {}
    trained = []
    for record, new in carry_out(run, store, wanted):
        known.setdefault(record.epoch.epoch, record)
        trained += [record.epoch.epoch] * new
    assert [known[n].name for n in sorted(known)] == list(run.names)
    return curves(known[epoch] for epoch in sorted(known)), trained


def states(run: Run, store: Store) -> list[int]:
    return [epoch for epoch, name in enumerate(run.names, 1) if store.has_state(name)]


def lose_record(store: Store, name: str) -> None:
    (store.folder / "records" / name[:2] / name).unlink()


# --- interrupted, and begun again ---


@pytest.mark.parametrize(
    ("exercise", "variant", "precision"),
    [
        ("activation", "relu", "fp32"),
        ("schedules", "warmup_cosine", "bf16"),
        ("augmentation", "alexnet_style", "fp32"),
        ("batchnorm", "with_bn", "bf16"),
    ],
)
def test_a_run_goes_on_to_the_same_bits(
    exercise: str, variant: str, precision: Arithmetic, site: Site, tmp_path: Path
) -> None:
    run = a_run(site, exercise, variant, precision=precision, epochs=3)
    for after in (1, 2, 3):
        store = Store(tmp_path / str(after))
        before = list(islice(carry_out(run, store, NONE), after))
        rows, trained = carried(run, store)
        assert rows == from_nothing(run) and trained == list(range(after + 1, 4))
        # The seconds too are those of the epochs that were trained.
        assert [record for record, _ in before] == known_epochs(run, store)[:after]
    assert carried(run, store) == (from_nothing(run), [])


def test_a_run_under_way_keeps_its_last_two_states_and_at_its_end_those_that_are_wanted(
    site: Site,
) -> None:
    run, store = a_run(site), site.store
    steps, kept = carry_out(run, store, frozenset({run.names[1], run.names[3]})), []
    for _ in range(4):
        next(steps)
        kept.append(states(run, store))
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4]]
    assert next(steps, None) is None
    assert states(run, store) == [2, 4]


def test_of_a_long_run_no_more_than_two_states_are_there_for_a_crash(site: Site) -> None:
    run, most = a_run(site, epochs=6), 0
    for _ in carry_out(run, site.store, NONE):
        most = max(most, len(states(run, site.store)))
    assert most == 3  # two, and the one that has just been written
    assert states(run, site.store) == []  # nothing was wanted


# --- runs that begin alike ---


def test_step_trains_only_what_constant_has_not(raw: dict[str, Any], site: Site) -> None:
    """And each equals its run from nothing. The rate is cut after two epochs."""
    raw["schedules"]["variants"]["step"]["schedule"]["every"] = 2
    site = replace(site, study=params.parse(raw))
    constant, step = (a_run(site, "schedules", v, epochs=3) for v in ("constant", "step"))
    wanted = branchings([constant, step])
    assert wanted == {constant.names[1], constant.names[-1], step.names[-1]}
    assert carried(constant, site.store, wanted) == (from_nothing(constant), [1, 2, 3])
    assert states(constant, site.store) == [2, 3]
    assert carried(step, site.store, wanted) == (from_nothing(step), [3])
    assert from_nothing(step)[:2] == from_nothing(constant)[:2]
    assert from_nothing(step)[2] != from_nothing(constant)[2]


def test_more_epochs_go_on_from_the_end(site: Site) -> None:
    two, four = a_run(site, epochs=2), a_run(site, epochs=4)
    carried(two, site.store, branchings([two]))
    assert carried(four, site.store, branchings([four])) == (from_nothing(four), [3, 4])
    assert carried(a_run(site, epochs=3), site.store) == (from_nothing(four)[:3], [])


def test_where_a_state_is_gone_the_epochs_before_are_trained_again_and_said_to_be(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # git has nothing
    two, four = a_run(site, epochs=2), a_run(site, epochs=4)
    assert list(outlook([four], site.store, *RELU)) == [
        "activation relu, seed 0: 4 epochs to train"
    ]
    carried(two, site.store)  # no state is wanted
    assert list(outlook([four], site.store, *RELU)) == [
        "activation relu, seed 0: epochs 1–2 known, 2 to train, and 1–2 again, since no state "
        "after epoch 2 is kept here"
    ]
    first = known_epochs(two, site.store)
    assert carried(four, site.store) == (from_nothing(four), [1, 2, 3, 4])
    assert known_epochs(four, site.store)[:2] == first  # the seconds are still the first ones
    assert list(outlook([four], site.store, *RELU)) == [
        "activation relu, seed 0: all 4 epochs known"
    ]


def test_a_wanted_state_that_is_gone_comes_back_with_its_epoch(site: Site) -> None:
    """Else each run that parts there would train what came before again."""
    run = a_run(site)
    carried(run, site.store)
    lose_record(site.store, run.names[3])
    assert carried(run, site.store, frozenset({run.names[1]}))[1] == [1, 2, 3, 4]
    assert states(run, site.store) == [2]


def test_the_outlook_puts_seeds_together_that_are_alike(site: Site) -> None:
    site = where(site, epochs=2, seeds=(0, 1, 2, 5, 6))
    runs = site.runs(*RELU, "fp32")
    for run in (runs[3], runs[4]):
        carried(run, site.store)
    assert list(outlook(runs, site.store, *RELU)) == [
        "activation relu, seeds 0–2: 2 epochs to train",
        "activation relu, seeds 5, 6: all 2 epochs known",
    ]
    lose_record(site.store, runs[4].names[0])
    assert list(outlook(runs[4:], site.store, *RELU)) == [
        "activation relu, seed 6: 1 epoch known, 1 to train"
    ]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_damaged_or_lost_the_curves_are_the_same(
    seed: int, site: Site, tmp_path: Path
) -> None:
    """Any subset of the files, in any way; and then an interruption."""
    luck = random.Random(seed)
    store, run, longer = Store(tmp_path / "hurt"), a_run(site), a_run(site, epochs=5)
    carried(run, store, frozenset(luck.sample(run.names, 2)))
    for path in files_of(store):
        if luck.random() < 0.4:
            luck.choice(DAMAGES)(path)
    list(islice(carry_out(longer, store, NONE), luck.randint(0, 5)))
    for path in files_of(store):
        if luck.random() < 0.2:
            luck.choice(DAMAGES)(path)
    assert carried(longer, store)[0] == from_nothing(longer)
    assert carried(longer, store) == (from_nothing(longer), [])


def test_a_known_epoch_with_other_numbers_than_it_has_here_is_an_error(site: Site) -> None:
    two, four = a_run(site, epochs=2), a_run(site)
    carried(two, site.store)
    record = known_epochs(two, site.store)[1]
    assert record is not None
    loss = record.epoch.train_loss
    keep(site.store, replace(record, epoch=replace(record.epoch, train_loss=loss * 1.001)))
    with pytest.raises(UserError, match=r"relu seed 0 epoch 2: trained again, its train_loss is"):
        carried(four, site.store)
    # Git's curves have six digits: that is no difference.
    keep(site.store, replace(record, epoch=replace(record.epoch, train_loss=float(f"{loss:.6g}"))))
    assert carried(four, site.store)[1] == [2, 3, 4]


def test_what_is_only_measured_is_measured_when_it_is_asked_for(
    raw: dict[str, Any], site: Site
) -> None:
    """A record without it does not serve; one with it serves both, and shows each its own."""
    plain = a_run(site)
    raw["activation"]["train"]["clean_train_loss"] = True
    clean = a_run(replace(site, study=params.parse(raw)))
    assert clean.names == plain.names
    carried(plain, site.store, frozenset(plain.names))
    assert known_epochs(clean, site.store) == [None] * 4
    assert carried(clean, site.store) == (from_nothing(clean), [1, 2, 3, 4])
    assert all(row["train_loss_clean"] is not None for row in from_nothing(clean))
    assert carried(plain, site.store) == (from_nothing(plain), [])
    assert carried(clean, site.store) == (from_nothing(clean), [])


# --- others that compute the same ---


def test_an_epoch_that_another_process_trains_is_waited_for_and_not_trained_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = a_run(site, epochs=2), site.store
    other = Store(store.folder)
    results: list[tuple[Rows, list[int]]] = []
    with other.lock(run.names[0]):
        waiting = threading.Thread(target=lambda: results.append(carried(run, store)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive() and results == []
        for epoch, record in zip(from_nothing(run), run.names, strict=True):
            numbers = trainer.Record(_epoch(epoch), record, "fp32", "elsewhere")
            keep(other, numbers)
    waiting.join(20)
    assert results == [(from_nothing(run), [])]


def _epoch(row: dict[str, Any]) -> Any:
    from alexnet_lab.learning.epoch import Epoch

    return Epoch(**row, seconds=1.0)


def test_two_at_once_train_every_epoch_once(site: Site) -> None:
    """Each of them needs all, and takes from the other what it has."""
    run, results = a_run(site, epochs=6), list[tuple[Rows, list[int]]]()

    def go() -> None:
        results.append(carried(run, Store(site.store.folder), frozenset(run.names)))

    both = [threading.Thread(target=go) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert [rows for rows, _ in results] == [from_nothing(run)] * 2
    assert sorted(results[0][1] + results[1][1]) == [1, 2, 3, 4, 5, 6]


# --- what an idle core does ---


def task_of(task: Any) -> Run:
    assert isinstance(task, partial)
    run = task.args[0]
    assert isinstance(run, Run)
    return run


def test_spare_work_is_the_first_later_run_whose_next_epoch_nobody_computes(site: Site) -> None:
    site = where(site, epochs=12, seeds=(0, 1))
    schedules = {v: site.runs("schedules", v, "fp32") for v in ("constant", "step", "cosine")}
    relu, tanh = (site.runs("activation", v, "fp32") for v in ("relu", "tanh"))
    later = [*schedules["step"], *relu, *schedules["cosine"], *tanh]
    for name in relu[0].names:  # all of it is known
        keep(site.store, Record(_epoch(dict.fromkeys(FIELDS, 0.0)), name, "fp32", "here"))
    spare = spare_tasks(schedules["constant"], later, site.store, NONE)
    # Step and cosine would wait for what constant computes now.
    titles = []
    while task := spare():
        titles.append(task_of(task).title)
    assert titles == ["activation relu seed 1", "activation tanh seed 0", "activation tanh seed 1"]
    for name in schedules["constant"][1].names[:10]:  # seed 1 has come to where step parts
        keep(site.store, Record(_epoch(dict.fromkeys(FIELDS, 0.0)), name, "fp32", "here"))
    titles = []
    while task := spare():
        titles.append(task_of(task).title)
    assert titles == ["schedules step seed 1", "schedules cosine seed 1"]


FIELDS = (
    *("seed", "epoch", "lr", "train_loss", "train_loss_clean"),
    *("test_loss", "test_accuracy", "gradient_norm"),
)


def test_there_is_no_spare_work_where_memory_is_short(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = spare_tasks([], [a_run(site)], site.store, NONE)
    monkeypatch.setattr(stage, "memory_left", lambda: stage.SPARE_MEMORY - 1)
    assert spare() is None
    monkeypatch.setattr(stage, "memory_left", lambda: stage.SPARE_MEMORY)
    assert task_of(spare()).title == "activation relu seed 0"


def test_no_spare_work_repeats_what_other_spare_work_computes(site: Site) -> None:
    site = where(site, epochs=12, seeds=(0,))
    later = [site.runs("schedules", v, "fp32")[0] for v in ("constant", "step", "exponential")]
    spare = spare_tasks([], later, site.store, NONE)
    assert task_of(spare()).title == "schedules constant seed 0"
    assert spare() is None


def test_states_are_wanted_where_runs_part_and_where_they_end(site: Site) -> None:
    site = where(site, epochs=12, seeds=(0,))
    runs = {v: site.runs("schedules", v, "fp32")[0].names for v in ("constant", "step", "cosine")}
    all_runs = [site.runs("schedules", v, "fp32")[0] for v in runs]
    constant, step, cosine = runs.values()
    ends = {names[-1] for names in runs.values()}
    assert branchings(all_runs) == ends | {constant[0], constant[9]}
    shorter = where(site, epochs=5).runs("schedules", "constant", "fp32")
    assert branchings([*shorter, all_runs[0]]) == {constant[4], constant[-1]}
    assert branchings([]) == frozenset() and step[9] == constant[9] and cosine[0] == constant[0]


# --- which stages are to come ---


@contextmanager
def in_project(
    folder: Path, raw: dict[str, Any], changed: set[str] = frozenset()
) -> Iterator[None]:  # type: ignore[assignment]
    """A project whose dvc.lock has the parameters of every training stage but some."""
    study = params.parse(raw)
    stages = {}
    for exercise, content in study.exercises.items():
        for variant in content.variants:
            known = {
                "lr": raw["lr"],
                f"{exercise}.seeds": raw[exercise]["seeds"],
                f"{exercise}.variants.{variant}": raw[exercise]["variants"][variant],
            }
            if f"{exercise}@{variant}" in changed:
                known["lr"] = 0.25
            stages[f"{exercise}@{variant}"] = {
                "params": {"params.yaml": known},
                "outs": [{"path": f"metrics/runs/{exercise}/{variant}.csv"}],
            }
    stages["show@rates"] = {"deps": [{"path": "metrics/runs/schedules"}]}
    stages["made"] = {"outs": [{"path": "made"}], "deps": [{"path": "metrics/runs/batchnorm"}]}
    stages["show@made"] = {"deps": [{"path": "made/one.csv"}]}
    stages["more"] = {
        "outs": [{"path": "metrics/runs/schedules_more.csv"}],
        "deps": [{"path": "metrics/runs/batchnorm"}],
    }
    stages["keep"] = {
        "deps": [{"path": "metrics/runs/batchnorm/with_bn.csv"}],
        "outs": [{"path": "kept.csv"}],
    }
    stages["show@kept"] = {"deps": [{"path": "kept.csv"}]}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def to_come(raw: dict[str, Any], stage: str) -> set[str]:
    pairs = stages_to_come(params.parse(raw), *stage.split("@"))
    return {f"{exercise}@{variant}" for exercise, variant in pairs}


EVERY = {
    f"{e}@{v}" for e, c in params.load(ROOT / "params.yaml").exercises.items() for v in c.variants
}


def test_the_stages_to_come_are_those_whose_parameters_changed(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command: list[str] = ["dvc", "repro"]
    monkeypatch.setattr(cli, "dvc_command", lambda: command)
    changed = {"schedules@step", "schedules@cosine", "batchnorm@with_bn"}
    with in_project(tmp_path, raw, changed):
        assert to_come(raw, "schedules@step") == set()  # DVC is not there
        monkeypatch.setenv("DVC_STAGE", "schedules@step")
        assert to_come(raw, "schedules@step") == changed - {"schedules@step"}
        # The parameters of relu are as they were: it runs for its code, and so do all.
        assert to_come(raw, "activation@relu") == EVERY - {"activation@relu"}
        for words, expected in (
            (["schedules@step"], set()),
            (["schedules"], {"schedules@cosine"}),
            (["compare@schedules", "--force"], {"schedules@cosine"}),
            (["batchnorm", "schedules@step"], {"batchnorm@with_bn"}),
            (["report"], {"schedules@cosine", "batchnorm@with_bn"}),
            (["show@rates"], {"schedules@cosine"}),
            (["show@kept"], {"batchnorm@with_bn"}),
            (["show@made"], {"batchnorm@with_bn"}),
            (["show"], {"schedules@cosine", "batchnorm@with_bn"}),
            (["-n", "show@rates"], {"schedules@cosine", "batchnorm@with_bn"}),  # a name
        ):
            command[2:] = words
            assert to_come(raw, "schedules@step") == expected, words


def test_a_variant_that_dvc_lock_does_not_know_is_to_come_for_what_reads_its_curves(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["dvc", "repro", "show@rates"]
    monkeypatch.setattr(cli, "dvc_command", lambda: command)
    monkeypatch.setenv("DVC_STAGE", "schedules@step")
    with in_project(tmp_path, raw, {"schedules@step"}):
        raw["schedules"]["variants"]["warm"] = {"lr": 0.2}
        assert to_come(raw, "schedules@step") == {"schedules@warm"}
        command[2] = "show@made"
        assert to_come(raw, "schedules@step") == set()


def test_without_a_dvc_lock_all_stages_are_to_come(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "activation@relu")
    command = ["dvc", "repro"]
    monkeypatch.setattr(cli, "dvc_command", lambda: command)
    with in_project(tmp_path, raw):
        for content in (None, "", "stages: [", "stages: {}\n"):
            Path("dvc.lock").unlink(missing_ok=True)
            if content is not None:
                Path("dvc.lock").write_text(content)
            assert to_come(raw, "activation@relu") == EVERY - {"activation@relu"}
        command.clear()  # no /proc, or the queue: nobody knows what was asked for
        assert to_come(raw, "activation@relu") == set()


@pytest.mark.parametrize(
    ("words", "known"),
    [("exp run -S lr=0.05 compare@activation", True), ("exp exec-run --infofile a.json", False)],
)
def test_what_dvc_was_asked_for_is_in_its_command_but_not_in_its_queues(
    words: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queued what-if names its targets in a file of DVC's: taken for all, it would train all."""
    command = [sys.executable, "-c", "print(flush=True); input()", *words.split()]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as dvc:
        assert dvc.stdout and dvc.stdout.readline()  # before, /proc may not have its words yet
        monkeypatch.setattr(cli, "DVC", dvc.pid)
        assert (cli.dvc_command()[3:-1] == words.split()) is known
        assert bool(cli.dvc_command()) is known
        dvc.kill()


def test_a_state_of_another_network_counts_as_none(site: Site) -> None:
    run = a_run(site)
    carried(replace(run, names=run.names[:2]), site.store)
    state = io.BytesIO()
    torch.save({"classifier": {"other": torch.ones(1)}, "optimizer": {}}, state)
    site.store.keep_state(run.names[1], state.getvalue())
    assert carried(run, site.store)[0] == from_nothing(run)


# --- what git holds ---


def git(*words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Record]], None]:
    """A repository, and how to commit the curves of `activation relu`; no store has them."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.delenv("ALEXNET_LAB_COMMITTED")
    git("init", "-q")

    def commit(records: list[Record]) -> None:
        write_csv(curves(records), Path("metrics/runs/activation/relu.csv"))
        write_csv(timing(records), Path("metrics/timing/activation/relu.csv"))
        git("add", ".")
        git("commit", "-qm", "curves")
        for path in Path("metrics").rglob("*.csv"):
            path.unlink()  # as DVC does before a stage runs
        forget()

    return commit


def trained(run: Run, folder: Path) -> list[Record]:
    return [record for record, _ in carry_out(run, Store(folder), NONE)]


Commit = Callable[[list[Record]], None]


def rounded(rows: Rows) -> Rows:
    return [
        {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in row.items()}
        for row in rows
    ]


def test_committed_epochs_are_known(site: Site, commit: Commit, tmp_path: Path) -> None:
    site = where(site, epochs=3, seeds=(0, 1))
    runs = site.runs(*RELU, "fp32")
    records = [record for run in runs for record in trained(run, tmp_path / "elsewhere")]
    commit(records)
    assert list(outlook(runs, site.store, *RELU)) == [
        "activation relu, seeds 0, 1: all 3 epochs known"
    ]
    results = list(train_runs(site, *RELU, runs))
    assert [new for _, new in results] == [False] * 6
    known = [record for record, _ in results]
    assert curves(known) == rounded(curves(records))
    assert [r.hardware for r in known] == [site.hardware.name] * 6
    write_csv(curves(known), tmp_path / "again.csv")
    show = ["git", "show", "HEAD:metrics/runs/activation/relu.csv"]
    assert subprocess.run(show, capture_output=True, check=True).stdout == (
        (tmp_path / "again.csv").read_bytes()
    )
    assert not site.store.folder.exists()  # nothing needed to be kept


def test_committed_weights_are_those_of_the_run_that_they_name(
    site: Site, commit: Commit, tmp_path: Path
) -> None:
    """A fresh clone has no states: what it keeps of the weights need not be trained again."""
    runs = where(site, epochs=1, seeds=(0, 1)).runs(*RELU, "fp32")
    elsewhere, kept = Store(tmp_path / "elsewhere"), Path("metrics/filters.csv")
    records = [record for run in runs for record in trained(run, elsewhere.folder)]
    rows = first_layer(runs[0], elsewhere, kept)
    write_csv([{"variant": v} | row for v in ("relu", "the_same_again") for row in rows], kept)
    commit(records)
    found = first_layer(runs[0], site.store, kept)
    assert found == rows and len(rows) == 512
    assert not site.store.folder.exists()
    assert first_layer(runs[1], site.store, kept) != found  # trained, since git has none of it
    assert site.store.has_state(runs[1].names[-1])
    state = elsewhere.folder / "states" / runs[0].names[-1]
    state.write_bytes(state.read_bytes()[:-1])
    assert first_layer(runs[0], elsewhere, Path("none.csv")) == rows  # trained again
    assert elsewhere.has_state(runs[0].names[-1]) and not [*(elsewhere.folder / "again").iterdir()]


def test_a_further_seed_or_epoch_of_a_committed_run_trains_what_is_missing(
    site: Site, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git has no states: more epochs start over, which says so and agrees with git."""
    commit(trained(a_run(site, epochs=2), tmp_path / "elsewhere"))
    longer = a_run(site, epochs=3)
    assert list(outlook([longer], site.store, *RELU)) == [
        "activation relu, seed 0: epochs 1–2 known, 1 to train, and 1–2 again, since no state "
        "after epoch 2 is kept here"
    ]
    serial = lambda tasks, *_: (item for task in tasks for item in task())  # noqa: E731
    monkeypatch.setattr(stage, "side_by_side", serial)
    results = list(train_runs(where(site, epochs=3, seeds=(0,)), *RELU, [longer]))
    assert [(r.epoch.epoch, new) for r, new in results] == [
        *((1, False), (2, False)),  # as git has them, so that what is trained again is compared
        *((1, True), (2, True), (3, True)),
    ]
    assert curves([results[-1][0]]) == from_nothing(longer)[-1:]
    assert all(site.store.record(name) for name in longer.names)


def test_committed_curves_with_other_columns_count_for_nothing(
    site: Site, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(site, epochs=1)
    commit(trained(run, tmp_path / "elsewhere"))
    assert known_epochs(run, site.store) != [None]
    forget()
    monkeypatch.setattr(committed, "COLUMNS", committed.COLUMNS | {"new"})
    assert known_epochs(run, site.store) == [None]


def test_past_seconds_are_those_of_the_commit(site: Site, commit: Commit, tmp_path: Path) -> None:
    commit(records := trained(a_run(site, epochs=2), tmp_path / "elsewhere"))
    seconds = [float(f"{record.epoch.seconds:.6g}") for record in records]
    assert committed.committed_seconds("activation", "relu") == seconds
    assert committed.committed_seconds("activation") == seconds
    assert committed.committed_seconds("activation", "tanh") == []


def test_a_checkout_of_another_user_is_not_one_without_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = b"fatal: detected dubious ownership in repository at '/x'"

    def refuse(*_: Any, env: dict[str, str], **__: Any) -> None:
        assert env["LC_ALL"] == "C"  # or the word may be another
        raise subprocess.CalledProcessError(128, "git", stderr=said)

    monkeypatch.delenv("ALEXNET_LAB_COMMITTED")
    monkeypatch.setattr(committed.subprocess, "run", refuse)
    with pytest.raises(UserError, match="dubious ownership"):
        committed.committed()


@pytest.mark.parametrize("more", ["activation/relu", "activation/sigmoid"])
def test_of_two_committed_rows_of_an_epoch_the_one_that_measured_more_counts(
    more: str, site: Site, commit: Commit, tmp_path: Path
) -> None:
    run = a_run(site, epochs=1)
    (record,) = trained(run, tmp_path / "elsewhere")
    measured = replace(
        record, epoch=replace(record.epoch, train_loss_clean=1.5, train_accuracy=50.0)
    )
    for name in ("activation/relu", "activation/sigmoid", "schedules/step"):
        rows = [measured if name == more else record]
        write_csv(curves(rows), Path(f"metrics/runs/{name}.csv"))
        write_csv(timing(rows), Path(f"metrics/timing/{name}.csv"))
    commit([measured if more == "activation/relu" else record])
    known = committed.committed()[record.name]
    assert known.serves(clean=True) and known.epoch.train_loss_clean == 1.5


@pytest.mark.parametrize("change", ["hardware", "precision", "recipe", "names", "setting"])
def test_committed_epochs_that_do_not_count_say_why(
    change: str, site: Site, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(site, epochs=2)
    records = trained(run, tmp_path / "elsewhere")
    if change == "names":  # of a commit before there were names
        records = [replace(record, name="") for record in records]
    commit(records)
    if change == "hardware":
        other = replace(site, hardware=replace(site.hardware, kind="a GPU", device="cuda"))
        run, why = (
            a_run(other, epochs=2),
            f"they ran on {site.hardware.name} in fp32, and this is a GPU in fp32",
        )
    elif change == "precision":
        run = a_run(site, epochs=2, precision="bf16")
        why = f"they ran on {site.hardware.name} in fp32, and this is {site.hardware.name} in bf16"
    elif change == "setting":
        monkeypatch.setenv("ALEXNET_LAB_COMMITTED", "0")
        why = ""
    else:
        run = a_run(site, epochs=2, **({"lr": 0.5} if change == "recipe" else {}))
        why = "they have other parameters, data, code or versions"
    first, *rest = outlook([run], site.store, *RELU)
    assert first == "activation relu, seed 0: 2 epochs to train"
    assert known_epochs(run, site.store) == [None, None]
    expected = [f"The epochs of activation relu in git do not count here: {why}."]
    assert rest == (expected if why else [])


def test_without_git_or_a_commit_nothing_is_committed(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALEXNET_LAB_COMMITTED")
    monkeypatch.chdir(tmp_path)
    run = a_run(site, epochs=2)
    for _ in range(2):
        forget()
        assert list(outlook([run], site.store, *RELU)) == [
            "activation relu, seed 0: 2 epochs to train"
        ]
        git("init", "-q")
    monkeypatch.setenv("PATH", "")
    forget()
    assert known_epochs(run, site.store) == [None, None]


# --- the stage ---

STAGE = """
import runpy, sys
sys.argv = ["stages/train.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
print(sorted({"torch", "pandas", "numpy", "scipy", "dvc", "matplotlib"} & set(sys.modules)))
"""


def test_a_stage_whose_epochs_are_all_known_imports_nothing_slow(
    raw: dict[str, Any], site: Site, tmp_path: Path
) -> None:
    """Neither torch nor pandas; and it writes what a run from nothing writes."""
    raw |= {"epochs": 2, "seeds": [1, 0], "precision": "fp32"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    from alexnet_lab.machine.hardware import cpu

    site = replace(site, study=params.parse(raw), hardware=cpu())
    runs = site.runs(*RELU, "fp32")
    for run in runs:
        carried(run, site.store)
    outputs = ("--data", str(site.data), "--curves", "curves.csv", "--timing", "timing.csv")
    environment = os.environ | {
        "ALEXNET_LAB_RUNS": str(site.store.folder),
        "ALEXNET_LAB_DEVICE": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", STAGE, *RELU, *outputs],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["activation relu, seeds 1, 0: all 2 epochs known", "[]"]
    write_csv([*from_nothing(runs[1]), *from_nothing(runs[0])], tmp_path / "expected.csv")
    assert (tmp_path / "curves.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    header, *rows = (tmp_path / "timing.csv").read_text().splitlines()
    assert header == "seed,epoch,seconds,precision,hardware,torch,numpy,name"
    assert [row.split(",")[:2] for row in rows] == [["0", "1"], ["0", "2"], ["1", "1"], ["1", "2"]]
    assert [row.split(",")[-1] for row in rows] == [*runs[1].names, *runs[0].names]


def test_a_number_as_dvc_writes_it_is_that_number(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text("a: 5e-05\nb: 0.00005\nc: 1.5e+3\nd: 5e\ne: 1e5x\n")
    read = read_yaml(tmp_path / "dvc.lock")
    assert read == {"a": 5e-05, "b": 5e-05, "c": 1500.0, "d": "5e", "e": "1e5x"}
