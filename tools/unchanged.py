"""Does a change of the code move no number? If so, record it in dvc.lock instead of training again.

A stage that trains, or times, and whose code differs from that of BASE (HEAD by default) is proved
unchanged in one of two ways: the syntax trees of its script and of all modules that it imports are
those of BASE, except for docstrings, comments and where a module lies; or, if they differ, the
stage, run on the sample with one seed by the code of BASE and by this code, gives the same bytes.
Only then does `dvc commit` run. BASE must be a commit whose dvc.lock belongs to its code and has
the results that dvc.lock has here. Stages that take seconds, and `prepare` (the sample does not
show where the full data comes from), are left to `dvc repro`. Seconds are not compared.

The code is part of an epoch's name. What was proved has new names, in the timing files and in the
store, wherever the old ones are those that the code of BASE gives.
"""

import ast
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo
from dvc.stage import PipelineStage

from alexnet_lab import cli, console
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import discard, write_csv
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.plan import stale_stages
from alexnet_lab.runs.ahead import ABSENT, at
from alexnet_lab.runs.names import syntax_tree
from alexnet_lab.runs.store import the_store
from tools.closure import PACKAGE, imported, is_exempt

WORK = Path(".dvc/tmp/unchanged")
CODE = ("src/", "stages/")
# Epochs: past the first cut of every schedule, and past the warm-up.
SMALL = {"seeds": [0], "epochs": 12, "threads": 1}
SMALL_BENCHMARK = {"batch_sizes": [2], "iterations": 1, "warmup_iterations": 1}
PROVABLE = tuple(f"stages/{name}.py" for name in ("train", "benchmark", "keep_filters"))


def main() -> None:
    """Prove it and record it. UserError if a number moves, or if BASE cannot prove anything."""
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    discard(WORK)
    before, now = checkout(base, WORK / "before"), copy_of_this(WORK / "now")
    old = {stage.name: stage for stage in stages(before)}
    dvc(Path(), "repro", "--quiet", "check")  # what all stages depend on may not be there yet
    stale = {}
    for stage in provable_stages():
        if reason := reason_to_run(stage, old, before):
            console.say(f"{stage.name}: {reason}, so dvc repro will run it")
        else:
            stale[stage.name] = stage
            check_base(base, old[stage.name], stage)
    if not stale:
        console.say("No stage is out of date because of its code alone: there is nothing to prove.")
        return
    different = [name for name, stage in stale.items() if not same_code(old[name], stage, before)]
    for name in sorted(set(stale) - set(different)):
        console.say(f"{name}: the same syntax trees as in {base}")
    if different:
        console.say(
            f"Running on the sample, with both versions of the code: {', '.join(different)}"
        )
        with ThreadPoolExecutor(2) as side_by_side:
            list(side_by_side.map(lambda folder: run_small(folder, different), (before, now)))
        paths = [out.def_path for name in different for out in stale[name].outs]
        files = [path for path in paths if "/timing" not in path]
        if moved := [path for path in files if not same_bytes(before, now, path)]:
            raise UserError(f"This change moves numbers ({', '.join(moved)}): run dvc repro.")
        console.say("The same bytes from both.")
        if elsewhere := sorted(name for name in different if on_a_gpu(stale[name])):
            console.say(f"Not run here, since it is a GPU's: what only a GPU does in {elsewhere}.")
    git("-C", str(before), "checkout", "--quiet", "params.yaml")  # of the trial on the sample
    names = dict[str, str]()
    for stage in stale.values():
        if script_of(stage) == "stages/train.py":
            names |= rename_epochs(stage, before)
        if script_of(stage) == "stages/keep_filters.py":  # comes later in dvc.yaml
            rename_filters(Path(stage.outs[0].def_path), names)
    dvc(Path(), "commit", "--force", *stale)
    discard(WORK)
    console.say("dvc.lock has the new code. `dvc repro` runs what is left, such as comparisons.")


