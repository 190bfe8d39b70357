"""Trained by an engine, on machines that come and go: the bytes of a serial run."""

import asyncio
import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from alexnet_lab import params
from alexnet_lab.cluster.hand_over import INSTALL, hand_over
from alexnet_lab.errors import UserError
from alexnet_lab.machine.devices import make_deterministic
from alexnet_lab.machine.hardware import LIMITS
from alexnet_lab.runs import names
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings
from alexnet_lab.runs.store import Store
from alexnet_lab.runs.trainer import carry_out
from tests.test_pipeline import BIN, call, commit, make_project
from tests.test_runs import NONE, ROOT, a_run, carried, from_nothing, states, where
from tests.test_survival import (
    digests,
    finish,
    forget_training,
    kill,
    read_until,
    start,
    trained,
)
from tools.demo import leave_out_controls

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
from distributed import Future

from alexnet_lab.cluster import __main__, head, worker

EPOCHS = 8
VARIANTS: dict[str, dict[str, Any]] = {  # the schedules share their first epochs
    "activation": {"relu": {}},
    "schedules": {
        "constant": {},
        "step": {"schedule": {"kind": "step", "every": 3, "gamma": 0.1}},
        "cosine": {"schedule": {"kind": "cosine"}},
    },
    "augmentation": {"none": {}},
    "batchnorm": {"with_bn": {}, "without_bn": {"model": {"batch_norm": False}}},
}
REPRO = ("dvc", "repro", "--no-run-cache")
AUTO = {"ALEXNET_LAB_CLUSTER": "auto", "ALEXNET_LAB_WORKERS": "2"}
CURVES = "metrics/runs/**/*.csv"


# --- who trains what ---


def schedules(site: Site, raw: dict[str, Any], **changes: Any) -> dict[str, Run]:
    """Constant, step and cosine, which part after epochs 1 and 2; four epochs, two seeds."""
    raw["schedules"]["variants"]["step"]["schedule"]["every"] = 2
    site = where(replace(site, study=params.parse(raw)), **{"epochs": 4, "seeds": (0, 1)} | changes)
    runs = [
        run for v in ("constant", "step", "cosine") for run in site.runs("schedules", v, "fp32")
    ]
    return {run.names[-1]: run for run in runs}


def to_train(due: dict[str, Run], store: Store) -> dict[str, tuple[str, ...]]:
    return {name: head.to_train(run, store) for name, run in due.items()}


def begins(due: dict[str, Run], store: Store, *under_way: str) -> list[tuple[str, int]]:
    """The variants that can be trained now, beside those, and how many epochs come before."""
    left = to_train(due, store)
    others = {name: some for name, some in left.items() if name not in under_way}
    chosen = head.ready(due, others, [left[name] for name in under_way])
    return [(due[name].title.split()[1], 4 - len(left[name])) for name in chosen]


def test_what_runs_share_is_trained_once_and_then_the_branches_start(
    site: Site, raw: dict[str, Any]
) -> None:
    due = schedules(site, raw, seeds=(0,))
    constant, step, cosine = due.values()
    wanted = branchings(due.values())
    assert begins(due, site.store) == [("constant", 0)]
    assert begins(due, site.store, step.names[-1]) == []
    carried(replace(constant, names=constant.names[:1]), site.store, wanted)
    assert begins(due, site.store) == [("constant", 1), ("cosine", 1)]
    assert begins(due, site.store, step.names[-1]) == [("cosine", 1)]
    carried(constant, site.store, wanted)
    assert begins(due, site.store) == [("cosine", 1), ("step", 2)]  # the longest first
    site.store.drop_state(constant.names[1])  # where step parts: epoch 2 is trained again
    assert begins(due, site.store) == [("step", 1), ("cosine", 1)]
    for run in (step, cosine):
        carried(run, site.store, wanted)
    assert begins(due, site.store) == []


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_slices_in_any_order_give_the_plain_loop_and_train_every_epoch_once(
    seed: int, site: Site, raw: dict[str, Any]
) -> None:
    """Whatever was known or lost before; each in a store of its own, as on other machines."""

    make_deterministic(threads=1)
    luck, due, home = random.Random(seed), schedules(site, raw, seeds=(0,)), site.store
    runs, wanted, epochs = [*due.values()], branchings(due.values()), list[str]()
    carried(luck.choice(runs), home, wanted)
    for name in luck.sample(runs[0].names, 2):
        home.drop_state(name)
    for name in luck.sample(runs[0].names, luck.randint(0, 2)):
        (home.folder / "records" / name[:2] / name).unlink(missing_ok=True)
    while chosen := head.ready(due, to_train(due, home), ()):
        run = due[luck.choice(chosen)]
        begin = len(run.names) - len(head.to_train(run, home))
        away = Store(home.folder.parent / f"{len(epochs)} {run.title}")
        worker.take(away, worker.give(home, run.names, run.names[max(0, begin - 1) : begin]))
        for record, new in carry_out(run, away, wanted):
            epochs += [record.name] if new else []
            if new and record.name in wanted:
                break
        worker.take(home, worker.give(away, run.names[begin:], (record.name,)))
    assert max(Counter(epochs).values()) == 1
    for run in runs:
        assert carried(run, home, NONE) == (from_nothing(run), [])


