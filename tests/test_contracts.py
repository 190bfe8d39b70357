"""The contracts between code, dvc.yaml and params.yaml."""

import ast
import copy
import graphlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro
from dvc.stage import PipelineStage
from packaging.requirements import Requirement

from alexnet_lab import params
from alexnet_lab.params.study import OF_THE_BENCHMARK, Panel, Quantity, Study
from alexnet_lab.results.panels import PANELS
from alexnet_lab.results.quantities import QUANTITIES
from alexnet_lab.results.runs import read
from alexnet_lab.results.throughput import read_benchmark
from alexnet_lab.runs.names import CODE
from tests.conftest import json_of
from tools.closure import EXEMPT, closure, imports
from tools.unchanged import PROVABLE

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/alexnet_lab"

# Rooms and modules from the ground up: each imports only from its own floor and those below.
FLOORS = (
    "errors",
    "cli",
    "console",
    "params",
    "machine",
    "data",
    "learning",
    "runs",
    "weights",
    "plan",
    "cluster",
    "benchmark",
    "results",
)
# Folders that are wider than what a stage imports, and why that is cheap.
WIDER = {"src/alexnet_lab/results": "a comparison or the report takes three seconds"}
# DVC drops these keys from its run-cache key (dvc#10296), at any depth.
DROPPED_BY_DVC = {"size", "nfiles", "isexec"}


def pipeline() -> list[PipelineStage]:
    with Repo(ROOT) as repo:
        return [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]


STAGES = pipeline()
by_name = pytest.mark.parametrize("stage", STAGES, ids=[stage.addressing for stage in STAGES])


def script_of(stage: PipelineStage) -> str:
    return stage.cmd.split()[1]


def deps_of(stage: PipelineStage) -> set[str]:
    return {dep.def_path for dep in stage.deps if not hasattr(dep, "params")}


def declared(stage: PipelineStage) -> set[str]:
    """Its keys; of a stage that depends on the whole file, the file's top-level keys."""
    if "params.yaml" in deps_of(stage):
        return {*json.loads(json_of("params.yaml"))}
    return {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}


def files_of(dep: str) -> set[Path]:
    """A dependency's Python files, except for packages that only have a docstring."""
    path = ROOT / dep
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {file for file in files if file.name != "__init__.py" or imports(file, SOURCE)}


@cache
def needed_by(script: str) -> set[Path]:
    return {ROOT / script, *closure(ROOT / script, SOURCE)}


@by_name
def test_a_stages_deps_are_its_script_and_its_import_closure(stage: PipelineStage) -> None:
    code = {dep for dep in deps_of(stage) if dep.startswith(("src/", "stages/"))}
    needed = needed_by(script_of(stage))
    declared_files = set().union(*map(files_of, code))
    wider = set().union(*map(files_of, code & set(WIDER)))
    assert needed <= declared_files
    assert declared_files - needed <= wider


def test_an_epoch_is_named_after_the_code_that_its_stage_depends_on() -> None:
    """A figure's code renames no epoch, and DVC reruns a stage whenever its names change."""
    training = [stage for stage in STAGES if script_of(stage) == "stages/train.py"]
    assert training
    for stage in training:
        code = {dep for dep in deps_of(stage) if dep.startswith(("src/", "stages/"))}
        assert code == set(CODE)


def test_what_trains_can_be_proved_unchanged() -> None:
    """Else an edit that moves no number would train again, after `make unchanged`."""
    training = {script_of(stage) for stage in STAGES if "src/alexnet_lab/runs" in deps_of(stage)}
    assert "stages/train.py" in training and training <= set(PROVABLE)


def test_every_import_goes_downwards() -> None:
    graph = {file: imports(file, SOURCE) for file in SOURCE.rglob("*.py")}
    floors = {
        f: FLOORS.index(f.relative_to(SOURCE).parts[0].removesuffix(".py"))
        for f in graph
        if f.parent != SOURCE or f.stem != "__init__"
    }
    for file, imported in graph.items():
        assert all(floors[other] <= floors[file] for other in imported), file
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules of a circle


def test_what_no_stage_depends_on_says_why() -> None:
    assert all(reason for reason in EXEMPT.values()) and set(EXEMPT) <= set(FLOORS)


def test_a_rooms_own_file_holds_only_its_docstring() -> None:
    """Python runs it with every module of the room, and no stage lists it."""
    for file in SOURCE.rglob("__init__.py"):
        assert file.parent.name == "params" or len(ast.parse(file.read_text()).body) == 1, file


