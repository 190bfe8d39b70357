"""What did a change do? Markdown: `python -m alexnet_lab.results.review origin/main`.

The curves of both revisions are in git, and runs with the same seed are paired. What did not move
is left out; what cannot be compared, or not by pairs, is said. Works on the workspace, so also
after a what-if.
"""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alexnet_lab import cli, params
from alexnet_lab.data.sources import image_set
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import read_json
from alexnet_lab.params.study import Exercise, Study
from alexnet_lab.results import report
from alexnet_lab.results.explore import leaves
from alexnet_lab.results.quantities import QUANTITIES
from alexnet_lab.results.runs import read, runs_of
from alexnet_lab.results.sections import training_section
from alexnet_lab.results.statistics import Sample, judge, level_of_each
from alexnet_lab.results.tables import frame, markdown, plus_minus

LEDGER, PARAMS = Path("metrics/claims.json"), Path("params.yaml")
READ = ("params.yaml", "metrics/")
NEEDED = ("seed", "epoch", "test_accuracy", "hardware", "precision")  # columns
MOST = 6  # changes in the first line; the table has all
BEFORE, NOW = "before", "now"
Files = Mapping[Path, str]  # their texts
GUESSING = "no better than guessing"
APART = "A star: other arithmetic or hardware than before, so not paired, and not the change alone."


@dataclass(frozen=True)
class Change:
    """A variant whose accuracy moved: its runs in both revisions.

    They are not ``paired`` if they ran in different arithmetic or on different kinds of hardware.
    """

    exercise: str
    variant: str
    setup: Exercise
    curves: list[pd.DataFrame]  # before, now
    values: "pd.Series[float]"  # the accuracy of the last epochs, by (BEFORE or NOW, seed)
    paired: bool


def changes(study: Study, base: Files, now: Files) -> tuple[list[Change], list[str]]:
    """What moved between two revisions, and sentences on what is not comparable."""
    moved, notes = [], []
    both = {"base": base, "workspace": now}
    for name, exercise in study.exercises.items():
        for variant in exercise.variants:
            title = f"{name} {variant}"
            paths = [Path(f"metrics/{kind}/{name}/{variant}.csv") for kind in ("runs", "timing")]
            if lacking := [(at, path) for at in both for path in paths if path not in both[at]]:
                notes.append(f"{title}: the {lacking[0][0]} has no {lacking[0][1]}.")
                continue
            frames = [[_frame(files[path]) for path in paths] for files in both.values()]
            columns = {column for frame in frames[0] for column in frame}
            if missing := [name for name in NEEDED if name not in columns]:
                notes.append(f"{title}: the base's files have no {missing[0]} yet.")
                continue
            runs = [runs_of(exercise, *each) for each in frames]
            old, new = (
                QUANTITIES["window_accuracy"].compute(each).droplevel("variant") for each in runs
            )
            for more, less, word in ((new, old, "new"), (old, new, "lost")):
                if seeds := sorted({*more.index} - {*less.index}):
                    notes.append(f"{title}: {word} seeds {', '.join(map(str, seeds))}.")
            before, after = (each.places.get("", "") for each in runs)
            if before != after:
                notes.append(f"{title} is not paired: {before} before, {after} now.")
            shared = old.index.intersection(new.index)
            if before == after:
                old, new = old[shared], new[shared]
            if len(shared) and not (before == after and old.equals(new)):
                values = pd.concat({BEFORE: old, NOW: new}, names=["variant"])
                curves = [each.curves for each in runs]
                moved.append(Change(name, variant, exercise, curves, values, before == after))
    return moved, notes


def _frame(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text)).assign(variant="")


def table(moved: list[Change]) -> pd.DataFrame:
    """One row per change: before, now, the difference, its verdict; one family.

    A star marks a difference that is not paired by seed.
    """
    level = level_of_each(len(moved))
    rows = []
    for change in moved:
        sample = Sample(change.values, pool=False)
        difference = sample.unpaired(NOW, BEFORE, 0, level)
        if change.paired:
            difference = sample.difference(NOW, BEFORE, level)
        margin = change.setup.compare.margins.get("window_accuracy")
        chance = 100 / image_set(change.setup.images).classes
        then, now = sample.mean(BEFORE), sample.mean(NOW)  # of one seed they have no ends
        guesses = now.low <= chance and now.high < then.low
        star = "" if change.paired else "*"
        rows.append(
            {
                "accuracy, last epochs (%)": f"{change.exercise} {change.variant}{star}",
                "seeds": difference.n,
                BEFORE: f"{then.mean:.2f}",
                NOW: f"{now.mean:.2f}",
                "difference (points)": plus_minus(difference.mean, difference.half, 2, "+"),
                "verdict": GUESSING if guesses else judge(difference, margin, "higher"),
            }
        )
    return frame(rows, "accuracy, last epochs (%)")


def headline(what: str, rows: pd.DataFrame) -> str:
    """What the change did, in one line: the largest differences first."""
    by_size = rows["difference (points)"].map(lambda text: -abs(float(text.split()[0])))
    parts = [
        f"{name} {GUESSING}"
        if row["verdict"] == GUESSING
        else f"{name} {row['difference (points)']} points ({row['verdict']})"
        for name, row in rows.loc[by_size.sort_values().index].head(MOST).iterrows()
    ]
    more = f", and {len(rows) - MOST} more" if len(rows) > MOST else ""
    return f"**{what}**: {', '.join(parts)}{more}."


