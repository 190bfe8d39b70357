"""What would `dvc repro` train, or a what-if? Nothing runs: python -m alexnet_lab.plan -S lr=0.05.

An epoch that several stages share is counted once, where DVC comes to it first.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

import pandas as pd
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage
from dvc.utils.hydra import apply_overrides

from alexnet_lab import cli, console, params
from alexnet_lab.errors import UserError
from alexnet_lab.machine.hardware import Hardware, this_machine
from alexnet_lab.params.study import Study
from alexnet_lab.runs.ahead import Tree, changed_parameters, read_yaml
from alexnet_lab.runs.committed import committed_places, committed_seconds
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import known_epochs, worker_count
from alexnet_lab.runs.store import Store, the_store

PARAMS = Path("params.yaml")


def main() -> None:
    """Print the plan as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("targets", nargs="*", help="stages or exercises; by default, all")
    args = parser.parse_args()
    site, stages = what_if(args.set_param, args.targets)
    due = [(e, v, runs) for e, v, runs in site.all_runs() if (e, v) in stages]
    if not due:
        console.say("Every training stage is up to date: nothing would be trained.")
        return
    frame = plan(due, site.store)
    workers = worker_count(site.study.threads, site.hardware)
    seconds = frame["to train"] * frame["s/epoch"].where(frame["to train"] > 0, 0) / workers
    shown = frame.assign(time=seconds.map(duration))
    console.show_table(f"What would be trained, on {site.hardware.name}", shown)
    time, unlike = duration(seconds.sum()), "git has no times of such a machine."
    if seconds.notna().all():
        time = f"{time} with {workers} at once, by past seconds."
    elif seconds.sum():
        time = f"more than {time} with {workers} at once; of some, {unlike}"
    else:
        time = f"how long is not known, since {unlike}"
    console.say(
        f"{frame['known'].sum():,} epochs are known, {frame['to train'].sum():,} are to train: "
        f"{time}"
    )


def what_if(overrides: list[str], targets: Iterable[str]) -> tuple[Site, set[tuple[str, str]]]:
    """The study with what-ifs applied, and the training stages of targets that are then due.

    UserError if a what-if or a target cannot be, or if it is of data that is not prepared.
    """
    with tempfile.TemporaryDirectory() as folder:
        raw = read_yaml(with_overrides(overrides, Path(folder) / PARAMS.name))
    site = Site(params.parse(raw), Path("data"), this_machine(), the_store())
    if site.study.data.source != params.load().data.source:
        raise UserError("No epoch is known of other data: set data.source in params.yaml itself.")
    return site, due_stages(site.study, raw, targets)


def with_overrides(overrides: list[str], path: Path) -> Path:
    """A copy of params.yaml with what-ifs applied, as `dvc exp run -S` applies them.

    UserError if one cannot be applied.
    """
    shutil.copy(PARAMS, path)
    try:
        apply_overrides(path, overrides)
    except DvcException as error:
        raise UserError(f"-S {' -S '.join(overrides)} cannot be applied: {error}") from error
    return path


def due_stages(study: Study, raw: Tree, targets: Iterable[str] = ()) -> set[tuple[str, str]]:
    """The training stages (exercise, variant) of targets that differ from dvc.lock.

    UserError if a target is no exercise, and no variant or comparison of one.
    """
    asked = {target.removeprefix("compare@") for target in targets}
    every = {f"{e}@{v}": (e, v) for e, each in study.exercises.items() for v in each.variants}
    if unknown := asked - {*every, *study.exercises}:
        known = ", ".join(study.exercises)
        raise UserError(
            f"'{unknown.pop()}' is no exercise and no variant of one; there are {known}."
        )
    lock = read_yaml(Path("dvc.lock")).get("stages", {})
    stale = {stage.name for stage in stale_stages()}
    return {
        (e, v)
        for name, (e, v) in every.items()
        if not asked or asked & {e, name}
        if name in stale or changed_parameters(lock, raw, e, v)
    }


def stale_stages() -> list[PipelineStage]:
    """The stages that differ from dvc.lock as they stand, missing data aside."""
    with Repo() as repo, repo.lock:
        stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
        return [stage for stage in stages if stage.changed(allow_missing=True) or _lacks(stage)]


def _lacks(stage: PipelineStage) -> bool:
    """Whether a result that git holds is not there."""
    return any(not out.use_cache and not out.exists for out in stage.outs)


def plan(due: Iterable[tuple[str, str, list[Run]]], store: Store) -> pd.DataFrame:
    """One row per stage: its epochs, how many are known and to train, past seconds of one."""
    rows, planned = {}, set[str]()
    for exercise, variant, runs in due:
        epochs = [known_epochs(run, store) for run in runs]
        known = [record for run in epochs for record in run if record]
        before = len(planned)
        for run, records in zip(runs, epochs, strict=True):
            missing = {n for n, record in enumerate(records) if record is None}
            first = min(missing, default=0)
            again = range(run.start(first, store), first)  # known, but their state is gone
            planned.update(run.names[n] for n in missing | {*again})
        to_train = len(planned) - before
        past = [record.epoch.seconds for record in known]
        past = past or past_seconds(exercise, variant, runs[0].hardware)
        rows[f"{exercise}@{variant}"] = {
            "epochs": sum(map(len, epochs)),
            "known": len(known),
            "to train": to_train,
            "s/epoch": round(mean(past), 1) if past else float("nan"),
        }
    return pd.DataFrame(rows).T.astype({"epochs": int, "known": int, "to train": int})


def past_seconds(exercise: str, variant: str, hardware: Hardware) -> list[float]:
    """Those of committed epochs of the variant, or else of its exercise, on such hardware."""
    names = [variant, *(path.stem for path in Path("metrics/timing", exercise).glob("*.csv"))]
    places = {place for name in names for place in committed_places(exercise, name)}
    if not any(hardware.is_kind_of(name) for _, name in places):
        return []
    return committed_seconds(exercise, variant) or committed_seconds(exercise)


def duration(seconds: float) -> str:
    """Such as "2 h 05 min", "7 min" or "40 s"; "?" if nothing like it ran on such a machine."""
    if seconds != seconds:
        return "?"
    minutes, hours = round(seconds / 60), round(seconds / 60) // 60
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"


if __name__ == "__main__":
    cli.run(main)
