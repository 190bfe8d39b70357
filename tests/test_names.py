"""A name changes from the epoch where its cause acts, not before; and for nothing else."""

import ast
import copy
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from alexnet_lab import params
from alexnet_lab.errors import UserError
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.machine.hardware import Hardware
from alexnet_lab.params.recipes import Recipe
from alexnet_lab.runs import names
from alexnet_lab.runs.names import CODE, PROJECT, as_text, chain, code, syntax_tree
from alexnet_lab.runs.site import Site

ROOT = Path(__file__).parent.parent
EXERCISES = ("activation", "schedules", "augmentation", "batchnorm")
OTHER = {"relu": "tanh", "tanh": "sigmoid", "sigmoid": "relu", None: "fp32"}
MEASURED = {"lr", "schedule", "epochs", "clean_train_loss", "precision"}  # or named apart
Names = tuple[str, ...]


def named(recipe: Recipe, **changes: Any) -> Names:
    how = {"images": "0123", "held_back": 0, "threads": 1, "kind": "a CPU", "precision": "bf16"}
    how |= changes
    return chain(recipe, how.pop("seed", 0), names.root(recipe, **how))


def parts_at(one: Names, other: Names) -> int | None:
    """The first epoch (from 0) with another name, and all after it have others; None: no epoch."""
    same = [a == b for a, b in zip(one, other, strict=False)]
    first = same.index(False) if False in same else None
    assert first is None or not set(one[first:]) & set(other)
    return first


def acts_at(before: Recipe, after: Recipe) -> int | None:
    """The first epoch that computes something else, written down anew: the rate is a number."""
    if before.model_dump(exclude=MEASURED) != after.model_dump(exclude=MEASURED):
        return 0
    rates = [
        [learning_rate(r.schedule, r.lr, e, r.epochs) for e in range(r.epochs)]
        for r in (before, after)
    ]
    pairs = zip(*rates, strict=False)
    return next((epoch for epoch, (one, other) in enumerate(pairs) if one != other), None)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        if isinstance(child, dict | list | tuple) and len(child):
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