def what_changed(before: Study | None, now: Study, moved: list[Change]) -> str:
    """The parameters in which the changed variants' runs differ, such as "lr 0.001 → 0.05"."""
    if before is None:
        return "Parameters that this code cannot read, before"
    found: dict[str, None] = {}
    for change in moved:
        recipes = []
        for study in (before, now):
            known = change.variant in study.exercises[change.exercise].variants
            recipe = study.recipe(change.exercise, change.variant).model_dump() if known else {}
            data = {"held_back": study.data.held_back, "source": study.data.source}
            how = {"precision": recipe.get("precision") or study.precision}
            recipes.append(leaves(recipe | how | {"threads": study.threads} | data))
        old, new = recipes
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                found[f"{key} {old.get(key)} → {new.get(key)}"] = None
    return ", ".join(found) or "No parameter differs, but code, data, versions or the machine do"


def chart(change: Change) -> str:
    """The mean accuracy by epoch, before in grey and now in blue, as a Mermaid chart.

    GitHub and other viewers of Markdown draw it; nothing is uploaded.
    """
    means = [c.groupby("epoch")["test_accuracy"].mean() for c in change.curves]
    before, now = (", ".join(f"{value:.2f}" for value in each) for each in means)
    return f"""```mermaid
%%{{init: {{"themeVariables": {{"xyChart": {{"plotColorPalette": "#7F7F7F, #0072B2"}}}}}}}}%%
xychart-beta
  title "{change.exercise} {change.variant}: before (grey) and now (blue)"
  x-axis "epoch" 1 --> {max(each.index.max() for each in means)}
  y-axis "test accuracy (%), mean over seeds"
  line [{before}]
  line [{now}]
```"""


def changed(before: dict[str, Any], now: dict[str, Any]) -> pd.DataFrame:
    """One row per claim whose verdict changed; – if it was, or is, not in the ledger."""
    old, new = ({key: row["verdict"] for key, row in each.items()} for each in (before, now))
    verdicts = pd.DataFrame({BEFORE: old, NOW: new}, dtype=object).fillna("–")
    return verdicts[verdicts[BEFORE] != verdicts[NOW]].rename_axis("claim")


def ledger(study: Study) -> dict[str, Any]:
    """Every claim's entry by the runs as they are now: the `report` stage may not have run yet.

    The benchmark's are as it left them, and so are those of runs that cannot be read.
    """
    topics = params.load_claims(study)
    known = {f"{name}_{claim}" for name, topic in topics.items() for claim in topic.claims}
    old = read_json(LEDGER) if LEDGER.exists() else {}
    found = {key: row for key, row in old.items() if key in known}
    for name, exercise in study.exercises.items():
        with suppress(UserError, KeyError):  # a file is missing, or of older columns
            runs = read(exercise, *(Path("metrics", kind, name) for kind in ("runs", "timing")))
            found |= report.ledger([training_section(name, topics[name], runs)])
    return found


def files_at(revision: str) -> Files:
    """A revision's parameters, ledger, curves, timing. UserError if git does not know it."""
    command = ["git", "archive", f"{revision}^{{commit}}"]
    archive = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # user's git
    if archive.returncode:
        raise UserError(f"git knows no revision '{revision}'.")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        return {
            Path(member.name): file.read().decode(errors="replace")
            for member in tar
            if member.name.startswith(READ) and (file := tar.extractfile(member))
        }


def workspace() -> Files:
    """The curves and timing as they are now."""
    return {path: path.read_text(encoding="utf-8") for path in Path("metrics").rglob("*.csv")}


def _study(text: str) -> Study | None:
    try:
        return params.parse(yaml.safe_load(text))
    except UserError:
        return None


def review(revision: str) -> str:
    """The whole text."""
    base, now, study = files_at(revision), workspace(), params.load()
    moved, notes = changes(study, base, now)
    parts = [f"No accuracy moved against {revision}."]
    if moved:
        rows = table(moved)
        what = what_changed(_study(base.get(PARAMS, "")), study, moved)
        level = f"{100 * level_of_each(len(moved)):.4g}"
        family = f"Paired by seed; {level} % intervals, which hold together at 95 %."
        if not all(each.paired for each in moved):
            family += f" {APART}"
        parts = [headline(what, rows), markdown(rows), family]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    parts += [chart(change) for change in moved[:MOST]]
    before = json.loads(base.get(LEDGER, "{}"))
    verdicts = changed(before, ledger(study))
    parts += ["### Verdicts on the text's claims"]
    parts += ["No verdict changed." if verdicts.empty else verdicts.to_markdown()]
    return "\n\n".join(parts)


def main() -> None:
    """Print the review."""
    if len(sys.argv) != 2:
        raise UserError("Name one revision to compare with, such as origin/main.")
    print(review(sys.argv[1]))


if __name__ == "__main__":
    cli.run(main)