@by_name
def test_every_path_that_a_command_reads_is_a_dep_or_an_output(stage: PipelineStage) -> None:
    paths = {word for word in stage.cmd.split() if "/" in word}
    outs = {out.def_path for out in stage.outs}
    known = deps_of(stage) | outs
    for path in paths:
        assert any(k == path or k.startswith(f"{path}/") for k in known), path


def views(stage: PipelineStage) -> Callable[[Study], Any]:
    """What the stage's script takes from params.yaml."""
    script, *words = stage.cmd.split()[1:]
    match script:
        case "stages/prepare.py":
            return lambda study: study.data.source
        case "stages/benchmark.py":
            return lambda study: (
                study.benchmark.model_dump(exclude={"variants"}),
                study.benchmark.variants.get(words[0]),
            )
        case "stages/count_layers.py":
            return lambda study: (study.benchmark.image_pixels, study.benchmark.classes)
        case "stages/train.py":
            return lambda study: (
                study.exercise(words[0]).images,
                study.recipe(*words[:2]),
                study.seeds_of(words[0]),
                study.threads,
                study.precision,
                study.data.held_back,
            )
        case "stages/compare.py":
            return lambda study: (
                study.exercise(words[0]).images,
                list(study.exercise(words[0]).variants),
                study.exercise(words[0]).compare,
            )
        case "stages/compare_benchmark.py":
            return lambda study: study.benchmark.variants
        case "stages/show.py":
            return lambda study: (
                study.exercise(words[1]).images,
                list(study.exercise(words[1]).variants),
                words[0] == "layer_gradients"
                and [recipe.model for recipe in study.exercise(words[1]).variants.values()],
            )
        case "stages/keep_filters.py":
            return lambda study: (
                study.exercise(words[0]).images,
                {name: study.recipe(words[0], name) for name in study.exercise(words[0]).variants},
                study.seeds_of(words[0])[0],
                study.threads,
                study.precision,
                study.data.held_back,
            )
        case "stages/show_filters.py":
            return lambda study: None
        case "stages/show_augmentation.py":
            return lambda study: (
                study.exercise("augmentation").images,
                [recipe.augment for recipe in study.exercise("augmentation").variants.values()],
            )
        case "stages/check.py" | "stages/report.py":
            return lambda study: study  # the whole file
    raise AssertionError(f"no view for {script}")


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        if isinstance(child, dict | list):
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


OTHER = {
    "official": "sample",
    "mnist": "cifar10",
    "cifar10": "mnist",
    "auto": "fp32",
    "fp32": "bf16",
    "bf16": "fp32",
    "relu": "tanh",
    "sigmoid": "relu",
    "tanh": "relu",
    "cpu": "cuda",
    "cuda": "cpu",
    "one_tower": "two_towers",
    "two_towers": "one_tower",
}


ONLY = {  # keys whose values are few, or not of their kind
    "seeds": [7],
    "precision": "fp32",
    "pool_padding": 1,
    "label_smoothing": 0.5,
    "dropout": 0.6,
}


def changed(key: Any, value: Any) -> Any:
    """Another valid value of the same kind."""
    if key in ONLY and value in OTHER:
        return OTHER[value]
    if key in ONLY:
        return 0 if value == 1 else ONLY[key]
    if isinstance(value, bool):
        return not value
    if value is None:
        return 7
    if isinstance(value, int):
        return value + 10  # a kernel stays odd, seeds stay distinct
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    return OTHER.get(value, f"{value}?")


