"""README.md and docs/ quote what was measured, and what they name exists. How they say it is free.

Under a paragraph that quotes measured numbers stands a comment, `<!-- numbers: a, b -->`. It names
them in their order: an entry of NUMBERS, or a value of params.yaml or of the text in claims.yaml.
"""

import fnmatch
import json
import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from alexnet_lab import params
from alexnet_lab.cli import BACK
from alexnet_lab.params.study import Study
from alexnet_lab.results.analysis import Comparison, compare_variants, family
from alexnet_lab.results.claims import VERDICTS
from alexnet_lab.results.quantities import QUANTITIES, sample
from alexnet_lab.results.review import changes, headline, workspace
from alexnet_lab.results.review import table as review_table
from alexnet_lab.results.runs import Runs, read
from alexnet_lab.results.statistics import estimate, level_of_each
from alexnet_lab.results.tables import difference, markdown
from benchmarks.speed import CASES
from tests.conftest import ROOT

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md")), ROOT / "data/sample/README.md"]
MOST_WORDS = 900  # in the README, code and tables included
# Folders that commands make, and git's remote.
MADE = ("demo", ".venv", ".runs", ".dvc", "dvc_plots", "progress", "origin")

DOCUMENTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


by_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
by_document = pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
differs = subprocess.run(["git", "diff", "--quiet", "HEAD", "params.yaml"], cwd=ROOT).returncode
of_the_study = pytest.mark.skipif(differs == 1, reason="a what-if: the docs have what is committed")


# --- every number is computed from metrics/ ---


def curve(run: str, column: str = "test_accuracy") -> pd.DataFrame:
    """Epochs as rows, seeds as columns."""
    rows = pd.read_csv(ROOT / f"metrics/runs/{run}.csv")
    return rows.pivot(index="epoch", columns="seed", values=column)


def mean(values: "pd.Series[float]", digits: int = 2, sign: str = "") -> str:
    """Such as "44.29 ± 12.97"."""
    over_seeds = estimate(values)
    return f"{over_seeds.mean:{sign}.{digits}f} ± {over_seeds.half:.{digits}f}"


def change(values: "pd.Series[float]") -> str:
    """Such as "+0.35 ± 0.24"."""
    return mean(values, sign="+")


def ratio(over: "pd.Series[float]", under: "pd.Series[float]", form: str = ".2f") -> str:
    """The geometric mean over seeds, such as "1.40× (1.35 to 1.45)"."""
    log = estimate((over / under).map(math.log))
    middle, low, high = (f"{math.exp(value):{form}}" for value in (log.mean, log.low, log.high))
    return f"{middle}× ({low} to {high})"


def last(run: str, column: str = "test_accuracy") -> "pd.Series[float]":
    return curve(run, column).iloc[-1]


def clean_gaps() -> list[str]:
    """From the smallest to the largest."""
    variants = exercise("augmentation")[0].variants
    return sorted(summed(f"augmentation/{name}", "gap_clean") for name in variants)


def warmup_lead(epoch: int) -> str:
    both = curve("schedules/warmup_cosine") - curve("schedules/cosine")
    return change(both.loc[epoch])


@cache
def exercise(name: str, what_if: str = "") -> tuple[Runs, list[Comparison]]:
    """An exercise's runs and its comparisons, as the report has them, or those of a what-if."""
    study = params.load(ROOT / "params.yaml")
    claims = params.load_claims(study, ROOT / "claims.yaml")[name].claims.values()
    place = f"what-ifs/{what_if}/{{}}" if what_if else f"{{}}/{name}"
    curves, timing = (ROOT / "metrics" / place.format(kind) for kind in ("runs", "timing"))
    whole = study.exercise(name)
    there = {v: r for v, r in whole.variants.items() if (curves / f"{v}.csv").exists()}
    runs = read(whole.model_copy(update={"variants": there}), curves, timing)
    return runs, compare_variants(runs, claims)


def compared(run: str, quantity: str = "window_accuracy", what_if: str = "") -> str:
    """A variant less the baseline, with the interval that its verdict is read from."""
    name, variant = run.split("/")
    return next(
        difference(each) or ""
        for each in exercise(name, what_if)[1]
        if (each.variant, each.quantity) == (variant, quantity)
    )


def apart(run: str, other: str) -> str:
    """The accuracy of a variant less that of another, at the level of the exercise."""
    name, variant = run.split("/")
    runs, _ = exercise(name)
    found = sample("window_accuracy", runs).difference(variant, other, level(name))
    return f"{found.mean:+.2f} ± {found.half:.2f}"


