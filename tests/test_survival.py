"""Killed, damaged, shared or out of disk space, the same command gives the same bytes. Minutes."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from tests.test_pipeline import BIN, call, commit, make_project, restore
from tools.demo import leave_out_controls

pytestmark = pytest.mark.slow

VARIANTS = {  # the schedules share their first epochs
    "activation": {"relu": {}},
    "schedules": {
        "constant": {},
        "step": {"schedule": {"kind": "step", "every": 3, "gamma": 0.1}},
        "warmup_cosine": {"schedule": {"kind": "warmup_cosine", "warmup_epochs": 2}},
    },
    "augmentation": {"alexnet_style": None},  # as in params.yaml
    "batchnorm": {"with_bn": None},
}
STAGES_OF_TRAINING = [(e, v) for e, variants in VARIANTS.items() for v in variants]
SEED = int(os.environ.get("SURVIVAL_SEED", "1"))
KILLS = {"prepare@cifar10": 4, "benchmark@cpu": 3, "compare@batchnorm": 3, "report": 3}
KILLS_THROUGH_DVC, KILLS_OF_RUNS = 20, 180  # 200 in all; the second kind does not wait for torch
EPOCHS = 6
TRAIN = (
    "stages/train.py activation relu --data data "
    "--curves metrics/runs/activation/relu.csv --timing metrics/timing/activation/relu.csv"
)
FAULTS = """
import multiprocessing, os, signal
how, number = os.environ["FAULT"].split(":")
left, real = int(number), os.replace