class Done(Future):  # type: ignore[misc]
    """What has been done, or could not be."""

    status = "finished"

    def __init__(self, found: Any) -> None:
        self.found = found

    def __del__(self) -> None: ...

    def add_done_callback(self, told: Callable[[Future], None]) -> None:
        told(self)

    def result(self) -> Any:
        return self.found

    def exception(self) -> UserError:
        return UserError("no memory")


class AtOnce:
    """A stand-in for the engine that does every task at once, on one worker."""

    def __init__(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, away: Store | None = None
    ) -> None:
        self.tasks: list[tuple[str, int]] = []  # variants, and after how many epochs
        self.priorities: list[int] = []
        self.fails = lambda run, _: False
        terms = worker.Terms(names.code.__wrapped__(), {}, {}, "ours", "")
        terms.hardware, terms.shares = site.hardware, away is None
        tasks = {"task": SimpleNamespace(state="executing")}
        here = SimpleNamespace(name="w", plugins={worker.OURS: terms})
        here.get_current_task = lambda: "task"
        here.state, here.log_event = SimpleNamespace(tasks=tasks), lambda *_: None
        monkeypatch.setattr(worker, "get_worker", lambda: here)
        monkeypatch.setattr(worker, "the_store", lambda: away or site.store)
        monkeypatch.setattr(worker, "SLICE", 0)

    def subscribe_topic(self, *_: Any) -> None: ...

    def submit(self, function: Callable[..., Any], run: Run, *args: Any, **how: Any) -> Future:
        assert len(self.tasks) < 40, "without end"
        self.priorities.append(how["priority"])
        epochs = sum(record is not None for record in run.known(worker.the_store(), {}))
        self.tasks.append((run.title.removeprefix("schedules "), epochs))
        failed = self.fails(run, epochs)
        future = Done(None if failed else function(run, *args))
        future.status = "error" if failed else "finished"
        return future