def level(name: str) -> float:
    """That of each interval of an exercise."""
    study = params.load(ROOT / "params.yaml")
    claims = params.load_claims(study, ROOT / "claims.yaml")[name].claims.values()
    runs, _ = exercise(name)
    return level_of_each(family(runs.compare, runs.variants, claims))


def summed(run: str, quantity: str, what_if: str = "") -> str:
    """A mean with its 95 % interval, as the report's tables have it."""
    name, variant = run.split("/")
    mean = sample(quantity, exercise(name, what_if)[0]).mean(variant)
    digits = QUANTITIES[quantity].digits
    return f"{mean.mean:.{digits}f} ± {mean.half:.{digits}f}"


def honest(verdict: str) -> str:
    return f"{json.loads((ROOT / 'metrics/verdicts.json').read_text())['honest texts'][verdict]:g}"


def gradients(epoch: int) -> str:
    relu, sigmoid = (curve(f"activation/{v}", "gradient_norm") for v in ("relu", "sigmoid"))
    return ratio(relu.loc[epoch], sigmoid.loc[epoch])


def rates(device: str) -> "pd.Series[float]":
    """Images per second of the median step, by batch size."""
    steps = pd.read_csv(ROOT / f"metrics/timing/benchmark/{device}.csv").groupby("batch_size")
    medians = steps["seconds"].median()
    return medians.index / medians


def speed_up(batch: int) -> str:
    return f"{(rates('gpu') / rates('cpu'))[batch]:.1f}"


def towers() -> "pd.Series[float]":
    """The images per second of two towers over those of one, by batch size."""
    steps = pd.read_csv(ROOT / "metrics/timing/benchmark/towers.csv")
    medians = steps.groupby(["network", "batch_size"])["seconds"].median()
    return medians["one_tower"] / medians["two_towers"]