def with_change(raw: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    new = copy.deepcopy(raw)
    node = new
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = changed(path[-1], node[path[-1]])
    return new


def is_under(path: tuple[Any, ...], key: str) -> bool:
    return path[: key.count(".") + 1] == tuple(key.split("."))


# Another word there is another structure.
NAMES = {"kind", "op", "panels", "baseline", "against", "quantities"}


@cache
def versions() -> dict[tuple[Any, ...], Study]:
    """The study with one value changed, by its path: read once for all stages."""
    raw = json.loads(json_of("params.yaml"))
    paths = [path for path in leaves(raw) if not NAMES & set(path)]
    return {path: params.parse(with_change(raw, path)) for path in paths}


@by_name
def test_every_number_that_reaches_a_stage_is_declared(stage: PipelineStage, study: Study) -> None:
    view, keys = views(stage), declared(stage)
    before = view(study)
    for path, version in versions().items():
        if view(version) != before:
            assert any(is_under(path, key) for key in keys), f"{path} is read, not declared"
    assert len(versions()) > 20


@by_name
def test_every_declared_key_reaches_the_stage(stage: PipelineStage, raw: dict[str, Any]) -> None:
    view = views(stage)
    before = view(params.parse(raw))
    unread = []
    for key in declared(stage):
        some = [version for path, version in versions().items() if is_under(path, key)]
        if key.endswith(".variants"):
            more = copy.deepcopy(raw)
            known = more[key.split(".")[0]]["variants"]
            known["another"] = copy.deepcopy(next(iter(known.values())))
            some.append(params.parse(more))
        if not any(view(version) != before for version in some):
            unread.append(key)
    # Variants that differ in a word alone are changed by other tests; panels likewise.
    assert [key for key in unread if not is_words_only(raw, key)] == []


def is_words_only(raw: dict[str, Any], key: str) -> bool:
    """Nothing under the key but words or empty lists: there is no number to change."""
    paths = [path for path in leaves(raw) if is_under(path, key)]
    return all(NAMES & set(path) for path in paths)


def test_an_exercises_stages_run_every_variant(raw: dict[str, Any]) -> None:
    for exercise in ("benchmark", *params.parse(raw).exercises):
        stages = {s.addressing.split("@")[1] for s in STAGES if s.addressing.startswith(exercise)}
        assert stages == set(raw[exercise]["variants"])


def test_dvc_lock_has_the_stages_of_dvc_yaml_alone() -> None:
    """DVC writes the whole file again after each stage, and never takes a renamed one out."""
    lock = yaml.load((ROOT / "dvc.lock").read_text(), yaml.CSafeLoader)
    assert set(lock["stages"]) == {stage.addressing for stage in STAGES}


def test_every_exercise_is_compared_and_shown_by_dvc_plots(study: Study) -> None:
    document = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert document["stages"]["compare"]["foreach"] == list(study.exercises)
    shown = {name: plot["y"] for entry in document["plots"] for name, plot in entry.items()}
    assert shown == {
        name: {f"metrics/curves/{name}.csv": "test_accuracy"} for name in study.exercises
    }


def test_every_panel_and_quantity_of_params_is_drawn_and_computed() -> None:
    assert set(PANELS) == set(get_args(Panel))
    assert set(QUANTITIES) == set(get_args(Quantity)) - OF_THE_BENCHMARK


def test_metrics_are_what_a_reviewer_wants_to_see_move(study: Study) -> None:
    """Per variant its accuracies, the interval, and what else the exercise is about."""
    with Repo(ROOT) as repo:
        metrics = {Path(o.fs_path).stem: Path(o.fs_path) for o in repo.index.outs if o.metric}
    assert set(metrics) == {"benchmark", *study.exercises}
    for name, exercise in study.exercises.items():
        accuracies = {"final_accuracy", "window_accuracy", "window_accuracy_ci95"}
        allowed = accuracies | {*exercise.compare.shown[2:3]}
        diverged = {"seeds_diverged", "diverged_from_epoch"}
        for row in json.loads(metrics[name].read_text()).values():
            assert accuracies <= {*row} and set(row) - diverged <= allowed


def test_the_layers_add_up_to_what_the_benchmark_counted(study: Study) -> None:
    layers = pd.read_csv(ROOT / "metrics/layers.csv").groupby("network").sum(numeric_only=True)
    runs = read_benchmark(ROOT / "metrics/runs/benchmark", study.benchmark.variants)
    for _, row in runs.iterrows():
        sums = layers.loc[row["network"]]
        assert sums["parameters"] == row["parameters"]
        assert round(sums["flop"] / 1e9, 3) == row["gflop_per_image"]
        assert round(sums["kept_bytes"] / 2**20, 3) == row["kept_mib_per_image"]


def test_what_is_committed_of_an_exercise_ran_in_one_arithmetic_on_one_kind_of_hardware(
    study: Study,
) -> None:
    for name, exercise in study.exercises.items():
        runs = read(exercise, ROOT / "metrics/runs" / name, ROOT / "metrics/timing" / name)
        assert len(set(runs.places.values())) == 1, (name, runs.places)


def test_claims_are_about_variants_that_exist(study: Study) -> None:
    for name, topic in params.load_claims(study, ROOT / "claims.yaml").items():
        claims = [claim.model_dump() for claim in topic.claims.values()]
        named = {claim[key] for claim in claims for key in ("of", "less", "over") if key in claim}
        named |= {v for claim in claims for key in ("order", "than") for v in claim.get(key, ())}
        if name in study.exercises:
            assert named <= set(study.exercises[name].variants)
        assert topic.question or not claims


def test_no_params_key_is_one_that_dvc_or_yaml_mistakes(raw: dict[str, Any]) -> None:
    keys = {key for path in leaves(raw) for key in path if not isinstance(key, int)}
    assert all(isinstance(key, str) for key in keys)
    assert not keys & DROPPED_BY_DVC
    assert not keys & {"on", "off", "yes", "no", "true", "false"}
    assert not [key for key in keys if "." in key]


def test_params_write_decimals_not_exponents() -> None:
    assert not re.search(r"\d[eE]-?\d", (ROOT / "params.yaml").read_text())


def test_every_package_that_the_project_needs_is_pinned() -> None:
    """constraints.txt names the whole closure with exact versions, and no address."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines)
    pins = {canonical(line.split("==")[0]): line.split("==")[1] for line in lines}
    extras = {"dev"} | ({"cluster"} if find_spec("distributed") else set())
    needed = {canonical(name) for name in requirements("alexnet-lab", extras)}
    assert {name: pins.get(name) for name in needed} == {n: metadata.version(n) for n in needed}
    assert len(needed) > 100


def test_contributing_says_why_of_every_dependency() -> None:
    """The first column of its table names what pyproject.toml asks for, and uv."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| dependency | why |")[1]
    named = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"^\| ([^|(]*)", table, re.MULTILINE))))
    asked = {Requirement(text).name for text in metadata.requires("alexnet-lab") or []}
    assert {canonical(name) for name in named - {"---"}} == {canonical(n) for n in asked} | {"uv"}