def clone(folder: Path) -> Path:
    """An empty clone of this repository; the project's place in it, which may be a subfolder."""
    top, place = git("rev-parse", "--show-toplevel", "--show-prefix").removesuffix("\n").split("\n")
    git("clone", "--quiet", "--shared", "--no-checkout", top, str(folder))
    return folder / place


def checkout(revision: str, folder: Path) -> Path:
    """A clone of this repository at a revision. UserError if git does not know it."""
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}").strip()
    project = clone(folder)
    git("-C", str(folder), "checkout", "--quiet", "--detach", commit)
    return project


def copy_of_this(folder: Path) -> Path:
    """A clone of this repository as it stands, uncommitted changes included."""
    folder = clone(folder)
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for path in map(Path, filter(None, listed)):
        if path.exists():  # git lists what was deleted, too
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(path.read_bytes())
    return folder


def stages(folder: Path) -> list[PipelineStage]:
    """The stages of the pipeline in a folder."""
    with Repo(str(folder)) as repo:
        return [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]


def provable_stages() -> list[PipelineStage]:
    """The stages here that can be proved, and differ from dvc.lock."""
    return [stage for stage in stale_stages() if script_of(stage) in PROVABLE]


def script_of(stage: PipelineStage) -> str:
    """The script that a stage's command runs."""
    return str(stage.cmd.split()[1])


def reason_to_run(stage: PipelineStage, old: dict[str, PipelineStage], before: Path) -> str:
    """Why a stage is stale, if it is not for its code alone; otherwise empty."""
    if stage.name not in old:
        return "it is new"
    was = yaml.safe_load((before / "params.yaml").read_text(encoding="utf-8"))
    now = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for out in stage.outs:
        if out.status():
            return f"{out} is not what dvc.lock says"
    for dep in stage.deps:
        for key, state in status(dep).get("params.yaml", {}).items():
            # A key that only now is declared counts as code, if its value is the same or new.
            if state != "new" or at(was, key) not in (ABSENT, at(now, key)):
                return f"{key} has changed in params.yaml"
        if not hasattr(dep, "params") and not dep.def_path.startswith(CODE) and dep.status():
            return f"{dep} is not what dvc.lock says"
    return ""


def check_base(base: str, old: PipelineStage, stage: PipelineStage) -> None:
    """UserError unless BASE's dvc.lock has BASE's code, and the results that are recorded here."""
    code = [dep for dep in old.deps if hasattr(dep, "params") or dep.def_path.startswith(CODE)]
    results = [{out.def_path: out.hash_info.value for out in each.outs} for each in (old, stage)]
    if any(status(dep) for dep in code) or results[0] != results[1]:
        raise UserError(
            f"dvc.lock in {base} does not say which code made the results of {stage.name}: "
            "name the commit that does, as in make unchanged BASE=origin/main."
        )


def status(dep: Any) -> dict[str, Any]:
    """How a dependency differs from dvc.lock, as DVC says it."""
    return dict(dep.workspace_status()) if hasattr(dep, "params") else dict(dep.status())


def same_code(old: PipelineStage, new: PipelineStage, before: Path) -> bool:
    """Whether command and code are those of before."""
    scripts = (before / script_of(old), before), (Path(script_of(new)), Path())
    then, now = (tree(script, root / "src" / PACKAGE) for script, root in scripts)
    return bool(old.cmd == new.cmd and then == now)


def tree(file: Path, source: Path) -> str:
    """A file's syntax tree without docstrings and comments, as a text.

    In place of a module of ours that it imports stands the digest of that module's own tree,
    wherever the module lies; ``source`` is the package's folder.
    """
    module = syntax_tree(file.read_text(encoding="utf-8"))
    ours = sorted(
        f"{name}: {'exempt' if is_exempt(place, source) else digest(place, source)}"
        for node in ast.walk(module)
        for name, place in imported(node, source)
    )
    rest = [node for node in module.body if not any(True for _ in imported(node, source))]
    return f"{ours} {[ast.dump(node) for node in rest]}"