def other(value: Any) -> Any:
    """Another valid value."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2  # a kernel stays odd
    if isinstance(value, float):
        return value * 0.9 if value else 0.1
    if isinstance(value, list | tuple):  # an empty one: no augmentation
        return [{"op": "flip", "p": 0.5}]
    return OTHER[value]


def with_other(recipe: Recipe, path: tuple[Any, ...]) -> Recipe:
    tree = copy.deepcopy(recipe.model_dump(mode="json"))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = 1 if path[-1] == "pool_padding" else other(node[path[-1]])
    return Recipe.model_validate(tree)


STUDY = params.load(ROOT / "params.yaml")
RECIPES = {(e, v): STUDY.recipe(e, v) for e in EXERCISES for v in STUDY.exercise(e).variants}
TAGS = {"kind", "op"}  # another word there has other keys beside it
KEYS = [
    (*stage, path)
    for stage, recipe in RECIPES.items()
    for path in leaves(recipe.model_dump(mode="json"))
    if path[-1] not in TAGS
]


def test_every_key_of_a_recipe_is_tried() -> None:
    assert {path[0] for _, _, path in KEYS} == set(Recipe.model_fields)
    assert len(KEYS) > 150


@pytest.mark.parametrize("stage", RECIPES, ids="@".join)
def test_another_number_in_a_recipe_changes_the_names_from_where_it_acts(
    stage: tuple[str, str],
) -> None:
    recipe = RECIPES[stage]
    before = named(recipe)
    for *which, path in KEYS:
        if tuple(which) == stage:
            after = with_other(recipe, path)
            assert after != recipe
            assert parts_at(before, named(after)) == acts_at(recipe, after), path


def test_where_some_numbers_act_is_known_by_hand() -> None:
    """The expectation above is computed; here it is written out."""
    step, activation = RECIPES["schedules", "step"], RECIPES["activation", "relu"]
    cosine = RECIPES["schedules", "cosine"]
    cases = [
        (step, ("schedule", "every"), 10),  # a cut after 12 epochs instead of 10
        (step, ("schedule", "gamma"), 10),
        (step, ("lr",), 0),
        (step, ("epochs",), None),
        (step, ("clean_train_loss",), None),
        (step, ("model", "dropout"), 0),
        (step, ("augment",), 0),
        (step, ("batch_size",), 0),
        (cosine, ("epochs",), 1),  # the first epoch's rate is the base rate
        (activation, ("normalize", "mean", 0), 0),
    ]
    for recipe, path, epoch in cases:
        assert parts_at(named(recipe), named(with_other(recipe, path))) == epoch, path


def test_another_kind_of_part_changes_all_names() -> None:
    """A constant rate, though, is a step that has not come."""
    recipe = RECIPES["schedules", "constant"]
    mlp = RECIPES["activation", "relu"].model_dump()
    for change in ({"optimizer": {"kind": "adam"}}, {"model": mlp["model"]}):
        changed = Recipe.model_validate(recipe.model_dump() | change)
        assert parts_at(named(recipe), named(changed)) == 0
    never = {"schedule": {"kind": "step", "every": 50, "gamma": 0.5}}
    assert named(Recipe.model_validate(recipe.model_dump() | never)) == named(recipe)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"threads": 2},
        {"precision": "fp32"},
        {"kind": "another CPU"},
        {"images": "0124"},
        {"held_back": 1},
    ],
    ids=str,
)
def test_the_seed_the_machine_and_the_data_change_all_names(change: dict[str, Any]) -> None:
    recipe = RECIPES["activation", "relu"]
    assert named(recipe, **change) == named(recipe, **change)
    assert parts_at(named(recipe), named(recipe, **change)) == 0


@pytest.mark.parametrize("package", ["torch", "numpy"])
def test_another_release_changes_all_names(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, real = RECIPES["activation", "relu"], metadata.version
    before = named(recipe)
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == package else real(name))
    assert parts_at(before, named(recipe)) == 0


def test_a_site_passes_on_everything_that_a_name_comes_from(site: Site) -> None:
    """Threads, precision and hardware reach the names; the number of cores does not."""
    stage = ("activation", "relu")
    before = site.runs(*stage, "bf16")[0].names
    hardware = Hardware("cpu", "another CPU", bf16=False)
    others = [
        site.runs(*stage, "fp32")[0],
        site.runs(*stage, "bf16")[1],
        replace(site, hardware=hardware).runs(*stage, "bf16")[0],
        replace(site, study=site.study.model_copy(update={"threads": 2})).runs(*stage, "bf16")[0],
    ]
    assert [parts_at(before, run.names) for run in others] == [0] * 4
    assert len({run.names for run in others}) == 4
    # How many cores there are, and all else that a machine is, is no part of a kind.
    capable = replace(site, hardware=replace(site.hardware, bf16=True))
    assert capable.runs(*stage, "bf16")[0].names == before


@pytest.mark.parametrize("file", ["train_images", "train_labels", "test_images", "test_labels"])
def test_one_other_byte_of_the_data_changes_all_names(
    file: str, site: Site, tmp_path: Path
) -> None:
    data = shutil.copytree(site.data, tmp_path / "data")
    copied = replace(site, data=data)
    before = site.runs("activation", "relu", "fp32")[0].names
    assert copied.runs("activation", "relu", "fp32")[0].names == before
    path = data / "mnist" / f"{file}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    names.images.cache_clear()
    assert parts_at(before, copied.runs("activation", "relu", "fp32")[0].names) == 0
    cifar10 = ("schedules", "step", "fp32")
    assert copied.runs(*cifar10)[0].names == site.runs(*cifar10)[0].names


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar10 cannot be read; `dvc repro prepare` makes it"):
        names.images(tmp_path / "cifar10")


# --- the code ---


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code."""
    for folder in ("src/alexnet_lab", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / "p" / folder, ignore=lambda *_: ["__pycache__"])
    return tmp_path / "p"


