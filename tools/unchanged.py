"""Does a change of the code move no number? If so, record it in dvc.lock instead of training again.

A stage whose code changed since BASE (HEAD by default) is proved unchanged in one of two ways: the
syntax trees of its script and of all that it imports are those of BASE, except for docstrings,
comments and import paths; or, if they differ, one variant of each exercise, trained on the sample
by the code of BASE and by this code, gives the same bytes. Only then does `dvc commit` run.
Seconds are not compared: whether code became slower is a question for `make bench`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo
from dvc.stage import PipelineStage

from alexnet_lab import cli, console
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import discard
from tools.closure import PACKAGE, closure

WORK = Path(".dvc/tmp/unchanged")
CODE = ("src/", "stages/")
ABSENT = object()
SMALL = {"seeds": [0], "epochs": 2, "data": {"source": "sample"}}
SMALL_BENCHMARK = {"batch_sizes": [2], "iterations": 1, "warmup_iterations": 1}
SCRIPTS = ("stages/prepare.py", "stages/benchmark.py", "stages/train.py")  # the others take seconds


def main() -> None:
    """Prove it and record it. UserError if a number moves."""
    base = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    discard(WORK)
    before, now = checkout(base, WORK / "before"), copy_of_this(WORK / "now")
    old = {stage.name: stage for stage in stages(before)}
    stale = {}
    for stage in stale_stages():
        if reason := reason_to_run(stage, old, before):
            console.say(f"{stage.name}: {reason}, so dvc repro will run it")
        else:
            stale[stage.name] = stage
    if not stale:
        console.say("No stage is out of date because of its code alone: there is nothing to prove.")
        return
    different = [name for name, stage in stale.items() if not same_code(old[name], stage, before)]
    for name in sorted(set(stale) - set(different)):
        console.say(f"{name}: the same syntax trees as in {base}")
    if different:
        samples = one_per_exercise(different)
        console.say(f"Training {', '.join(samples)} on the sample, with both versions of the code")
        moved = [
            path for path in outputs(before, now, samples) if not same_bytes(before, now, path)
        ]
        if moved:
            raise UserError(f"This change moves numbers ({', '.join(moved)}): run dvc repro.")
        console.say(f"The same bytes from both: {', '.join(different)}")
    dvc(Path(), "commit", "--force", *stale)
    discard(WORK)
    console.say("dvc.lock has the new code. `dvc repro` runs what is left, such as comparisons.")


def clone(folder: Path) -> Path:
    """An empty clone of this repository."""
    git("clone", "--quiet", "--shared", "--no-checkout", ".", str(folder))
    return folder


def checkout(revision: str, folder: Path) -> Path:
    """A clone of this repository at a revision. UserError if git does not know it."""
    git("-C", str(clone(folder)), "checkout", "--quiet", "--detach", revision)
    return folder


def copy_of_this(folder: Path) -> Path:
    """A clone of this repository as it stands, uncommitted changes included."""
    clone(folder)
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


def stale_stages() -> list[PipelineStage]:
    """The stages here, of those that take more than seconds, that differ from dvc.lock."""
    with Repo() as repo, repo.lock:
        return [
            stage
            for stage in repo.index.stages
            if isinstance(stage, PipelineStage)
            and script_of(stage) in SCRIPTS
            and stage.changed(allow_missing=True)
        ]


def script_of(stage: PipelineStage) -> str:
    """The script that a stage's command runs."""
    return str(stage.cmd.split()[1])


def reason_to_run(stage: PipelineStage, old: dict[str, PipelineStage], before: Path) -> str:
    """Why a stage is stale, if it is not for its code alone; otherwise empty."""
    was = yaml.safe_load((before / "params.yaml").read_text())
    now = yaml.safe_load(Path("params.yaml").read_text())
    if stage.name not in old:
        return "it is new"
    for out in stage.outs:
        if out.status():
            return f"{out} is not what dvc.lock says"
    for dep in stage.deps:
        for key in getattr(dep, "params", ()):
            if at(was, key) not in (ABSENT, at(now, key)):
                return f"{key} has changed in params.yaml"
        if not hasattr(dep, "params") and not dep.def_path.startswith(CODE) and dep.status():
            return f"{dep} is not what dvc.lock says"
    return ""


def at(tree: Any, key: str) -> Any:
    """The value at a dotted key; ABSENT if there is none."""
    for part in key.split("."):
        tree = tree.get(part, ABSENT) if isinstance(tree, dict) else ABSENT
    return tree


def same_code(old: PipelineStage, new: PipelineStage, before: Path) -> bool:
    """Whether command and syntax trees are those of before."""
    return bool(old.cmd == new.cmd and trees(old, before) == trees(new, Path()))


def trees(stage: PipelineStage, root: Path) -> list[str]:
    """The syntax trees of a stage's script and its import closure, in a comparable order."""
    script = root / script_of(stage)
    return sorted(map(tree, [script, *closure(script, root / "src" / PACKAGE)]))


def tree(file: Path) -> str:
    """A file's syntax tree without docstrings, comments and the paths of our own imports."""
    module = ast.parse(file.read_text())
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    kept = [node for node in module.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    names = sorted(imported_names(module))
    return f"{names} {[ast.dump(node) for node in kept]}"


def imported_names(module: ast.Module) -> Iterator[str]:
    """What a module imports, each as (name, new name), with the path only if it is not ours."""
    for node in module.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            path = getattr(node, "module", "") or ""
            outside = "" if path.split(".")[0] == PACKAGE else path
            for alias in node.names:
                yield f"{outside}:{alias.name}:{alias.asname}"


def one_per_exercise(names: Iterable[str]) -> list[str]:
    """Of each stage's variants the last one, which has the most in it."""
    return list(
        {name.split("@")[0]: name for name in names if not name.startswith("prepare")}.values()
    )


def outputs(before: Path, now: Path, samples: list[str]) -> list[str]:
    """Run the samples in both folders; the files to compare."""
    files = []
    for folder in (before, now):
        path = folder / "params.yaml"
        raw = yaml.safe_load(path.read_text())
        raw["benchmark"] |= SMALL_BENCHMARK
        path.write_text(yaml.safe_dump(raw | SMALL, sort_keys=False))
        dvc(folder, "repro", "--quiet", "prepare", *samples)
    for stage in stages(now):
        if stage.name in samples or stage.name.startswith("prepare@"):
            files += [out.def_path for out in stage.outs if "/timing" not in out.def_path]
    return files


def same_bytes(before: Path, now: Path, path: str) -> bool:
    """Whether a file, or each file of a folder, is the same in both."""
    contents = []
    for root in (before, now):
        place = root / path
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        contents.append([(file.name, file.read_bytes()) for file in files])
    return contents[0] == contents[1]


def git(*arguments: str) -> str:
    """Run git here. UserError with its message if it fails."""
    return run("git", *arguments, folder=Path())


def dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder. UserError with its message if it fails."""
    run("dvc", *arguments, folder=folder)


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder; what it printed."""
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603  # fixed words
    if ran.returncode:
        raise UserError(f"{' '.join(command[:2])} in {folder}: {ran.stderr.strip() or ran.stdout}")
    return ran.stdout


if __name__ == "__main__":
    cli.run(main)
