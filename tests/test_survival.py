"""Killed anywhere or out of disk space, the same command gives the same bytes. Takes minutes."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.test_pipeline import BIN, call, commit, make_project, restore

pytestmark = pytest.mark.slow

KEPT_VARIANTS = {
    "activation": "relu",
    "schedules": "warmup_cosine",
    "augmentation": "alexnet_style",
    "batchnorm": "with_bn",
}
# stage -> how many times it is killed; 30 in all
KILLS = {
    "prepare@cifar10": 5,
    "benchmark": 4,
    "activation@relu": 7,
    "batchnorm@with_bn": 6,
    "compare@batchnorm": 4,
    "report": 4,
}
EPOCHS = 6
TRAIN = (
    "stages/train.py activation relu --data data "
    "--curves metrics/runs/activation/relu.csv --timing metrics/timing/activation/relu.csv"
)
FAULTS = """
import os, signal, sys
how, number = os.environ["FAULT"].split(":")
left = int(number)

def die_at(name, before=None, after=False):
    real = getattr(os, name)
    def faulty(*args, **kwargs):
        global left
        path = args[0] if name == "replace" else os.readlink(f"/proc/self/fd/{args[0]}")
        if "epoch-" not in str(path):
            return real(*args, **kwargs)
        left -= 1
        if left == 0:
            if before: before(*args)
            if after: real(*args, **kwargs)
            os.killpg(0, signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(os, name, faulty)

def tear(descriptor):
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    os.truncate(path, os.path.getsize(path) // 2)

if how == "unflushed": die_at("fsync")
if how == "torn": die_at("fsync", before=tear)
if how == "unnamed": die_at("replace")
if how == "named": die_at("replace", after=True)
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One variant per exercise, two seeds side by side, run once without a disturbance."""
    folder = make_project(tmp_path_factory.mktemp("survival") / "project")
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text()) | {"epochs": EPOCHS, "seeds": [0, 1], "threads": 1}
    for exercise, variant in KEPT_VARIANTS.items():
        raw[exercise]["variants"] = {variant: raw[exercise]["variants"][variant]}
        raw[exercise]["compare"]["baseline"] = variant
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
def _clean(project: Path) -> Iterator[None]:
    yield
    restore(project)
    shutil.rmtree(project / ".checkpoints", ignore_errors=True)
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
    assert process.stdout
    output = ""
    for line in process.stdout:
        output += line
        if re.search(pattern, line):
            return output
    raise AssertionError(output)


def kill(process: subprocess.Popen[str], whom: str) -> None:
    """Kill the whole group (a power cut), DVC alone, or the stage alone."""
    if whom == "dvc":
        process.kill()
    elif whom == "stage":
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
    """No temporary file is left anywhere, and soon no checkpoint either."""
    litter = [path for path in project.rglob(".*.new*") if ".git" not in path.parts]
    assert litter == []
    checkpoints, end = project / ".checkpoints", time.monotonic() + 10
    while checkpoints.exists() and any(
        checkpoints.iterdir()
    ):  # they go a moment after DVC has recorded all
        assert time.monotonic() < end, list(checkpoints.iterdir())
        time.sleep(0.1)


def trained(output: str) -> int:
    """How many epochs were trained, by the lines that say so."""
    return len(re.findall(rf"epoch \d/{EPOCHS}: loss", output))


def test_killed_at_random_moments_and_run_again_it_gives_the_same_bytes(
    project: Path, record_property: Callable[[str, Any], None]
) -> None:
    seed = int(os.environ.get("SURVIVAL_SEED", "1"))
    rng = random.Random(seed)
    expected = digests(project, *REPEATABLE)
    early = went_on = 0
    for stage, times in KILLS.items():
        begin = time.monotonic()
        assert call(project, "dvc", "repro", "-f", "-s", stage).returncode == 0
        seconds = time.monotonic() - begin
        assert call(project, "dvc", "repro").returncode == 0
        for turn in range(times):
            before, lock = digests(project, *ALL), (project / "dvc.lock").read_text()
            process = start(project, "dvc", "repro", "-f", "-s", stage)
            moment = rng.uniform(0.4, 1.0) * seconds
            time.sleep(moment)
            early += process.poll() is None
            whom = ("group", "dvc", "stage")[turn % 3]
            kill(process, whom) if process.poll() is None else None
            output = finish(process)
            about = f"{stage} {whom} after {moment:.2f} of {seconds:.2f} s, seed {seed}"
            recorded = (
                project / "dvc.lock"
            ).read_text() != lock  # then -f starts from the beginning
            again = call(project, "dvc", "repro", "-f", "-s", stage)
            assert again.returncode == 0, about + again.stdout + again.stderr
            if not recorded:  # an epoch that was under way had not been printed: it is not counted
                assert trained(output + again.stdout) <= 2 * EPOCHS, about + output + again.stdout
                went_on += 0 < trained(again.stdout) < 2 * EPOCHS
            assert call(project, "dvc", "repro").returncode == 0
            assert digests(project, *REPEATABLE) == expected, about
            if stage.startswith(("compare", "report")):
                assert digests(project, *ALL) == before, about
            no_litter(project)
            assert "up to date" in call(project, "dvc", "status").stdout, about
    assert sum(KILLS.values()) == 30
    print(f"{early} of 30 kills hit a running stage, {went_on} runs went on from checkpoints")
    assert early >= 20 and went_on


def test_killed_between_its_end_and_dvcs_record_it_trains_nothing_again(
    project: Path, tmp_path: Path
) -> None:
    """DVC is killed as it begins to hash the outputs of a stage that has ended."""
    expected = digests(project, *REPEATABLE)
    (tmp_path / "sitecustomize.py").write_text(DIES_AFTER_THE_STAGE)
    command = ("dvc", "repro", "-f", "-s", "activation@relu")
    process = start(project, *command, PYTHONPATH=str(tmp_path))
    output = finish(process)
    assert process.returncode == -signal.SIGKILL and trained(output) == 2 * EPOCHS
    seconds = digests(project, "metrics/timing/activation/*")
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("goes on after epoch 6/6") == 2 and trained(again.stdout) == 0
    assert digests(project, *REPEATABLE) == expected
    assert digests(project, "metrics/timing/activation/*") == seconds
    forced = call(project, *command)
    assert trained(forced.stdout) == 2 * EPOCHS  # -f means what it says
    no_litter(project)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("how", ["unflushed", "torn", "unnamed", "named"])
def test_killed_inside_a_checkpoints_write(
    project: Path, tmp_path: Path, how: str, number: int
) -> None:
    expected = digests(project, *REPEATABLE)
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    faulty = {"PYTHONPATH": str(tmp_path), "FAULT": f"{how}:{number}", "ALEXNET_LAB_WORKERS": "1"}
    command = ("dvc", "repro", "-f", "-s", "activation@relu")
    process = start(project, *command, **faulty)
    finish(process)
    assert process.returncode == -signal.SIGKILL
    kept = sorted((project / ".checkpoints").glob("*/seed0/epoch-*.pt"))
    written = number - (how != "named")
    assert len(kept) == min(written, 3 if how == "named" else 2)
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert ("goes on after epoch" in again.stdout) == bool(kept)
    assert digests(project, *REPEATABLE) == expected
    no_litter(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_in_two_seconds_with_one_line(
    project: Path, number: signal.Signals
) -> None:
    process = start(project, "python", *TRAIN.split())
    read_until(process, "epoch 2/6")
    begin = time.monotonic()
    os.killpg(process.pid, number)
    output = finish(process)
    assert time.monotonic() - begin < 2
    assert process.returncode == -number  # a shell says 128 + number
    others = [line for line in output.splitlines() if not re.search(r"epoch \d/6: loss", line)]
    assert others == [
        f"Stopped by {number.name}: nothing is lost, the same command goes on from the last "
        "finished epoch."
    ]
    again = call(project, "python", *TRAIN.split())
    assert re.search(r"activation relu seed \d goes on after epoch [1-5]/6", again.stdout)
    no_litter(project)


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5, 2.5, 3.5])
def test_ctrl_c_shows_no_traceback_while_torch_is_imported_too(project: Path, delay: float) -> None:
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
    path = project / "params.yaml"  # minutes, so that it does not end by itself
    path.write_text(path.read_text().replace(f"\nepochs: {EPOCHS}\n", "\nepochs: 1000\n"))
    process = start(project, "dvc", "repro", "-f", "-s", "activation@relu", SHELL=shell)
    read_until(process, "epoch 1/1000")
    stage = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(stage, timeout=5)
    assert alive == []
    finish(process)


def test_a_killed_worker_is_reported_with_the_key_to_lower(project: Path) -> None:
    process = start(project, "python", *TRAIN.split())
    read_until(process, "epoch 1/6")
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()
    output = finish(process).splitlines()
    assert process.returncode == 1
    assert output[-1].startswith("A process of this stage was killed; if memory ran out, lower ")
    assert "batch_size" in output[-1] and "ALEXNET_LAB_WORKERS" in output[-1]


def test_a_temporary_experiment_goes_on(project: Path) -> None:
    command = ("dvc", "exp", "run", "--temp", "-S", "activation.train.lr=0.002")
    process = start(project, *command)
    read_until(process, "activation relu seed 0 epoch 3/6")
    kill(process, "group")
    finish(process)
    again = call(project, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"activation relu seed 0 goes on after epoch [3-5]/6", again.stdout)
    no_litter(project)


def test_a_second_repro_says_that_one_is_running(project: Path) -> None:
    first = start(project, "dvc", "repro", "-f", "-s", "activation@relu")
    read_until(first, "epoch 1/6")
    second = call(project, "dvc", "repro", "-f", "-s", "activation@relu")
    assert second.returncode != 0
    assert re.search(r"is busy|Unable to acquire lock", second.stderr), second.stderr
    assert str(first.pid) in second.stderr
    finish(first)
    assert first.returncode == 0


def test_two_processes_prepare_at_once(project: Path) -> None:
    expected = digests(project, "data/cifar10/*")
    command = "stages/prepare.py cifar10 --sample data/sample/cifar10 --out data/cifar10"
    for _ in range(3):
        both = [start(project, "python", *command.split()) for _ in range(2)]
        output = [finish(process) for process in both]
        assert [process.returncode for process in both] == [0, 0], output
        assert digests(project, "data/cifar10/*") == expected
    no_litter(project)


# --- a disk that is full or not writable ---

STAGES = {  # command, outputs, and a file-size limit in KiB that stops it (0: none does)
    "prepare": (
        "stages/prepare.py cifar10 --sample data/sample/cifar10 --out data/cifar10",
        ("data/cifar10/*",),
        2000,
    ),
    "train": (TRAIN, ("metrics/runs/activation/*", "metrics/timing/activation/*"), 2000),
    "benchmark": (
        "stages/benchmark.py --runs metrics/runs/benchmark --timing metrics/timing/benchmark",
        ("metrics/runs/benchmark/*", "metrics/timing/benchmark/*"),
        0,
    ),
    "compare": (
        "stages/compare.py batchnorm --runs metrics/runs/batchnorm "
        "--timing metrics/timing/batchnorm --metrics metrics/batchnorm.json "
        "--summary metrics/summary/batchnorm.json --curves metrics/curves/batchnorm.csv "
        "--plot plots/batchnorm.png",
        ("metrics/batchnorm.json", "metrics/*/batchnorm.*", "plots/batchnorm.png"),
        20,
    ),
    "report": (
        "stages/report.py --runs metrics/runs --timing metrics/timing --topics claims.yaml "
        "--claims metrics/claims.json --plots plots --out REPORT.md",
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
    assert list(project.rglob(".*.new*")) == []
    again = call(project, "python", *command.split())
    assert again.returncode == 0, again.stderr
    repeatable = {k: v for k, v in expected.items() if "timing" not in k}
    assert repeatable.items() <= digests(project, *outputs).items()


def in_own_mounts(project: Path, mount: str, command: str) -> subprocess.CompletedProcess[str]:
    script = f"mount -t tmpfs {mount} && exec {sys.executable} {command}"
    shell = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*shell, "mount -t tmpfs tmpfs /mnt"], check=False).returncode:
        pytest.skip("this machine does not let a user mount anything")
    return subprocess.run([*shell, script], cwd=project, capture_output=True, text=True)


def test_a_small_disk_for_checkpoints(project: Path) -> None:
    expected = digests(project, "metrics/runs/activation/*")
    (project / ".checkpoints").mkdir(exist_ok=True)
    forget(project, STAGES["train"][1])
    ran = in_own_mounts(project, "-o size=20m tmpfs .checkpoints", TRAIN)
    assert ran.returncode == 1
    assert re.search(r"\.pt cannot be written: No space left on device", ran.stderr)
    assert "Traceback" not in ran.stderr
    assert digests(project, *STAGES["train"][1]) == {}
    assert call(project, "python", *TRAIN.split()).returncode == 0
    assert digests(project, "metrics/runs/activation/*") == expected


ELSEWHERE = {  # the part of each command that makes it write elsewhere, if it is replaced
    "prepare": "--out data",
    "train": "--curves metrics/runs/activation",
    "benchmark": "--runs metrics/runs",
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
    ran = in_own_mounts(project, f"-o {options} tmpfs full", command)
    assert ran.returncode == 1
    assert re.search(r"^full/\S+ cannot be written", ran.stderr), ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1