def that_train(project: Path) -> set[Path]:
    parts = {project / part for part in CODE}
    return {f for f in project.rglob("*.py") if parts & {f, *f.parents}}


def test_each_module_that_trains_changes_the_code(project: Path) -> None:
    before, files = code(project), that_train(project)
    assert before == code(PROJECT)  # wherever it lies
    rooms = {file.parent.name for file in files}
    assert rooms == {"stages", "data", "learning", "machine", "runs"} and len(files) > 15
    digests = {before}
    for file in files:
        text = file.read_text()
        file.write_text(text + "other = 1\n")
        code.cache_clear()
        digests.add(code(project))
        file.write_text(text)
    assert len(digests) == 1 + len(files)
    (project / "src/alexnet_lab/learning/another.py").write_text("")
    code.cache_clear()
    assert code(project) not in digests


def test_no_other_module_changes_the_code(project: Path) -> None:
    """Figures, the report, the plan, what is printed, and how params.yaml is read."""
    before = code(project)
    others = set(project.rglob("*.py")) - that_train(project)
    named = {
        file.relative_to(project / "src/alexnet_lab").parts[0]
        for file in others
        if file.parts[-2] != "stages"
    }
    assert {"results", "params", "plan.py", "console.py", "cli.py", "benchmark"} <= named
    for file in others:
        file.write_text(file.read_text() + "other = 1\n")
    (project / "src/alexnet_lab/learning/notes.txt").write_text("no code")
    code.cache_clear()
    assert code(project) == before


def test_comments_docstrings_and_layout_are_not_code(project: Path) -> None:
    before = code(project)
    for file in that_train(project):
        text = re.sub(
            r'^( *""")(?=\S)', r"\1In other words: ", file.read_text(), flags=re.MULTILINE
        )
        assert "In other words" in text
        file.write_text(f"# A comment.\n\n{ast.unparse(ast.parse(text))}\n")
    code.cache_clear()
    assert code(project) == before