def test_slices_give_the_plain_loop_and_leave_the_states_of_an_earlier_study(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, *_ = schedules(site, raw).values()
    earlier = replace(run, names=run.names[:1])
    carried(earlier, site.store, branchings([earlier]))
    engine = AtOnce(site, monkeypatch)
    assert not head.carry_out(engine, [run], branchings([run]), site.store, "ours", shared=True)
    assert [epochs for _, epochs in engine.tasks] == [1, 2, 3]
    assert states(run, site.store) == [1, 4]
    assert carried(run, site.store) == (from_nothing(run), [])


def without_record(store: Store, name: str) -> None:
    (store.folder / "records" / name[:2] / name).unlink()


def test_a_later_state_of_the_run_holds_no_slice_up(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, *_ = schedules(site, raw, seeds=(0,)).values()
    wanted = branchings([run])
    carried(run, site.store, wanted)
    without_record(site.store, run.names[1])
    engine = AtOnce(site, monkeypatch)
    assert not head.carry_out(engine, [run], wanted, site.store, "ours", shared=True)
    assert len(engine.tasks) == 2  # epochs 1 and 2, a slice each
    assert carried(run, site.store) == (from_nothing(run), [])
    raw["schedules"]["train"]["clean_train_loss"] = True
    clean, *_ = schedules(site, raw, seeds=(0,)).values()
    assert clean.names == run.names
    assert not head.carry_out(engine, [clean], wanted, site.store, "ours", shared=True)
    assert None not in clean.known(site.store, {}) and len(engine.tasks) == 2 + len(run.names)


def test_a_store_that_loses_a_record_meanwhile_asks_for_it(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has a store of its own, and knows all of the run: it trains nothing."""
    run, *_ = schedules(site, raw, seeds=(0,)).values()
    wanted, away = branchings([run]), Store(site.store.folder.parent / "away")
    carried(run, away, wanted)
    carried(replace(run, names=run.names[:2]), site.store, frozenset(run.names[1:2]))
    engine = AtOnce(site, monkeypatch, away)

    def fails(run: Run, _: int) -> bool:
        if len(engine.tasks) == 1:
            without_record(site.store, run.names[0])
        return False

    engine.fails = fails
    assert not head.carry_out(engine, [run], wanted, site.store, "ours", shared=False)
    assert len(engine.tasks) == 2 and None not in run.known(site.store, {})


def test_the_head_keeps_no_state_of_a_slice_that_has_been_followed(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    due = schedules(site, raw, seeds=(0,))
    engine = AtOnce(site, monkeypatch, Store(site.store.folder.parent / "away"))
    wanted = branchings(due.values())
    assert not head.carry_out(engine, due.values(), wanted, site.store, "ours", shared=False)
    assert [states(run, site.store) for run in due.values()] == [[1, 2, 4], [1, 2, 4], [1, 4]]
    for run in due.values():
        assert carried(run, site.store, NONE) == (from_nothing(run), [])


def test_a_store_without_room_for_a_state_ends_in_a_sentence(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, *_ = schedules(site, raw, seeds=(0,)).values()
    engine = AtOnce(site, monkeypatch)
    monkeypatch.setattr(Store, "keep_state", lambda *_: None)
    errors = head.carry_out(engine, [run], branchings([run]), site.store, "ours", shared=True)
    (text,) = errors.values()
    assert text.startswith("schedules constant seed 0: its states were not kept")


def test_a_trunk_is_as_urgent_as_the_longest_run_that_waits_for_it(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = a_run(site)
    raw["activation"]["train"]["clean_train_loss"] = True
    clean = a_run(replace(site, study=params.parse(raw)))
    runs = [long, replace(clean, names=clean.names[:2])]
    engine = AtOnce(site, monkeypatch)
    head.carry_out(engine, runs, branchings(runs), site.store, "ours", shared=True)
    assert engine.priorities[0] == len(long.names) > 2


def test_a_stage_fails_for_what_it_lacks_alone(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = where(site, epochs=2, seeds=(0, 1))
    known, left = site.runs("activation", "relu", "fp32")
    carried(known, site.store)
    monkeypatch.setenv("ALEXNET_LAB_CLUSTER", "auto")
    errors = {known.names[0]: "a sibling's"}
    monkeypatch.setattr(head, "train_all", lambda studies: ([studies[0][0]], errors))
    assert hand_over(site, "activation", "relu") == site
    errors[left.names[0]] = "its own"
    with pytest.raises(UserError, match=r"^its own$"):
        hand_over(site, "activation", "relu")


def test_what_cannot_be_trained_is_tried_once_for_all_that_need_it(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [*schedules(site, raw).values()]
    constant, other, step, *_ = runs
    engine = AtOnce(site, monkeypatch)
    engine.fails = lambda run, epochs: run.seed == 0 and epochs == 1
    errors = head.carry_out(engine, runs, branchings(runs), site.store, "ours", shared=True)
    assert {*errors.values()} == {
        "schedules constant seed 0: no memory",
        "schedules cosine seed 0: no memory",
    }
    assert constant.names[1] in errors and constant.names[1] in step.names
    assert not [title for title, _ in engine.tasks if title == "step seed 0"]
    assert None not in other.known(site.store, {})


def test_of_runs_that_need_the_same_epoch_the_one_that_measures_more_trains_it(
    site: Site, raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = a_run(site)
    raw["activation"]["train"]["clean_train_loss"] = True
    clean = a_run(replace(site, study=params.parse(raw)))
    assert plain.names == clean.names
    engine = AtOnce(site, monkeypatch)
    for runs in ([plain, clean], [clean, plain]):
        shutil.rmtree(site.store.folder, ignore_errors=True)
        head.carry_out(engine, runs, frozenset(), site.store, "ours", shared=True)
        assert None not in clean.known(site.store, {})
    assert len(engine.tasks) == 2 * len(clean.names)  # a slice each
    shorter = replace(clean, names=clean.names[:2])
    due = {run.names[-1]: run for run in (plain, shorter)}
    left = {name: run.names for name, run in due.items()}
    assert head.ready(due, left, ()) == [shorter.names[-1]]


def test_what_comes_home_replaces_what_measured_less(site: Site) -> None:
    less, more = ({"epoch": {"train_accuracy": value}} for value in (None, 97.0))
    for record in (less, more, less):
        worker.take(site.store, ({"a": record}, {}))
    assert site.store.record("a") == more


def test_what_is_known_is_not_handed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = where(site, epochs=1, seeds=(0,))
    carried(site.runs("activation", "relu", "fp32")[0], site.store)
    monkeypatch.setenv("ALEXNET_LAB_CLUSTER", "tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "alexnet_lab.cluster.head", None)
    assert hand_over(site, "activation", "relu") is site


def test_a_sweep_that_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^-S lr=\[ cannot be read: ") as error:
        __main__.sweeps(["lr=["])
    assert "\n" not in f"{error.value}"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ALEXNET_LAB_CLUSTER", "auto")
    monkeypatch.setitem(sys.modules, "alexnet_lab.cluster.head", SimpleNamespace(train_all=None))
    monkeypatch.setattr("sys.argv", ["cluster", "-S", "data.source=sample"])
    with pytest.raises(UserError, match=r"No epoch is known of other data: set data\.source"):
        __main__.main()


def test_word_of_an_epoch_may_come_after_its_slice_has_ended(
    site: Site, raw: dict[str, Any]
) -> None:
    run, *_ = schedules(site, raw).values()
    table = head.Table({*run.names})
    record = {"name": run.names[0], "epoch": from_nothing(run)[0] | {"seconds": 1.0}}
    table.epoch(run, "w", record)
    assert [task.completed for task in table.tasks] == [1, 1]
    assert table.tasks[1].description == run.title
    table.end(run)
    table.epoch(run, "w", record)  # trained again by another worker
    assert [task.completed for task in table.tasks] == [1, 1]


def test_without_the_extra_one_sentence_says_how_to_install_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_over(site, "activation", "relu") is site  # the variable is not set
    monkeypatch.setenv("ALEXNET_LAB_CLUSTER", "auto")
    monkeypatch.setitem(sys.modules, "alexnet_lab.cluster.head", None)
    with pytest.raises(Exception, match="needs Dask, which is not installed") as caught:
        hand_over(site, "activation", "relu")
    assert str(caught.value) == INSTALL
    monkeypatch.setattr("sys.argv", ["cluster", "-S", "lr=0.01,0.02"])
    with pytest.raises(UserError) as sweep:
        __main__.main()
    assert str(sweep.value) == INSTALL


# --- who takes part, without an engine ---


def test_a_worker_that_cannot_read_its_settings_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said, resources = [], dict[str, float]()

    async def set_resources(**given: float) -> None:
        resources.update(given)

    log = lambda topic, event: said.append((topic, event["refused"]))  # noqa: E731
    here = SimpleNamespace(name="three", log_event=log, set_resources=set_resources)
    terms = worker.Terms(names.code(), {}, {}, "token", "")
    asyncio.run(terms.setup(here))
    assert (said, resources, terms.refused) == ([], {worker.OURS: 1}, "")
    monkeypatch.setenv("ALEXNET_LAB_DEVICE", "tpu")
    asyncio.run(terms.setup(here))
    sentence = "Worker three is left out. ALEXNET_LAB_DEVICE is 'tpu'; it should be "
    assert terms.refused.startswith(sentence) and resources == {worker.OURS: 0}
    assert said == [(worker.OURS, terms.refused)]


@pytest.mark.parametrize(
    ("token", "code", "sentence"),
    [("later", "the same", "Another study has begun"), ("ours", "edited", "The code has changed")],
)
def test_a_task_is_refused_if_the_worker_now_serves_another_study_or_other_code(
    token: str, code: str, sentence: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = worker.Terms("the same", {}, {}, token, "")
    here = SimpleNamespace(plugins={worker.OURS: terms}, get_current_task=lambda: "task")
    monkeypatch.setattr(worker, "get_worker", lambda: here)
    monkeypatch.setattr(names.code, "__wrapped__", lambda: code)
    run = site.runs("activation", "relu", "fp32")[0]
    with pytest.raises(UserError, match=sentence):
        worker.train(run, 0, frozenset(), ({}, {}), "ours")
    assert not [*site.store.folder.glob("records/*/*")]


# --- through DVC: minutes ---


def test_a_stage_whose_data_is_not_there_yet_is_left_to_a_later_call(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its missing folder would end the stage that hands over."""
    handed = set[str]()

    @contextmanager
    def engine(*_: Any) -> Iterator[None]:
        yield None

    def carry_out(_: Any, runs: list[Run], *__: Any) -> dict[str, str]:
        handed.update(run.title.split()[0] for run in runs)
        return {}

    monkeypatch.setattr(head, "engine", engine)
    monkeypatch.setattr(head, "admit", lambda _, __, here: (here, True))
    monkeypatch.setattr(head, "compare_gradients", lambda *_: None)
    monkeypatch.setattr(head, "carry_out", carry_out)
    (tmp_path / "cifar10").symlink_to((site.data / "cifar10").resolve())
    head.train_all([(replace(site, data=tmp_path), {("activation", "relu"), ("rates", "with_bn")})])
    assert handed == {"rates"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small networks, two seeds; run once, one after another, as it is without an engine."""
    folder = make_project(tmp_path_factory.mktemp("cluster") / "head")
    leave_out_controls(folder)
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text()) | {"epochs": EPOCHS, "seeds": [0, 1], "threads": 1}
    for exercise, variants in VARIANTS.items():
        raw[exercise]["variants"] = variants
        raw[exercise]["compare"]["baseline"] = next(iter(variants))
        small = {"convolutions": [{"channels": 4, "kernel": 3, "pool": True}], "hidden": 16}
        raw[exercise]["train"]["model"] |= {"hidden": [16]} if exercise == "activation" else small
    raw["batchnorm"]["train"]["model"]["batch_norm"] = True
    claims = yaml.safe_load((folder / "claims.yaml").read_text())
    questions = {name: {"question": topic.get("question", "")} for name, topic in claims.items()}
    (folder / "claims.yaml").write_text(yaml.safe_dump(questions, sort_keys=False))
    code = folder / "src/alexnet_lab/cluster/worker.py"  # not a minute: a run is cut several times
    code.write_text(re.sub(r"SLICE = \d+", "SLICE = 1", code.read_text()))
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", key, value], cwd=folder, check=True)
    assert call(folder, "dvc", "init", "-q").returncode == 0
    ran = call(folder, "dvc", "repro", *VARIANTS, ALEXNET_LAB_COMMITTED="0")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    forget_training(folder)
    commit(folder)
    return folder


@pytest.fixture
def expected(project: Path) -> Iterator[dict[str, str]]:
    """The digests of the serial curves; nothing is known, and nothing is left running."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield digests(project, CURVES)
    signal.signal(signal.SIGINT, before)
    assert workers_of(project) == []
    for words in (("checkout", "-q", "."), ("clean", "-qfd", "metrics", "plots")):
        subprocess.run(["git", *words], cwd=project, check=True)
    shutil.rmtree(project / ".runs", ignore_errors=True)


def workers_of(project: Path) -> list[psutil.Process]:
    """Whatever still runs in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            found += [process] if process.cwd() == str(project) else []
        except psutil.Error:
            continue
    return found


def no_workers(project: Path, seconds: float) -> None:
    _, alive = psutil.wait_procs(workers_of(project), timeout=seconds)
    assert alive == []


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_a_serial_run(
    project: Path, expected: dict[str, str]
) -> None:
    ran = call(project, *REPRO, *VARIANTS, **AUTO)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert digests(project, CURVES) == expected
    assert trained_twice_of(project, ran.stdout) == {}
    first, *others = ran.stdout.split("Running stage '")[-7:]
    assert trained(first) and not any(map(trained, others))  # the first stage lets all be trained
    assert set(re.findall(r"worker (\w+)$", ran.stdout, re.MULTILINE)) == {"0", "1"}


@pytest.mark.slow
def test_a_target_trains_itself_alone(project: Path, expected: dict[str, str]) -> None:
    ran = call(project, *REPRO, "schedules@step", **AUTO)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    titles = {line.rsplit(" seed", 1)[0] for line in trained(ran.stdout)}
    assert titles == {"schedules step"} and len(trained(ran.stdout)) == 2 * EPOCHS
    same_as(expected, project, "schedules/step")


def same_as(expected: dict[str, str], project: Path, *stages: str) -> None:
    now = digests(project, CURVES)
    for stage in stages:
        name = f"metrics/runs/{stage}.csv"
        assert now[name] == expected[name]


def trained_twice_of(project: Path, output: str) -> dict[str, int]:
    """As in test_survival: names that several lines stand for, here a slice's one run."""
    lines = Counter(trained(output))
    return {line: count for line, count in lines.items() if count > 1}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGINT", "group", "dvc", "stage"])
def test_the_head_dies_and_the_next_start_goes_on(
    project: Path, expected: dict[str, str], how: str
) -> None:
    """Nothing is left running and nothing is locked."""
    process = start(project, *REPRO, *VARIANTS, **AUTO)
    output = read_until(process, r"^schedules .* epoch 2/")
    if how == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        kill(process, how)
    begin = time.monotonic()
    output += finish(process)
    no_workers(project, 5)
    assert time.monotonic() - begin < 5
    assert process.returncode != 0 and "Traceback" not in output
    assert output.count("nothing is lost") == (how in ("SIGINT", "dvc"))
    again = call(project, *REPRO, *VARIANTS, **AUTO)
    assert again.returncode == 0, again.stdout + again.stderr
    assert digests(project, CURVES) == expected
    assert trained(output) and trained_twice_of(project, output + again.stdout) == {}


@pytest.mark.slow
def test_a_killed_worker_costs_no_epoch(project: Path, expected: dict[str, str]) -> None:
    process = start(project, *REPRO, *VARIANTS, **AUTO)
    output = read_until(process, r"^schedules .* epoch 2/")
    spawned = [p for p in workers_of(project) if "spawn_main" in " ".join(p.cmdline())]
    max(spawned, key=lambda p: p.memory_info().rss).kill()
    output += finish(process)
    assert process.returncode == 0, output
    assert digests(project, CURVES) == expected
    # One that was finished but not told yet is told by nobody.
    assert trained_twice_of(project, output) == {}


@pytest.mark.slow
def test_a_run_that_fails_stops_its_stage_alone(project: Path, expected: dict[str, str]) -> None:
    path = project / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["batchnorm"]["variants"]["with_bn"] = {"batch_size": 1999}  # a batch of one image
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    ran = call(project, *REPRO, "--keep-going", *VARIANTS, **AUTO)
    assert ran.returncode != 0
    sentence = "params.yaml: batch_size 1999 leaves a batch of one image"
    assert f"batchnorm with_bn seed 1: {sentence}" in ran.stdout
    assert f"batchnorm with_bn seed 0: {sentence}" in ran.stdout + ran.stderr
    others = [name for name in expected if "with_bn.csv" not in name or "without" in name]
    now = digests(project, CURVES)
    assert {name: now[name] for name in others} == {name: expected[name] for name in others}
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert "batchnorm@with_bn" not in lock and "batchnorm@without_bn" in lock
    assert "up to date" in call(project, "dvc", "status", "schedules", "activation").stdout


@pytest.mark.slow
def test_a_sweep_is_trained_at_once_and_its_experiments_find_everything(
    project: Path, expected: dict[str, str]
) -> None:
    """DVC runs the experiments in folders of their own, below .dvc/tmp."""
    sweep = ("-S", "schedules.train.lr=0.05,0.2", "-S", "schedules.seeds=[0],[1]")
    words = (*sweep, "schedules")
    seeds = {"ALEXNET_LAB_WORKERS": "2"}
    ran = call(
        project, "python", "-m", "alexnet_lab.cluster", *words, DVC_ROOT=f"{project}", **seeds
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # Two rates, two seeds: constant, what step has not of it, and what cosine has not.
    assert len(trained(ran.stdout)) == 4 * (EPOCHS + (EPOCHS - 3) + (EPOCHS - 1))
    assert max(trained_twice_of(project, ran.stdout).values()) == 2  # each line for both rates
    queued = call(project, "dvc", "exp", "run", "--queue", *words)
    assert queued.returncode == 0 and queued.stdout.count("Queued experiment") == 4
    done = call(project, "dvc", "exp", "run", "--run-all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert trained(done.stdout) == []
    shown = call(project, "dvc", "exp", "show", "--csv").stdout.splitlines()
    rates = [row["schedules.train.lr"] for row in csv.DictReader(shown)]
    assert sorted(rates)[:4] == ["0.05", "0.05", "0.1", "0.1"] and rates.count("0.2") == 2


# --- several machines: an engine whose workers are in other folders, with stores of their own ---

Start = Callable[..., subprocess.Popen[str]]


@contextmanager
def engine(project: Path) -> Iterator[tuple[str, Start]]:
    """A scheduler's address, and how to start a worker in a copy of the project."""
    with ExitStack() as stack:

        def begin(folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
            """In a session of its own, as on another machine."""
            environment = {k: v for k, v in os.environ.items() if not k.startswith("ALEXNET_LAB")}
            environment |= {"DVC_ROOT": str(folder)} | more
            log = (folder.parent / f"{folder.name}.log").open("w")
            process = subprocess.Popen(
                [str(BIN / "dask"), *words, "--no-dashboard"],
                cwd=project.parent if words[0] == "scheduler" else folder,
                env=environment, stdout=log, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(kill, process, "group")
            stack.callback(log.close)
            return process

        begin(project, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file",
              str(project.parent / "scheduler.json"))  # fmt: skip
        address = read_address(project.parent / "scheduler.json")

        def join(name: str, edit: Callable[[Path], None] = lambda _: None, **more: str) -> Any:
            folder = project.parent / name
            shutil.rmtree(folder, ignore_errors=True)
            ignore = shutil.ignore_patterns(".runs", ".git", "metrics")
            shutil.copytree(project, folder, ignore=ignore)
            edit(folder)
            words = ("--nthreads", "1", "--memory-limit", "0", "--name", name)
            return begin(folder, "worker", address, *words, **more)

        yield address, join
    (project.parent / "scheduler.json").unlink()


def read_address(path: Path) -> str:
    for _ in range(200):
        if path.exists() and (text := path.read_text()):
            return str(yaml.safe_load(text)["address"])
        time.sleep(0.1)
    raise AssertionError("no scheduler")


def states_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".runs/states").glob("*")}


@pytest.mark.slow
def test_machines_with_stores_of_their_own_one_of_which_dies(
    project: Path, expected: dict[str, str]
) -> None:
    with engine(project) as (address, join):
        one, _ = join("one"), join("two")
        process = start(project, *REPRO, *VARIANTS, ALEXNET_LAB_CLUSTER=address)
        output = read_until(process, r"^schedules .* epoch 4/.* worker one")
        kill(one, "group")
        output += finish(process)
    assert process.returncode == 0, output
    assert digests(project, CURVES) == expected
    assert set(re.findall(r"worker (\w+)$", output, re.MULTILINE)) == {"one", "two"}
    # The states that are wanted came home.
    ends = states_of(project)
    assert states_of(project.parent / "one") - ends != states_of(project.parent / "two") - ends
    assert len(ends) >= 2 * len([v for variants in VARIANTS.values() for v in variants])
    again = call(project, *REPRO, "--force", *VARIANTS)
    assert again.returncode == 0 and trained(again.stdout) == []


@pytest.mark.slow
def test_the_head_dies_and_the_next_one_ends_in_the_same_bytes(
    project: Path, expected: dict[str, str]
) -> None:
    with engine(project) as (address, join):
        join("one"), join("two")
        process = start(project, *REPRO, *VARIANTS, ALEXNET_LAB_CLUSTER=address)
        output = read_until(process, r"^schedules .* epoch 3/")
        kill(process, "group")
        output += finish(process)
        no_workers(project, 5)
        again = call(project, *REPRO, *VARIANTS, ALEXNET_LAB_CLUSTER=address)
    assert again.returncode == 0, again.stdout + again.stderr
    assert digests(project, CURVES) == expected


def other_code(folder: Path) -> None:
    with (folder / "src/alexnet_lab/learning/training.py").open("a") as file:
        file.write("other = 1\n")


def other_data(folder: Path) -> None:
    for path in folder.glob("data/*/test_labels.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def no_data(folder: Path) -> None:
    shutil.rmtree(folder / "data/cifar10")


@pytest.mark.slow
def test_a_worker_that_would_compute_something_else_is_refused_in_a_sentence(
    project: Path, expected: dict[str, str]
) -> None:
    with engine(project) as (address, join):
        join("code", other_code)
        join("data", other_data)
        join("none", no_data)
        join("kind", **{LIMITS[0]: "avx2"})
        time.sleep(8)
        alone = call(project, *REPRO, "schedules@step", ALEXNET_LAB_CLUSTER=address)
        assert alone.returncode != 0
        for said in (
            "Worker code is left out. It has other code: check out",
            r"Worker data is left out. Its data/cifar10 is not the data of this study",
            "Worker none is left out. data/cifar10 cannot be read",
            "Worker kind is left out. It is .* ATEN_CPU_CAPABILITY=avx2.* and this study runs on",
        ):
            assert re.search(said, alone.stderr), alone.stderr
        assert "Traceback" not in alone.stderr
        join("good")
        time.sleep(4)
        ran = call(project, *REPRO, "schedules@step", ALEXNET_LAB_CLUSTER=address)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("is left out") == 4
        assert set(re.findall(r"worker (\w+)$", ran.stdout, re.MULTILINE)) == {"good"}
    same_as(expected, project, "schedules/step")


@pytest.mark.slow
def test_hardware_is_mixed_only_where_that_is_asked_for(
    project: Path, expected: dict[str, str]
) -> None:
    """A study whose workers are all of one other kind runs on that, and its rows say so."""
    with engine(project) as (address, join):
        join("kind", **{LIMITS[0]: "avx2"})
        time.sleep(4)
        joined = {"ALEXNET_LAB_CLUSTER": address}
        theirs = call(project, *REPRO, "schedules@step", **joined)
        assert theirs.returncode == 0, theirs.stdout + theirs.stderr
        assert "The study runs on" in theirs.stdout
        timing = (project / "metrics/timing/schedules/step.csv").read_text()
        assert timing.count("ATEN_CPU_CAPABILITY=avx2") == 2 * EPOCHS
        mixed = call(project, *REPRO, "schedules@cosine", **joined, ALEXNET_LAB_CLUSTER_MIX="1")
        assert mixed.returncode == 0, mixed.stdout + mixed.stderr
        assert "The study runs on" not in mixed.stdout
        timing = (project / "metrics/timing/schedules/cosine.csv").read_text()
        assert timing.count("ATEN_CPU_CAPABILITY=avx2") == 2 * EPOCHS
        found = call(project, *REPRO, "--force", "schedules@cosine")  # by this machine's names
        assert trained(found.stdout) == []


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_named(project: Path, expected: dict[str, str]) -> None:
    for address in ("tcp://127.0.0.1:9", "outo"):
        more = {"ALEXNET_LAB_CLUSTER": address, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"}
        ran = call(project, *REPRO, "schedules@step", **more)
        assert ran.returncode != 0 and "Traceback" not in ran.stderr
        assert f"ALEXNET_LAB_CLUSTER is '{address}'; it should be auto, or" in ran.stderr