def study_hours() -> str:
    """All training at the speeds of metrics/speed.json; an exercise's cases stand for it."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    cases = [(case.split("@")[0], speed["engine_s"]) for case, speed in speeds().items()]
    per_epoch = pd.DataFrame(cases).groupby(0)[1].mean()
    epochs = {
        name: len(params[name]["variants"])
        * len(params[name]["seeds"])
        * params[name]["train"]["epochs"]
        for name in per_epoch.index
    }
    return f"{(per_epoch * pd.Series(epochs)).sum() / 3600:.0f}"


def speeds() -> dict[str, dict[str, float]]:
    return json.loads((ROOT / "metrics/speed.json").read_text())


IN_FP32 = "low_rate_in_fp32"
NUMBERS: dict[str, Callable[[], str]] = {
    "cpu_rate": lambda: f"{rates('cpu').max():.1f}",
    "gpu_rate": lambda: f"{rates('gpu').max():.1f}",
    "speed_up_32": lambda: speed_up(32),
    "speed_up_256": lambda: speed_up(256),
    "towers_least": lambda: f"{towers().min():.2f}",
    "towers_most": lambda: f"{towers().max():.2f}",
    "study_hours": study_hours,
    "sigmoid_after_1": lambda: change(
        (curve("activation/sigmoid") - curve("activation/relu")).loc[1]
    ),
    "sigmoid_window": lambda: compared("activation/sigmoid"),
    "tanh_window": lambda: compared("activation/tanh"),
    "sigmoid_at_end": lambda: change(last("activation/sigmoid") - last("activation/relu")),
    "honest_compatible": lambda: honest("compatible"),
    "honest_incompatible": lambda: honest("incompatible"),
    "honest_undecided": lambda: honest("undecided"),
    "gradients_1": lambda: gradients(1),
    "gradients_5": lambda: gradients(5),
    "constant_best": lambda: mean(curve("schedules/constant").max()),
    "constant_end": lambda: mean(last("schedules/constant")),
    "none_end": lambda: summed("augmentation/none", "window_accuracy"),
    "warmup_at_2": lambda: mean(curve("schedules/warmup_cosine").loc[2]),
    "warmup_2_to_5": lambda: change(curve("schedules/warmup_cosine").loc[[2, 5]].diff().loc[5]),
    "first_cut": lambda: change(curve("schedules/step").loc[[10, 11]].diff().loc[11]),
    "warmup_lead_3": lambda: warmup_lead(3),
    "warmup_lead_20": lambda: warmup_lead(20),
    "warmup_lead_end": lambda: apart("schedules/warmup_cosine", "cosine"),
    "exponential_lead": lambda: apart("schedules/warmup_cosine", "exponential"),
    "exponential_over_cosine": lambda: apart("schedules/exponential", "cosine"),
    "exponential_over_step": lambda: apart("schedules/exponential", "step"),
    "step_gain": lambda: compared("schedules/step"),
    "basic_gain": lambda: compared("augmentation/basic"),
    "strong_gain": lambda: compared("augmentation/strong"),
    "heaviest_gain": lambda: compared("augmentation/alexnet_style"),
    "none_clean_loss": lambda: mean(last("augmentation/none", "train_loss_clean"), 3),
    "heaviest_clean_loss": lambda: mean(last("augmentation/alexnet_style", "train_loss_clean"), 3),
    "strong_gap": lambda: summed("augmentation/strong", "gap"),
    "heaviest_gap": lambda: summed("augmentation/alexnet_style", "gap"),
    "smallest_clean_gap": lambda: clean_gaps()[0],
    "largest_clean_gap": lambda: clean_gaps()[-1],
    "bn_gain": lambda: compared("batchnorm/with_bn"),
    "with_bn_epochs": lambda: summed("batchnorm/with_bn", "epochs_to_threshold"),
    "without_bn_epochs": lambda: summed("batchnorm/without_bn", "epochs_to_threshold"),
    "bn_fewer": lambda: compared("batchnorm/with_bn", "epochs_to_threshold"),
    "with_bn_gap": lambda: summed("batchnorm/with_bn", "gap_clean"),
    "without_bn_gap": lambda: summed("batchnorm/without_bn", "gap_clean"),
    "exponential_gain": lambda: compared("schedules/exponential"),
    "none_train_accuracy": lambda: summed("augmentation/none", "train_accuracy"),
    "heaviest_train_accuracy": lambda: summed("augmentation/alexnet_style", "train_accuracy"),
    "no_dropout_gap": lambda: summed("dropout/dropout_0", "gap_clean"),
    "half_dropout_gap": lambda: summed("dropout/dropout_0_5", "gap_clean"),
    "quarter_dropout": lambda: compared("dropout/dropout_0_25"),
    "half_dropout": lambda: compared("dropout/dropout_0_5"),
    "most_dropout": lambda: compared("dropout/dropout_0_75"),
    "low_constant": lambda: summed("low_rate/constant", "window_accuracy"),
    "low_step": lambda: compared("low_rate/step"),
    "low_cosine": lambda: compared("low_rate/cosine"),
    "low_exponential": lambda: compared("low_rate/exponential"),
    "low_warmup": lambda: compared("low_rate/warmup_cosine"),
    "low_exponential_over_cosine": lambda: apart("low_rate/exponential", "cosine"),
    "low_constant_fp32": lambda: summed("low_rate/constant", "window_accuracy", IN_FP32),
    "low_step_fp32": lambda: compared("low_rate/step", what_if=IN_FP32),
    "low_cosine_fp32": lambda: compared("low_rate/cosine", what_if=IN_FP32),
    "fp32_none": lambda: compared("arithmetic/none_fp32"),
    "fp32_constant": lambda: compared("arithmetic/constant_fp32"),
    "long_none": lambda: summed("longer/none", "window_accuracy"),
    "long_basic": lambda: compared("longer/basic"),
    "long_strong": lambda: compared("longer/strong"),
    "long_heaviest": lambda: compared("longer/alexnet_style"),
    "long_none_gap": lambda: summed("longer/none", "gap_clean"),
    "long_basic_gap": lambda: summed("longer/basic", "gap_clean"),
    "long_none_train": lambda: summed("longer/none", "train_accuracy"),
    "long_heaviest_train": lambda: summed("longer/alexnet_style", "train_accuracy"),
    "fp32_constant_end": lambda: change(
        last("arithmetic/constant_fp32") - last("arithmetic/constant_bf16")
    ),
    "fp32_constant_twenty": lambda: change(
        (curve("arithmetic/constant_fp32") - curve("arithmetic/constant_bf16")).loc[31:].mean()
    ),
    "low_warmup_over_cosine": lambda: apart("low_rate/warmup_cosine", "cosine"),
    "long_strong_over_basic": lambda: apart("longer/strong", "basic"),
    "long_heaviest_over_basic": lambda: apart("longer/alexnet_style", "basic"),
    "bn_at_10_change": lambda: apart("rates/with_bn_0_1", "with_bn"),
    "plain_at_10_loss": lambda: compared("rates/without_bn_0_1"),
    "plain_at_3": lambda: compared("rates/without_bn_0_03"),
    "bn_gain_at_3": lambda: compared("rates/with_bn_0_03"),
    "bn_gain_at_10": lambda: compared("rates/with_bn_0_1"),
    "plain_at_10": lambda: summed("rates/without_bn_0_1", "window_accuracy"),
    "bn_at_10": lambda: summed("rates/with_bn_0_1", "window_accuracy"),
    "bn_gap_at_3": lambda: summed("rates/with_bn_0_03", "gap_clean"),
    "plain_gap_at_3": lambda: summed("rates/without_bn_0_03", "gap_clean"),
    "bn_gain_repaired": lambda: compared("repair/with_bn"),
    "repaired_plain": lambda: summed("repair/without_bn", "window_accuracy"),
    "repaired_two": lambda: summed("repair/two_convolutions", "window_accuracy"),
    "without_bn": lambda: summed("batchnorm/without_bn", "window_accuracy"),
    "modern_plain": lambda: summed("modern/plain", "window_accuracy"),
    "modern_last": lambda: summed("modern/residual", "window_accuracy"),
    "modern_augmented": lambda: compared("modern/augmented"),
    "modern_normalised": lambda: compared("modern/normalised"),
    "modern_cosine": lambda: compared("modern/cosine"),
    "modern_regularised": lambda: compared("modern/regularised"),
    "modern_residual": lambda: compared("modern/residual"),
    "relu_8_reach": lambda: summed("depth/relu_8", "gradient_reach"),
    "sigmoid_3_reach": lambda: summed("depth/sigmoid_3", "gradient_reach"),
    "sigmoid_8_reach": lambda: summed("depth/sigmoid_8", "gradient_reach"),
    "tanh_8_reach": lambda: summed("depth/tanh_8", "gradient_reach"),
    "sigmoid_3_loss": lambda: compared("depth/sigmoid_3"),
    "sigmoid_5_loss": lambda: compared("depth/sigmoid_5"),
    "sigmoid_8_loss": lambda: compared("depth/sigmoid_8"),
    "tanh_8_loss": lambda: compared("depth/tanh_8"),
}

NUMBER = r"[-+]?\b\d[\d.]*"
QUOTED = re.compile(
    rf"{NUMBER} ± \d[\d.]*\d"  # with an interval
    rf"|{NUMBER}× \({NUMBER} to [\d.]*\d\)"
    rf"|(?<=the text: )[\d.]*\d"  # the text's own
    rf"|{NUMBER}(?= ?[%×]| (?:points|nats|hours|img/s))"  # with a unit
)
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"[\w./<>-]+(/|/[\w.<>-]+|\.(py|md|yaml|json|csv|html|png|lock))")
NAMES = re.compile(r"<!-- numbers: (.*?) -->", re.DOTALL)


def paragraphs(page: Path) -> Iterator[str]:
    """A page's paragraphs and list items, on one line each; no code, no tables."""
    text = CODE.sub("\n", page.read_text())
    text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=\s*- )", text):
        yield " ".join(block.split()).replace("95 % interval", "interval")