CODE_OF_ALL_KINDS = '''
class A:
    """Says something."""
    y = "a" if None else []

def f(a, b: int = 2):
    return a / b

z = [f(x) for x in f"{x:.2f} {A}"]
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("b: int = 2", "b: int = 2.0"),
        ("b: int = 2", "b: float = 2"),
        ("/ b", "// b"),
        ("/ b", "* b"),
        ('"a"', '"b"'),
        ("None", "[]"),
        ("[]", "[[]]"),
        ("[f(x)", "[(f(x),)"),
        ("return", "yield"),
        ("f(x)", "f(*x)"),
        ("f(x)", "f(x, x)"),
        ("{x:.2f}", "{x:.3f}"),
        ("{x:.2f}", "{x!r:.2f}"),
        ("} {", "}{"),
        ("class A:", "class A(f):"),
        ("    y =", "y ="),
    ],
)
def test_whatever_python_tells_apart_is_other_code(old: str, new: str) -> None:
    before, now = CODE_OF_ALL_KINDS, CODE_OF_ALL_KINDS.replace(old, new)
    assert now != before
    assert as_text(syntax_tree(now)) != as_text(syntax_tree(before))


def test_code_has_one_name_in_every_version_of_python() -> None:
    """Some have fields of a tree that others have not; this is what 3.11 gives."""
    text = as_text(syntax_tree("def f(*, a=[]): 'Says.'; return f'{a!r:>2}' if a else None"))
    assert text == (
        "Module(body=[FunctionDef(name='f' args=arguments(kwonlyargs=[arg(arg='a')] "
        "kw_defaults=[List(ctx=Load())]) body=[Return(value=IfExp(test=Name(id='a' ctx=Load()) "
        "body=JoinedStr(values=[FormattedValue(value=Name(id='a' ctx=Load()) conversion=114 "
        "format_spec=JoinedStr(values=[Constant(value='>2')]))]) orelse=Constant()))])])"
    )


def test_the_code_is_in_the_names() -> None:
    recipe = RECIPES["activation", "relu"]
    before = named(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "code", lambda: "other code")
        assert parts_at(before, named(recipe)) == 0
    assert named(recipe) == before


# --- runs that begin alike ---


def shared(one: str, two: str) -> int:
    first, second = (named(RECIPES["schedules", variant]) for variant in (one, two))
    return sum(a == b for a, b in zip(first, second, strict=True))


def test_schedules_share_what_they_compute_alike() -> None:
    """Step cuts the rate after ten epochs; the others part from constant after the first."""
    assert shared("constant", "step") == 10
    assert shared("constant", "exponential") == shared("constant", "cosine") == 1
    assert shared("cosine", "exponential") == 1
    assert shared("constant", "warmup_cosine") == 0


@pytest.mark.parametrize(
    ("variant", "known"),
    [("constant", 50), ("step", 50), ("exponential", 50), ("cosine", 1), ("warmup_cosine", 6)],
)
def test_more_epochs_go_on_where_the_schedule_does_not_depend_on_the_total(
    variant: str, known: int
) -> None:
    recipe = RECIPES["schedules", variant]
    longer = named(recipe.model_copy(update={"epochs": 60}))
    assert len(longer) == 60
    assert sum(a == b for a, b in zip(named(recipe), longer, strict=False)) == known


def test_further_seeds_leave_the_others_alone(raw: dict[str, Any], site: Site) -> None:
    few = site.runs("schedules", "step", "bf16")
    raw["schedules"]["seeds"] = [7, 4, 3, 2, 1, 0]
    more = replace(site, study=params.parse(raw)).runs("schedules", "step", "bf16")
    assert {run.names for run in few} == {run.names for run in more if run.seed != 7}


def test_an_exercise_that_repeats_anothers_recipe_has_its_names(
    raw: dict[str, Any], site: Site
) -> None:
    """Whatever it is called, and however it is compared."""
    raw["again"] = copy.deepcopy(raw["schedules"])
    raw["again"]["variants"] = {"plain": {}, "cut": raw["schedules"]["variants"]["step"]}
    raw["again"]["compare"] |= {"baseline": "plain", "threshold": 50}
    again = replace(site, study=params.parse(raw))
    for variant, original in (("plain", "constant"), ("cut", "step")):
        ours = [run.names for run in again.runs("again", variant, "bf16")]
        assert ours == [run.names for run in site.runs("schedules", original, "bf16")]


def test_a_what_if_that_names_the_same_number_names_the_same_epochs(site: Site) -> None:
    same = site.study.model_copy(update={"lr": 0.1, "batch_size": 128})
    for variant in ("step", "cosine"):
        ours = replace(site, study=same).runs("schedules", variant, "bf16")
        assert [r.names for r in ours] == [r.names for r in site.runs("schedules", variant, "bf16")]


def test_no_two_epochs_of_the_study_have_one_name_but_those_that_are_alike(site: Site) -> None:
    """Equal names, equal rate, seed, epoch and everything else."""
    meanings: dict[str, set[str]] = {}
    count = 0
    for (exercise, variant), recipe in RECIPES.items():
        for run in site.runs(exercise, variant, "bf16"):
            rates = []
            for epoch, name in enumerate(run.names):
                rates.append(learning_rate(recipe.schedule, recipe.lr, epoch, recipe.epochs))
                fixed = recipe.model_dump(exclude=MEASURED)
                meanings.setdefault(name, set()).add(f"{run.seed} {rates} {fixed}")
                count += 1
    assert all(len(meaning) == 1 for meaning in meanings.values())
    # step's ten, and one each of exponential and cosine, per seed; no augmentation is others' none.
    assert count - len(meanings) == 5 * (10 + 1 + 1)