def faulty(new, path, **kwargs):
    global left
    if ".runs" not in str(path) or multiprocessing.parent_process() is None:
        return real(new, path, **kwargs)
    left -= 1
    if left == 0:
        if how == "torn":
            os.truncate(new, os.path.getsize(new) // 2)
        if how in ("torn", "named"):
            real(new, path, **kwargs)
        os.killpg(0, signal.SIGKILL)
    return real(new, path, **kwargs)

os.replace = faulty
"""
DIES_AFTER_THE_STAGE = """
import os, signal, subprocess, sys
if sys.argv[:1] != [""] and os.path.basename(sys.orig_argv[1]) == "dvc":
    real = subprocess.Popen.communicate
    def communicate(self, *args, **kwargs):
        output = real(self, *args, **kwargs)
        if "stages/train.py" in str(self.args):
            os.kill(os.getpid(), signal.SIGKILL)
        return output
    subprocess.Popen.communicate = communicate
"""
KILLED_RUNS = """
import os, random, shutil, signal, sys, time, traceback
from pathlib import Path
from alexnet_lab import params
from alexnet_lab.machine.files import write_csv
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs.records import curves
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings
from alexnet_lab.runs.store import the_store
from alexnet_lab.runs.trainer import carry_out

rng, kills = random.Random(int(sys.argv[1])), int(sys.argv[2])
site = Site(params.load(), Path("data"), this_machine(), the_store())
study = list(site.all_runs())
every = [run for *_, runs in study for run in runs]
wanted = branchings(every)

def started(run):
    if pid := os.fork():
        return pid
    try:
        for record, trained in carry_out(run, site.store, wanted):
            if trained:
                os.write(1, f"{record.name}\\n".encode())
    except BaseException:
        traceback.print_exc()
    os._exit(0)

def check(exercise, variant, runs):
    again = Path("again.csv")
    write_csv(curves(record for run in runs for record in run.known(site.store, {})), again)
    assert again.read_bytes() == Path(f"metrics/runs/{exercise}/{variant}.csv").read_bytes()
    again.unlink()

begin = time.monotonic()
os.waitpid(started(every[-1]), 0)
takes, complete = time.monotonic() - begin, 0  # a run undisturbed, on this machine

while kills > 0 or complete < 2:
    left = [run for run in every if None in run.known(site.store, {})]
    if not left:
        for stage in study:
            check(*stage)
        os.write(1, b"complete\\n")
        complete += 1
        shutil.rmtree(".runs")
        continue
    pids = [started(run) for run in rng.choices(left, k=2)]
    time.sleep(rng.uniform(0.02, 0.8) * takes)
    for pid in pids:
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills -= 1
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six variants of small networks, two seeds side by side, run once without a disturbance."""
    folder = make_project(tmp_path_factory.mktemp("survival") / "project")
    leave_out_controls(folder)
    claims = folder / "claims.yaml"  # without what the text says of variants that are not here
    topics = {name: {} for name in yaml.safe_load(claims.read_text())}
    claims.write_text(yaml.safe_dump(topics))
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text()) | {"epochs": EPOCHS, "seeds": [0, 1], "threads": 1}
    for exercise, variants in VARIANTS.items():
        known = raw[exercise]["variants"]
        raw[exercise]["variants"] = {
            name: known[name] if content is None else content for name, content in variants.items()
        }
        raw[exercise]["compare"]["baseline"] = next(iter(variants))
        small = {"convolutions": [{"channels": 4, "kernel": 3, "pool": True}], "hidden": 16}
        raw[exercise]["train"]["model"] |= {"hidden": [16]} if exercise == "activation" else small
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for key, value in (("user.name", "A Tester"), ("user.email", "tester@example.org")):
        subprocess.run(["git", "config", key, value], cwd=folder, check=True)
    assert call(folder, "dvc", "init", "-q").returncode == 0
    ran = call(folder, "dvc", "repro")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    commit(folder)
    return folder


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell lets its background jobs ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _nothing_is_known(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ALEXNET_LAB_COMMITTED", "0")
    shutil.rmtree(project / ".runs", ignore_errors=True)
    yield
    restore(project)
    assert call(project, "dvc", "checkout").returncode == 0


def digests(project: Path, *patterns: str) -> dict[str, str]:
    paths = sorted(path for pattern in patterns for path in project.glob(pattern))
    files = [path for path in paths if path.is_file()]
    return {str(p.relative_to(project)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


REPEATABLE = ("data/*/*.npy", "metrics/runs/**/*", "metrics/[!c]*.json")  # the others hold seconds
ALL = (*REPEATABLE, "metrics/claims.json", "metrics/timing/**/*", "plots/*", "REPORT.md")


def start(project: Path, *command: str, **more: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal would."""
    return subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=project,
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    output = read_until_or_end(process, pattern)
    assert re.search(pattern, output, re.MULTILINE), output
    return output


def read_until_or_end(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout
    output = ""
    for line in process.stdout:
        output += line
        if re.search(pattern, line):
            break
    return output


def kill(process: subprocess.Popen[str], whom: str) -> None:
    """Kill the whole group (a power cut), DVC alone, or the stage alone."""
    if whom == "dvc":
        process.kill()
    elif whom == "stage":
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                child.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)


def finish(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    output = process.stdout.read()
    process.stdout.close()
    process.wait()
    return output


def no_litter(project: Path) -> None:
    """No temporary file is left, except in the store, which sweeps its own after a day."""
    litter = [p for p in project.rglob("*.new*") if not {".git", ".runs"} & set(p.parts)]
    assert litter == []


def trained(output: str) -> list[str]:
    """The epochs that were trained, by the lines that say so, such as "step seed 1 epoch 4"."""
    return re.findall(r"^(\w+ \w+ seed \d+ epoch \d+)/\d+: loss", output, re.MULTILINE)


def trained_twice(project: Path, output: str) -> dict[str, int]:
    """The names that more than one epoch's line stands for; variants may share names."""
    names = {}
    for exercise, variant in STAGES_OF_TRAINING:
        timing = pd.read_csv(project / f"metrics/timing/{exercise}/{variant}.csv", dtype=str)
        for row in timing.itertuples():
            names[f"{exercise} {variant} seed {row.seed} epoch {row.epoch}"] = row.name
    times = Counter(names[line] for line in trained(output))
    return {name: count for name, count in times.items() if count > 1}


def forget_training(project: Path) -> None:
    """Let DVC know the data and nothing else."""
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    prepared = {name: stage for name, stage in lock["stages"].items() if "prepare" in name}
    (project / "dvc.lock").write_text(yaml.safe_dump(lock | {"stages": prepared}))
    shutil.rmtree(project / ".runs", ignore_errors=True)


def train_longer(project: Path) -> None:
    """Let a run last for minutes, so that it does not end by itself."""
    path = project / "params.yaml"
    path.write_text(path.read_text().replace(f"\nepochs: {EPOCHS}\n", "\nepochs: 1000\n"))


REPRO = ("dvc", "repro", "--no-run-cache")


def test_200_kills_cost_no_epoch_that_was_finished(project: Path) -> None:
    """Runs are killed in pairs, wherever they are, and some pairs train the same run."""
    expected = digests(project, "metrics/runs/**/*")
    words = ("-Wignore::DeprecationWarning", "-c", KILLED_RUNS, str(SEED), str(KILLS_OF_RUNS))
    ran = call(project, "python", *words)
    assert ran.returncode == 0 and ran.stderr == "", ran.stdout + ran.stderr
    passes = [Counter(text.split()) for text in ran.stdout.split("complete\n")]
    assert [max(names.values(), default=1) for names in passes] == [1] * len(passes)
    epochs = sum(names.total() for names in passes)
    print(f"{KILLS_OF_RUNS} kills or more in {len(passes) - 1} passes, {epochs} epochs, 0 lost")

    rng, killed, complete, output = random.Random(SEED), 0, 0, ""
    forget_training(project)
    while killed < KILLS_THROUGH_DVC:
        process = start(project, *REPRO, *VARIANTS, ALEXNET_LAB_WORKERS="3")
        if killed % 4:  # once some epoch is finished
            output += read_until_or_end(process, r"epoch \d/6: loss")
            time.sleep(rng.uniform(0, 1.5))
        else:  # at its start
            time.sleep(rng.uniform(0.3, 5))
        if process.poll() is None:
            killed += 1
            kill(process, ("group", "dvc", "stage")[killed % 3])
        output += finish(process)
        if "RWLock-file '.dvc/tmp/rwlock'. JSON structure is corrupted" in output:
            (project / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # DVC does not write it at once
        if process.returncode == 0:
            assert trained_twice(project, output) == {}
            assert digests(project, "metrics/runs/**/*") == expected
            forget_training(project)
            complete, output = complete + 1, ""
    last = call(project, *REPRO, *VARIANTS)
    assert last.returncode == 0, last.stderr
    assert trained_twice(project, output + last.stdout) == {}
    assert digests(project, "metrics/runs/**/*") == expected
    print(f"{killed} kills through DVC in {complete} whole passes, 0 epochs lost")
    no_litter(project)


def test_other_stages_killed_at_random_moments_give_the_same_bytes(project: Path) -> None:
    rng = random.Random(SEED)
    expected = digests(project, *REPEATABLE)
    early = 0
    for stage, times in KILLS.items():
        begin = time.monotonic()
        assert call(project, "dvc", "repro", "-f", "-s", stage).returncode == 0
        seconds = time.monotonic() - begin
        assert call(project, "dvc", "repro").returncode == 0
        for turn in range(times):
            before = digests(project, *ALL)
            process = start(project, "dvc", "repro", "-f", "-s", stage)
            moment = rng.uniform(0.4, 1.0) * seconds
            time.sleep(moment)
            early += process.poll() is None
            whom = ("group", "dvc", "stage")[turn % 3]
            kill(process, whom) if process.poll() is None else None
            finish(process)
            about = f"{stage} {whom} after {moment:.2f} of {seconds:.2f} s, seed {SEED}"
            again = call(project, "dvc", "repro", "-f", "-s", stage)
            if "dvc.lock' validation failed" in again.stderr:  # DVC was writing it: what-ifs.md
                subprocess.run(["git", "checkout", "-q", "dvc.lock"], cwd=project, check=True)
                again = call(project, "dvc", "repro", "-f", "-s", stage)
            assert again.returncode == 0, about + again.stdout + again.stderr
            assert call(project, "dvc", "repro").returncode == 0
            assert digests(project, *REPEATABLE) == expected, about
            if stage.startswith(("compare", "report")):
                assert digests(project, *ALL) == before, about
            no_litter(project)
            assert "up to date" in call(project, "dvc", "status").stdout, about
    print(f"{early} of {sum(KILLS.values())} kills hit a running stage")
    assert early >= sum(KILLS.values()) // 2


def test_killed_between_its_end_and_dvcs_record_it_trains_nothing_again(
    project: Path, tmp_path: Path
) -> None:
    """DVC is killed as it begins to hash the outputs of a stage that has ended."""
    expected = digests(project, *REPEATABLE)
    (tmp_path / "sitecustomize.py").write_text(DIES_AFTER_THE_STAGE)
    command = ("dvc", "repro", "-f", "-s", "activation@relu")
    process = start(project, *command, PYTHONPATH=added(tmp_path))
    output = finish(process)
    assert process.returncode == -signal.SIGKILL and len(trained(output)) == 2 * EPOCHS
    seconds = digests(project, "metrics/timing/activation/*")
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "seeds 0, 1: all 6 epochs known" in again.stdout and trained(again.stdout) == []
    assert digests(project, *REPEATABLE) == expected
    assert digests(project, "metrics/timing/activation/*") == seconds
    no_litter(project)


def added(folder: Path) -> str:
    """A PYTHONPATH that begins with a folder."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.mark.parametrize("number", [3, 4])  # the state and the record of epoch 2
@pytest.mark.parametrize("how", ["torn", "unnamed", "named"])
def test_killed_inside_a_write_to_the_store(
    project: Path, tmp_path: Path, how: str, number: int
) -> None:
    expected = digests(project, *REPEATABLE)
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    faulty = {"FAULT": f"{how}:{number}", "ALEXNET_LAB_WORKERS": "1"}
    command = ("dvc", "repro", "-f", "-s", "activation@relu")
    process = start(project, *command, PYTHONPATH=added(tmp_path), **faulty)
    output = finish(process)
    assert process.returncode == -signal.SIGKILL and len(trained(output)) == 1
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    known = 2 if (how, number) == ("named", 4) else 1
    text = f"epochs 1–{known}" if known > 1 else "epoch 1"
    assert f"seed 0: {text} known, {EPOCHS - known} to train" in again.stdout
    assert trained_twice(project, output + again.stdout) == {}
    assert digests(project, *REPEATABLE) == expected
    no_litter(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_in_two_seconds_with_one_line(
    project: Path, number: signal.Signals
) -> None:
    train_longer(project)
    process = start(project, "python", *TRAIN.split())
    read_until(process, "epoch 2/1000")
    begin = time.monotonic()
    os.killpg(process.pid, number)
    output = finish(process)
    assert time.monotonic() - begin < 2
    assert process.returncode == -number  # a shell says 128 + number
    others = [line for line in output.splitlines() if not trained(line)]
    assert others == [
        f"Stopped by {number.name}: nothing is lost, the same command goes on from the last "
        "finished epoch."
    ]
    again = start(project, "python", *TRAIN.split())
    read_until(again, r"relu, seeds? .*: epochs 1–\d+ known, \d+ to train$")
    kill(again, "group")
    finish(again)
    no_litter(project)


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5, 2.5, 3.5])
def test_ctrl_c_shows_no_traceback_while_torch_is_imported_too(project: Path, delay: float) -> None:
    train_longer(project)
    process = start(project, "dvc", "repro", "-f", "-s", "activation@relu")
    read_until(process, "> python")
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    output = finish(process)
    assert process.returncode != 0
    assert "Traceback" not in output and output.count("nothing is lost") == 1, output


@pytest.mark.parametrize(
    "shell", ["/bin/bash", "/bin/sh"]
)  # the first replaces itself by its command, the second may not
def test_if_dvc_alone_was_killed_the_stage_ends_too(project: Path, shell: str) -> None:
    train_longer(project)
    process = start(project, "dvc", "repro", "-f", "-s", "activation@relu", SHELL=shell)
    read_until(process, "epoch 1/1000")
    stage = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(stage, timeout=5)
    assert alive == []
    finish(process)


def test_a_killed_worker_is_reported_with_the_key_to_lower(project: Path) -> None:
    train_longer(project)
    process = start(project, "python", *TRAIN.split())
    read_until(process, "epoch 1/1000")
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if child.ppid() != process.pid).kill()  # the forkserver's
    output = finish(process).splitlines()
    assert process.returncode == 1
    assert output[-1].startswith("A process of this stage was killed; if memory ran out, lower ")
    assert "batch_size" in output[-1] and "ALEXNET_LAB_WORKERS" in output[-1]


def test_a_temporary_experiment_goes_on(project: Path) -> None:
    settings = ("-S", "activation.train.lr=0.002", "-S", "epochs=100")
    command = ("dvc", "exp", "run", "--temp", *settings, "activation@relu")
    process = start(project, *command)
    first = read_until(process, "activation relu seed 0 epoch 3/100")
    kill(process, "group")
    first += finish(process)
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"relu, seeds? 0.*: epochs 1–\d+ known, \d+ to train", again.stdout)
    assert not set(trained(first)) & set(trained(again.stdout))
    no_litter(project)


def test_a_second_repro_says_that_one_is_running(project: Path) -> None:
    train_longer(project)
    first = start(project, "dvc", "repro", "-f", "-s", "activation@relu")
    read_until(first, "epoch 1/1000")
    second = call(project, "dvc", "repro", "-f", "-s", "activation@relu")
    assert second.returncode != 0
    assert re.search(r"is busy|Unable to acquire lock", second.stderr), second.stderr
    assert str(first.pid) in second.stderr
    kill(first, "group")
    finish(first)


def test_two_processes_prepare_at_once(project: Path) -> None:
    expected = digests(project, "data/cifar10/*")
    command = "stages/prepare.py cifar10 --sample data/sample/cifar10 --out data/cifar10"
    for _ in range(3):
        both = [start(project, "python", *command.split()) for _ in range(2)]
        output = [finish(process) for process in both]
        assert [process.returncode for process in both] == [0, 0], output
        assert digests(project, "data/cifar10/*") == expected
    no_litter(project)


# --- one store for several processes, machines and accidents ---


def train(project: Path, stage: tuple[str, str], out: Path, **more: str) -> subprocess.Popen[str]:
    """Train one stage into a folder of its own, without DVC."""
    words = f"--data data --curves {out}/runs/{'/'.join(stage)}.csv --timing {out}/timing.csv"
    return start(project, "python", "stages/train.py", *stage, *words.split(), **more)


def damage(store: Path, rng: random.Random) -> None:
    """Flip a byte of one file, cut another and delete a third."""
    files = sorted(path for path in store.glob("[rs]*/**/*") if path.is_file())
    for how in ("flip", "cut", "delete") if files else ():
        path = rng.choice(files)
        with suppress(OSError):  # another process was quicker
            content = bytearray(path.read_bytes())
            if how == "delete":
                path.unlink()
                continue
            if how == "flip":
                content[rng.randrange(len(content))] ^= 0xFF
            path.write_bytes(content if how == "flip" else content[: len(content) // 2])


def test_a_shared_interrupted_and_damaged_store_gives_the_bytes_of_runs_from_nothing(
    project: Path, tmp_path: Path
) -> None:
    for stage in STAGES_OF_TRAINING:
        own = str(tmp_path / "stores" / "_".join(stage))
        finish(train(project, stage, tmp_path / "apart", ALEXNET_LAB_RUNS=own))
    expected = digests(tmp_path / "apart", "runs/**/*")
    assert len(expected) == len(STAGES_OF_TRAINING)

    def disturbed(number: int) -> str:
        rng, output = random.Random(SEED + number), ""
        for stage in rng.sample(STAGES_OF_TRAINING, 4):
            process = train(project, stage, tmp_path / str(number))
            time.sleep(rng.uniform(2, 8))
            kill(process, "group") if process.poll() is None else None
            output += finish(process)
            damage(project / ".runs", rng)
        for stage in rng.sample(STAGES_OF_TRAINING, len(STAGES_OF_TRAINING)):
            process = train(project, stage, tmp_path / str(number))
            output += finish(process)
            assert process.returncode == 0, output
            damage(project / ".runs", rng)
        return output

    with ThreadPoolExecutor() as pool:
        output = "".join(pool.map(disturbed, range(2)))
    print(f"{len(trained(output))} epochs trained through the shared store")
    for number in range(2):
        assert digests(tmp_path / str(number), "runs/**/*") == expected


def test_two_clones_with_one_store_train_no_epoch_twice(project: Path, tmp_path: Path) -> None:
    expected = digests(project, "metrics/runs/**/*")
    forget_training(project)
    clones = [Path(shutil.copytree(project, tmp_path / name)) for name in ("one", "other")]
    shared = {"ALEXNET_LAB_RUNS": str(tmp_path / "runs")}
    both = [start(clone, *REPRO, *VARIANTS, **shared) for clone in clones]
    with ThreadPoolExecutor() as pool:
        output = list(pool.map(finish, both))
    assert [process.returncode for process in both] == [0, 0], output
    assert trained_twice(project, "\n".join(output)) == {}
    print(f"{[len(trained(lines)) for lines in output]} epochs trained in the two clones")
    for clone in clones:
        assert digests(clone, "metrics/runs/**/*") == expected
    seconds = [digests(clone, "metrics/timing/[!b]*/*") for clone in clones]
    assert seconds[0] == seconds[1]


# --- a disk that is full or not writable ---

STAGES = {  # command, outputs, and a file-size limit in KiB that stops it (0: none does)
    "prepare": (
        "stages/prepare.py cifar10 --sample data/sample/cifar10 --out data/cifar10",
        ("data/cifar10/*",),
        2000,
    ),
    "train": (TRAIN, ("metrics/runs/activation/*", "metrics/timing/activation/*"), 20),
    "benchmark": (
        "stages/benchmark.py cpu --runs metrics/runs/benchmark/cpu.csv "
        "--timing metrics/timing/benchmark/cpu.csv",
        ("metrics/runs/benchmark/cpu.csv", "metrics/timing/benchmark/cpu.csv"),
        0,
    ),
    "compare": (
        "stages/compare.py batchnorm --runs metrics/runs/batchnorm "
        "--timing metrics/timing/batchnorm --topics claims.yaml --metrics metrics/batchnorm.json "
        "--summary metrics/summary/batchnorm.json --curves metrics/curves/batchnorm.csv "
        "--plot plots/batchnorm.png",
        ("metrics/batchnorm.json", "metrics/*/batchnorm.*", "plots/batchnorm.png"),
        20,
    ),
    "report": (
        "stages/report.py --runs metrics/runs --timing metrics/timing --layers metrics/layers.csv "
        "--topics claims.yaml --claims metrics/claims.json --plots plots --out REPORT.md",
        ("REPORT.md", "metrics/claims.json", "plots/overview.png", "plots/report.html"),
        1,
    ),
}


def forget(project: Path, patterns: tuple[str, ...]) -> None:
    """Remove outputs, as DVC does before it runs a stage."""
    for pattern in patterns:
        for path in project.glob(pattern):
            path.unlink()


@pytest.mark.parametrize("stage", [stage for stage, (_, _, limit) in STAGES.items() if limit])
def test_a_full_disk_is_reported_and_nothing_is_half_written(project: Path, stage: str) -> None:
    command, outputs, limit = STAGES[stage]
    expected = digests(project, *outputs)
    forget(project, outputs)
    script = f"ulimit -f {limit}; exec {sys.executable} {command}"
    ran = subprocess.run(["bash", "-c", script], cwd=project, capture_output=True, text=True)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(r"cannot be written: .*(too large|written)", ran.stderr), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
    written = digests(project, *outputs)
    assert written.items() <= expected.items() and written != expected
    no_litter(project)
    again = call(project, "python", *command.split())
    assert again.returncode == 0, again.stderr
    repeatable = {k: v for k, v in expected.items() if "timing" not in k}
    assert repeatable.items() <= digests(project, *outputs).items()


def in_own_mounts(project: Path, mount: str, command: str) -> subprocess.CompletedProcess[str]:
    script = f"{mount} && exec {sys.executable} {command}"
    shell = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*shell, "mount -t tmpfs tmpfs /mnt"], check=False).returncode:
        pytest.skip("this machine does not let a user mount anything")
    return subprocess.run([*shell, script], cwd=project, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [("size=200k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_a_small_or_read_only_disk_for_the_store(project: Path, options: str, reason: str) -> None:
    expected = digests(project, "metrics/runs/activation/*")
    (project / ".runs").mkdir()
    forget(project, STAGES["train"][1])
    ran = in_own_mounts(project, f"mount -t tmpfs -o {options} tmpfs .runs", TRAIN)
    assert ran.returncode == 1
    assert re.search(rf"^\.runs/\S+ cannot be written: {reason}", ran.stderr), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
    assert digests(project, *STAGES["train"][1]) == {}
    assert call(project, "python", *TRAIN.split()).returncode == 0
    assert digests(project, "metrics/runs/activation/*") == expected


def test_what_a_read_only_store_knows_is_used(project: Path) -> None:
    assert call(project, "python", *TRAIN.split()).returncode == 0
    expected = digests(project, *STAGES["train"][1])
    forget(project, STAGES["train"][1])
    mount = "mount --bind .runs .runs && mount -o remount,ro,bind .runs"
    ran = in_own_mounts(project, mount, TRAIN)
    assert ran.returncode == 0 and ran.stderr == "", ran.stderr
    assert ran.stdout == "activation relu, seeds 0, 1: all 6 epochs known\n"
    assert digests(project, *STAGES["train"][1]) == expected


def test_garbage_in_the_store_is_computed_afresh(project: Path) -> None:
    expected = digests(project, "metrics/runs/activation/*")
    assert call(project, "python", *TRAIN.split()).returncode == 0
    for number, path in enumerate(p for p in (project / ".runs").rglob("*") if p.is_file()):
        path.write_bytes(b"garbage" * (number % 3))
    (project / ".runs/states/folder").mkdir()
    (project / ".runs/notes.txt").write_text("not ours")
    again = call(project, "python", *TRAIN.split())
    assert again.returncode == 0 and again.stderr == "", again.stderr
    assert len(trained(again.stdout)) == 2 * EPOCHS
    assert digests(project, "metrics/runs/activation/*") == expected
    assert (project / ".runs/notes.txt").exists()


@pytest.mark.parametrize("place", [".runs", ".runs/records", ".runs/locks", ".runs/states"])
def test_a_file_where_the_store_needs_a_folder_is_named(project: Path, place: str) -> None:
    (project / place).parent.mkdir(exist_ok=True)
    (project / place).write_text("garbage")
    ran = call(project, "python", *TRAIN.split())
    (project / place).unlink()
    assert ran.returncode == 1
    assert re.search(r"^\.runs/\S+ cannot be (read|written): \w", ran.stderr), ran.stderr
    assert ran.stderr.count("\n") == 1


ELSEWHERE = {  # the part of each command that makes it write elsewhere, if it is replaced
    "prepare": "--out data",
    "train": "--curves metrics/runs/activation",
    "benchmark": "--runs metrics/runs/benchmark",
    "compare": "--metrics metrics",
    "report": "--out ",
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("options", ["ro", "nr_inodes=1"])  # read-only, or without room for a file
def test_a_place_that_takes_no_file_is_named(project: Path, stage: str, options: str) -> None:
    part = ELSEWHERE[stage]
    option = part.split()[0]
    (project / "full").mkdir(exist_ok=True)
    command = STAGES[stage][0].replace(part, f"{option} full{'' if part[-1] != ' ' else '/'}")
    assert f"{option} full/" in command
    ran = in_own_mounts(project, f"mount -t tmpfs -o {options} tmpfs full", command)
    assert ran.returncode == 1
    assert re.search(r"^full/\S+ cannot be written", ran.stderr), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