def number(name: str) -> str:
    """The number that a comment names."""
    first, _, rest = name.partition(".")
    if first == "params":
        return f"{lookup('params.yaml', rest.split('.')):g}"
    if first == "text":
        exercise, claim = rest.split(".")
        return f"{lookup('claims.yaml', [exercise, 'claims', claim, 'value']):g}"
    return NUMBERS[name]()


def lookup(file: str, keys: list[str]) -> Any:
    value = yaml.safe_load((ROOT / file).read_text())
    for key in keys:
        value = value[key]
    return value


@of_the_study
@by_page
def test_every_quoted_number_is_the_one_that_was_measured(page: Path) -> None:
    for paragraph in paragraphs(page):
        names = [name.strip() for names in NAMES.findall(paragraph) for name in names.split(",")]
        quoted = [text.strip() for text in QUOTED.findall(NAMES.sub("", paragraph))]
        assert dict(enumerate(quoted)) == dict(enumerate(map(number, names))), paragraph


def test_no_number_is_computed_for_nothing() -> None:
    text = "".join(page.read_text() for page in PAGES)
    named = {name.strip() for names in NAMES.findall(text) for name in names.split(",")}
    assert set(NUMBERS) <= named


# --- tables and pasted output ---


def table(page: Path, first: str) -> list[dict[str, str]]:
    """The first table whose head begins with this word, as rows."""
    lines = page.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if re.match(rf"\| *{first} *\|", line))
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[start : lines.index("", start)]
    ]
    return [dict(zip(head, row, strict=True)) for row in rows]