def requirements(name: str, extras: set[str]) -> set[str]:
    """The distributions that one needs here, and that these need."""
    found: set[str] = set()
    waiting = [(name, frozenset(extras))]
    seen = set()
    while waiting:
        one, wanted = waiting.pop()
        if (one, wanted) in seen:
            continue
        seen.add((one, wanted))
        for text in metadata.requires(one) or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in {"", *wanted}):
                found.add(requirement.name)
                waiting.append((requirement.name, frozenset(requirement.extras)))
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_command_names_a_device_or_a_host() -> None:
    """Except where the device is what is studied."""
    for stage in STAGES:
        if script_of(stage) == "stages/benchmark.py":
            continue
        assert not re.search(r"cuda|cpu|gpu|localhost|://|\d+\.\d+\.\d+\.\d+", stage.cmd)


def test_a_stage_imports_cli_before_anything_slow() -> None:
    """It takes care of Ctrl-C, and of DVC's death, while torch is imported."""
    for script in (ROOT / "stages").glob("*.py"):
        found = re.search(r"^from alexnet_lab\b.*", script.read_text(), re.MULTILINE)
        assert found and found[0].startswith("from alexnet_lab import cli"), script.name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # in building DVC's graph
def test_a_refused_value_stops_before_any_other_stage() -> None:
    """DVC removes a stage's outputs before it runs; `check` comes before all of them."""
    with Repo(ROOT) as repo:
        graph = repo.index.graph
        check = [stage for stage in graph if stage.addressing == "check"]
        assert len(plan_repro(graph, check, downstream=True)) == len(graph)


def test_stages_only_adapt() -> None:
    for script in (ROOT / "stages").glob("*.py"):
        assert len(script.read_text().splitlines()) <= 40, script.name


def test_the_environments_own_commands_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of this environment finds this environment's python, activated or not."""
    import shutil
    import subprocess
    import sys

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    which = "import shutil; print(shutil.which('python'))"
    command = [sys.executable, "-c", which]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found).parent == Path(sys.executable).parent
    assert shutil.which("dvc", path=str(Path(sys.executable).parent))


def test_github_runs_the_same_targets() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = " ".join(
        step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]
    )
    assert "make check test status" in commands and "review BASE=" in commands
    assert "make check test status" in (ROOT / ".ci/run").read_text()


def test_what_a_process_says_is_read_as_utf_8() -> None:
    """As ruff's PLW1514 demands of files; `text=True` would take the locale's encoding."""
    for folder in ("src", "stages", "tools", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            assert not re.search("text=True|universal_newlines", file.read_text("utf-8")), file