@cache
def digest(file: Path, source: Path) -> str:
    """The SHA-256 of a file's tree."""
    return hashlib.sha256(tree(file, source).encode()).hexdigest()


def run_small(folder: Path, names: list[str]) -> None:
    """Run stages in a clone, on the sample."""
    path = folder / "params.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw["benchmark"] |= SMALL_BENCHMARK
    raw["data"]["source"] = "sample"
    path.write_text(yaml.safe_dump(raw | SMALL, sort_keys=False), encoding="utf-8")
    dvc(folder, "repro", "--quiet", *names)


def on_a_gpu(stage: PipelineStage) -> bool:
    """Whether a stage's results come from a GPU, and this is none."""
    files = [Path(out.def_path) for out in stage.outs if "/timing/" in out.def_path]
    return this_machine().device == "cpu" and any("NVIDIA" in file.read_text() for file in files)


def same_bytes(before: Path, now: Path, path: str) -> bool:
    """Whether a file, or each file of a folder, is the same in both, but for epochs' names."""
    contents = []
    for root in (before, now):
        place = root / path
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        contents.append([(file.name, without_names(file.read_bytes())) for file in files])
    return contents[0] == contents[1]


def without_names(content: bytes) -> Any:
    """A file's bytes; of a CSV file with a column ``name``, its rows without that."""
    if b"name" not in content.partition(b"\n")[0].split(b","):
        return content
    rows = csv.DictReader(io.StringIO(content.decode()))
    return [{key: text for key, text in row.items() if key != "name"} for row in rows]


def rename_epochs(stage: PipelineStage, before: Path) -> dict[str, str]:
    """Give a stage's epochs, in its timing file and in the store, the names of this code.

    Returns the new names by the old ones.
    """
    (path,) = (Path(out.def_path) for out in stage.outs if "/timing/" in out.def_path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows_named = [row for row in rows if row.get("name") and row.get("numpy")]
    places = {place_of(row) for row in rows_named}
    if not places:
        console.say(f"{stage.name}: its epochs have no names yet")
        return {}
    question = (sys.executable, "-m", "tools.naming", stage.name, str(Path("data").resolve()))
    old, new = (json.loads(run(*question, *places, folder=f)) for f in (before, Path()))
    names = dict[str, str]()
    for row in rows_named:
        place, seed, epoch, was = place_of(row), row["seed"], int(row["epoch"]) - 1, row["name"]
        if was == old[place][seed][epoch]:
            row["name"] = names[was] = new[place][seed][epoch]
            the_store().rename(was, row["name"])
    if not names:
        console.say(f"{stage.name}: BASE's code gives none of its epochs' names, so they stay")
    write_csv(rows, path)
    return names


def rename_filters(path: Path, names: dict[str, str]) -> None:
    """Give a file of weights the new names of the epochs that they are from."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_csv([{**row, "name": names.get(row["name"], row["name"])} for row in rows], path)


def place_of(row: dict[str, str]) -> str:
    """The precision, the versions and the kind of hardware of a row."""
    kind = row["hardware"].rpartition(", ")[0] or row["hardware"]
    return f"{row['precision']} {row['torch']} {row['numpy']} {kind}"


def git(*arguments: str) -> str:
    """Run git here. UserError with its message if it fails."""
    return run("git", *arguments, folder=Path())


def dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder. UserError with its message if it fails."""
    run("dvc", *arguments, folder=folder)


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder, with the folder's own code; what it printed."""
    env = os.environ | {"DVC_ROOT": str(folder.resolve())}  # environment.pth says what it does
    ran = subprocess.run(  # noqa: S603  # fixed words
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ran.returncode:
        raise UserError(f"{' '.join(command[:2])} in {folder}: {ran.stderr.strip() or ran.stdout}")
    return ran.stdout


if __name__ == "__main__":
    cli.run(main)