@of_the_study
def test_the_answers_are_the_reports() -> None:
    """Every question of the report's first table that has an answer."""
    answers = [(row["question"], row["measured"]) for row in table(README, "question")]
    rows = [(row["question"], row["measured"]) for row in table(ROOT / "REPORT.md", "question")]
    assert answers == rows


@of_the_study
def test_the_answers_in_short_still_hold() -> None:
    """If one fails, reword claims.yaml, the README's table and docs/findings.md."""
    topics = params.load_claims(params.load(ROOT / "params.yaml"), ROOT / "claims.yaml")
    answers = {topic.question: topic.short.says for topic in topics.values() if topic.short}
    assert len(answers) == len(topics) - 2  # all but the benchmark and the takeaways
    text = (ROOT / "REPORT.md").read_text()
    assert all(f"**{says}. " in text for says in answers.values())
    for row in table(README, "question")[1:]:
        assert row["in short"].startswith(f"[{answers[row['question']]}"), row

    best = curve("schedules/exponential").iloc[-1]
    assert estimate(last("augmentation/none")).low > estimate(best).high  # without 0.1
    verdict = {
        (name, each.variant): each.verdict
        for name in ("rates", "augmentation", "dropout")
        for each in exercise(name)[1]
        if each.quantity == "window_accuracy"
    }
    assert verdict["rates", "without_bn_0_03"] == "better"  # a higher rate alone
    assert verdict["dropout", "dropout_0_75"] == "worse"
    assert verdict["augmentation", "basic"] == verdict["dropout", "dropout_0_25"] == "undecided"


@of_the_study
def test_the_simulation_is_the_one_that_was_run() -> None:
    found = json.loads((ROOT / "metrics/verdicts.json").read_text())
    rows = [
        f"| {' | '.join([name, *(f'{number:g}' for number in row.values())])} |"
        for name, row in found["settings"].items()
    ]
    text = (ROOT / "docs/how-sure.md").read_text()
    assert all(row in text for row in rows) and f"{found['draws']:,} draws" in text
    assert f"whose {found['honest texts']['numbers']} numbers" in text


def verdicts() -> Iterator[dict[str, str]]:
    """All rows of the report's tables of comparisons."""
    head: list[str] = []
    for line in (ROOT / "REPORT.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not head:
            head = cells
        elif not line.startswith("|"):
            head = []
        elif {"variant", "in", "verdict"} <= set(head):
            yield dict(zip(head, cells, strict=True))


@of_the_study
def test_the_counts_of_verdicts_are_the_ledgers() -> None:
    ledger = json.loads((ROOT / "metrics/claims.json").read_text())
    counts = Counter(claim["verdict"] for claim in ledger.values())
    text = " ".join(README.read_text().split())
    assert f"{len(ledger)} claims" in text
    assert {*counts} <= {*VERDICTS}
    for verdict, count in counts.items():
        assert re.search(rf"\b{count}\W+{verdict}\b", text), (count, verdict)


@of_the_study
def test_the_speeds_are_what_was_measured() -> None:
    """One row per case of the benchmark, and no other."""
    rows = [
        f"| {case} | {speed['reference_s']:.1f} | {speed['engine_s']:.1f} | {speed['ratio']:.1f} "
        f"| {speed['ratio_fp32']:.1f} | {speed['share_of_peak']:.2f} |"
        for case, speed in speeds().items()
    ]
    assert list(CASES) == list(speeds())
    lines = (ROOT / "docs/environment.md").read_text().splitlines()
    assert [line for line in lines if re.match(r"\| \w+@", line)] == rows


@of_the_study
@pytest.mark.parametrize("name", ["fifty_times_the_rate", "eight_layers"])
def test_a_quoted_what_if_is_a_committed_run(
    name: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `make review` says of metrics/what-ifs/<name> against the committed results."""
    kinds = ("runs", "timing")
    base = {
        Path(f"metrics/{kind}/activation/{path.name}"): path.read_text()
        for kind in kinds
        for path in (ROOT / "metrics" / kind / "activation").glob("*.csv")
    }
    monkeypatch.chdir(tmp_path)
    for kind in kinds:
        shutil.copytree(ROOT / "metrics/what-ifs" / name / kind, f"metrics/{kind}/activation")
    moved, _ = changes(study, base, workspace())
    assert {each.variant for each in moved} == {"relu", "sigmoid", "tanh"}
    text = (ROOT / "docs/what-ifs.md").read_text()
    assert markdown(review_table(moved)) in text
    eight = f"model.hidden (512, 256, 128) → {(64,) * 8}"
    what = {"fifty_times_the_rate": "lr 0.001 → 0.05", "eight_layers": eight}[name]
    assert headline(what, review_table(moved)) in text.splitlines()


# --- what is named exists ---


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    heads = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@by_document
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert "//" in link or target.exists(), link
        assert not anchor or anchor in anchors(target), link


@by_document
def test_every_path_exists(page: Path) -> None:
    """Those in backticks, and those that commands are given."""
    written = re.findall(r"`([^`\n]+)`", CODE.sub("", page.read_text()))
    written += [line.partition("#")[0] for line in shown(page) if not line.startswith(" ")]
    for word in {word.rstrip(",;") for text in written for word in text.split()}:
        if PATH.fullmatch(word) and word.split("/")[0] not in MADE:
            assert exists(word), word


def exists(path: str) -> bool:
    """Whether such a file or folder is in git, here or in a folder; `<exercise>` is any name."""
    pattern = re.sub(r"<\w+>", "*", path).removesuffix("/")
    return bool(fnmatch.filter(places(), pattern) or fnmatch.filter(places(), f"*/{pattern}"))


@cache
def places() -> set[str]:
    """All files of this checkout that git does not ignore, and their folders."""
    return listed("--cached", "--others", "--exclude-standard")


def listed(*options: str) -> set[str]:
    """What `git ls-files` lists, as far as it is there, and the folders around it."""
    ran = subprocess.run(["git", "ls-files", *options], cwd=ROOT, capture_output=True, text=True)
    files = [Path(name) for name in ran.stdout.splitlines() if (ROOT / name).exists()]
    return {str(place) for file in files for place in (file, *file.parents)}


def shown(page: Path) -> Iterator[str]:
    """The lines of a page's commands and their output."""
    for block in CODE.findall(page.read_text()):
        if not block.startswith("```diff"):
            yield from block.splitlines()[1:-1]


@by_document
def test_every_make_target_exists(page: Path) -> None:
    text = "\n".join([*re.findall(r"`([^`\n]+)`", page.read_text()), *shown(page)])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^(?:\$ )?make ([a-z]+)", text, re.MULTILINE)) <= targets


@by_document
def test_every_key_that_a_what_if_sets_exists(page: Path) -> None:
    for new, key in re.findall(r"-S '?(\+?)([\w.]+)=", page.read_text()):
        keys = key.split(".")
        lookup("params.yaml", keys[:-1] if new else keys)


def test_the_way_back_is_what_a_failing_stage_says() -> None:
    text = (ROOT / "docs/what-ifs.md").read_text("utf-8")
    assert BACK.partition(": ")[2] in text.partition("## The way back")[2]


def test_the_map_is_the_tree() -> None:
    """Every room and module of the package, every folder, and nothing that is not there."""
    block = next(b for b in CODE.findall(README.read_text()) if "src/alexnet_lab/" in b)
    named, folder = set(), ""
    for line in block.splitlines()[1:-1]:
        name = line.split()[0].rstrip("/")
        folder = folder if line.startswith(" ") else name
        named.add(f"{folder}/{name}" if line.startswith(" ") else name)
    assert named <= places()
    parts = [Path(place).parts for place in listed("--cached")]
    package = {"/".join(p) for p in parts if p[:2] == ("src", "alexnet_lab") and len(p) == 3}
    folders = {p[0] for p in parts if len(p) > 1 and not p[0].startswith(".")}
    assert package - {"src/alexnet_lab/__init__.py"} <= named
    assert folders <= {Path(path).parts[0] for path in named} | {"docs"}


def test_the_readme_is_short_and_starts_with_a_command() -> None:
    text = README.read_text()
    assert len(text.split()) <= MOST_WORDS
    assert "make demo" in "".join(text.splitlines()[:25])


def test_the_readme_links_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", README.read_text()))
    assert linked == {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
