"""params.yaml: what is right is read, what is wrong gives one sentence that names the key."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet_lab import params
from alexnet_lab.errors import UserError
from alexnet_lab.params.recipes import Cnn, Cosine, Jitter, Mlp, WarmupCosine
from alexnet_lab.params.study import Study, merge
from tests.conftest import json_of

ROOT = Path(__file__).parent.parent


def put(raw: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *path, last = (int(key) if key.isdecimal() else key for key in dotted.split("."))
    node: Any = raw
    for key in path:
        node = node[key]
    node[last] = value
    return raw


def test_the_originals_numbers_are_in_params(study: Study) -> None:
    warm = study.recipe("schedules", "warmup_cosine")
    assert (warm.lr, warm.batch_size, warm.epochs) == (0.1, 128, 50)
    assert warm.schedule == WarmupCosine(kind="warmup_cosine", warmup_epochs=5)
    strong = study.recipe("augmentation", "strong")
    assert Jitter(op="jitter", brightness=0.2, contrast=0.2, saturation=0.2) in strong.augment


def test_a_variant_is_its_difference_from_the_base(study: Study) -> None:
    without, with_bn = (study.recipe("batchnorm", v) for v in ("without_bn", "with_bn"))
    assert isinstance(with_bn.model, Cnn) and with_bn.model.batch_norm
    same = with_bn.model.model_copy(update={"batch_norm": False})
    assert with_bn.model_copy(update={"model": same}) == without
    assert isinstance(study.recipe("activation", "tanh").model, Mlp)


def test_another_kind_replaces_and_the_same_kind_merges() -> None:
    base = {"schedule": {"kind": "step", "every": 5, "gamma": 0.1}}
    assert merge(base, {"schedule": {"every": 2}})["schedule"]["gamma"] == 0.1
    assert merge(base, {"schedule": {"kind": "cosine"}}) == {"schedule": {"kind": "cosine"}}


def test_a_new_variant_needs_params_alone(raw: dict[str, Any]) -> None:
    study = params.parse(put(raw, "schedules.variants.short", {"schedule": {"kind": "cosine"}}))
    assert study.recipe("schedules", "short").schedule == Cosine(kind="cosine")


@pytest.mark.parametrize("value", [0.05, "5e-05"])  # DVC writes the second for 0.00005
def test_a_top_level_number_overrides_every_exercise(raw: dict[str, Any], value: Any) -> None:
    study = params.parse(put(put(raw, "lr", value), "epochs", 3))
    for name, exercise in study.exercises.items():
        for variant in exercise.variants:
            recipe = study.recipe(name, variant)
            assert (recipe.lr, recipe.epochs, recipe.batch_size) == (float(value), 3, 128)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("lrr", 3, ["unknown key 'lrr'", "lr, epochs, batch_size"]),
        ("schedules.train.lrr", 3, ["schedules.train", "'lrr'", "normalize, model"]),
        ("schedules.variants.warm", {"sched": 1}, ["schedules.variants.warm", "'sched'"]),
        ("schedules.variants.warm", {"schedule": {"kind": "warp"}}, ["kind", "'cosine'", "warp"]),
        ("schedules.variants.warm", {"schedule": {"kind": "step"}}, ["schedule.every", "required"]),
        ("schedules.variants.Warm!", {}, ["Warm!"]),
        ("schedules.variants.on", 5, ["schedules.variants", "'on'"]),
        ("schedules.compare.threshold", 140, ["schedules.compare.threshold", "less than 100"]),
        ("augmentation.variants.basic.augment.0.p", 2, ["augment[0].p", "less than or equal to 1"]),
        ("augmentation.variants.basic.augment.0.op", "zoom", ["augment[0].op", "'flip'", "zoom"]),
        ("augmentation.compare.panels", ["gaps"], ["panels[0]", "'gap'"]),
        (
            "batchnorm.compare",
            {
                "baseline": "with_bn",
                "last_epochs": 1,
                "margins": {"epochs_to_threshold": 1},
                "quantities": [],
                "panels": ["seconds"],
            },
            ["batchnorm.compare", "needs a threshold"],
        ),
        ("schedules.images", "CIFAR", ["schedules.images", "'CIFAR'"]),
        ("activation.compare.quantities", ["gaps"], ["quantities[0]", "'gap'"]),
        ("activation.compare.quantities", ["speed_up"], ["compare.quantities", "the benchmark's"]),
        ("activation.compare.margins", {"cpu_rate": 1}, ["compare.margins", "the benchmark's"]),
        ("activation.compare.margins", {"gap": 0}, ["compare.margins.gap", "greater than 0"]),
        ("activation.compare.quantities", ["gap", "gap"], ["quantities", "repeat"]),
        ("schedules.question", "Why?", ["schedules has the unknown key 'question'"]),
        ("augmentation.compare.last_epochs", 0, ["augmentation.compare.last_epochs", "not 0"]),
        ("data.held_back", -1, ["data.held_back", "greater than or equal to 0"]),
        ("augmentation.compare.baseline", "nine", ["augmentation", "'nine'", "compare.baseline"]),
        ("activation.variants.tanh.model.activation", "gelu", ["tanh.model.activation", "'relu'"]),
        ("activation.train.model.hidden", [0], ["activation.train.model.hidden[0]", "not 0"]),
        ("batchnorm.train.model.dropout", 1, ["dropout", "less than 1"]),
        ("batchnorm.train.model.convolutions.0.kernel", 4, ["kernel", "odd"]),
        ("epochs", 0, ["epochs", "not 0"]),
        ("batch_size", 2.5, ["batch_size", "2.5"]),
        ("lr", -1, ["lr", "greater than 0"]),
        ("lr", float("nan"), ["lr", "finite"]),
        ("lr", True, ["lr", "number"]),
        ("seeds", [], ["seeds should have at least one entry"]),
        ("data", None, ["data should be a valid mapping"]),
        ("seeds", 3, ["seeds", "list", "3"]),
        ("batchnorm.seeds", [1, 1], ["batchnorm.seeds", "repeat"]),
        ("threads", 0, ["threads", "not 0"]),
        ("precision", "fp23", ["precision should be 'auto', 'fp32' or 'bf16', not 'fp23'"]),
        ("schedules.train.precision", "half", ["schedules.train.precision", "'fp32' or 'bf16'"]),
        ("schedules.compare.quantities", ["acuracy"], ["quantities[0]", "final_accuracy"]),
        ("schedules.variants.step.schedule.kind", "stp", ["variants.step.schedule.kind", "'step'"]),
        ("schedules.train.schedule", {"kind": "step"}, ["schedules.train.schedule.every"]),
        ("lr", "x" * 5000, ["lr should be a valid number", "'xxx", "…"]),
        ("lrr" * 2000, 3, ["unknown key 'lrrlrr", "lr, epochs, batch_size"]),
        ("schedules.train." + "x" * 5000, 3, ["schedules.train has the unknown", "normalize, "]),
        ("schedules.variants." + "x" * 5000, 3, ["schedules.variants.xxx"]),
        ("schedules.variants." + "X" * 5000, {}, ["schedules.variants", "'XXX", "a-z, 0-9"]),
        ("activation.compare.baseline", "x" * 5000, ["activation", "xxx"]),
        ("activation.compare.against", {"tanh": "x" * 5000}, ["activation", "compare.against"]),
        ("data.source", "web", ["data.source", "'official' or 'sample'", "web"]),
        ("benchmark.batch_sizes", [32, 0], ["benchmark.batch_sizes[1]", "not 0"]),
        ("benchmark", None, ["benchmark"]),
    ],
)
def test_what_is_wrong_is_named_in_one_sentence(
    raw: dict[str, Any], key: str, value: Any, said: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        params.parse(put(raw, key, value))
    sentence = str(error.value)
    assert sentence.startswith("params.yaml") and "\n" not in sentence
    assert all(word in sentence for word in said), sentence
    assert len(sentence) <= 300


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("step_epochs.quantity", "zzz", ["schedules.claims.step_epochs.quantity should", "'zzz'"]),
        ("step_epochs.value", "often", ["schedules.claims.step_epochs.value should", "'often'"]),
        ("step_epochs.kind", "vale", ["schedules.claims.step_epochs.kind", "'value'", "'vale'"]),
        ("step_epochs.of", "stpe", ["schedules.claims.step_epochs", "'stpe'", "constant, step"]),
        ("step_epochs.off", "step", ["schedules.claims.step_epochs", "unknown key 'off'", "says"]),
        ("accuracy_order.order", ["step"], ["schedules.claims.accuracy_order.order"]),
        ("accuracy_order.order", ["step", "x" * 5000], ["schedules.claims.accuracy_order", "'xx"]),
        ("accuracy_order.quantity", "gaps", ["schedules.claims.accuracy_order.quantity", "gap"]),
        ("step_helps.than", ["constnat"], ["schedules.claims.step_helps", "'constnat'"]),
        ("step_helps.than", [], ["schedules.claims.step_helps.than", "at least one entry"]),
        ("x" * 5000, {"kind": "value"}, ["schedules.claims.xxx"]),
    ],
)
def test_what_is_wrong_in_claims_yaml_is_named_as_it_was_written(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: Any,
    said: list[str],
) -> None:
    topics = json.loads(json_of("claims.yaml"))
    sentence = refusal(study, put(topics, f"schedules.claims.{key}", value), tmp_path, monkeypatch)
    assert sentence.startswith("claims.yaml: schedules.claims.") and len(sentence) <= 300, sentence
    assert all(word in sentence for word in said), sentence


def refusal(study: Study, topics: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    Path("claims.yaml").write_text(yaml.safe_dump(topics), "utf-8")
    with pytest.raises(UserError) as error:
        params.load_claims(study, Path("claims.yaml"))
    return str(error.value)


def test_claims_on_a_variant_that_a_what_if_took_away_are_read(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last commit has it; what was never there is refused."""
    monkeypatch.chdir(ROOT)
    del raw["schedules"]["variants"]["step"]
    topics = params.load_claims(params.parse(raw), ROOT / "claims.yaml")
    assert "step_epochs" in topics["schedules"].claims
    topics_raw = yaml.safe_load((ROOT / "claims.yaml").read_text("utf-8"))
    sentence = refusal(params.parse(raw), topics_raw, tmp_path, monkeypatch)  # no git there
    assert "schedules.claims.accuracy_order names the variant 'step'" in sentence


def test_claims_on_batch_sizes_that_are_not_measured_are_read(raw: dict[str, Any]) -> None:
    raw["benchmark"]["batch_sizes"] = [1]
    assert params.load_claims(params.parse(raw), ROOT / "claims.yaml")["benchmark"].claims


@pytest.mark.parametrize("raw", [None, [], "lr: 1", {1: 2}, {}])
def test_a_file_that_is_no_study_is_named_too(raw: Any) -> None:
    with pytest.raises(UserError, match=r"^params\.yaml"):
        params.parse(raw)


@pytest.mark.parametrize(
    "text", ["lr: [1,\nx: }", "lr: 2026-02-30", f"lr: {'9' * 5000}", f"lr: {'[' * 5000}"]
)
def test_unreadable_yaml_is_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"params\.yaml cannot be read: [^\n]*$"):
        params.load(path)


# --- any mutation of the file is a valid study or one sentence ---

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(),
    st.dates(),
    st.binary(max_size=3),
    st.text(max_size=8),
    st.sampled_from(["5e-05", "1e400", "on", "0x10", "1_000", ".inf", "kind", "cosine", "sgd"]),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(-1, 3), max_size=2),
)
KEYS = st.one_of(
    st.sampled_from(["a.b", "on", "", "Warm", "kind", "lr", "train", "1", "__class__", "é", "x y"]),
    st.text(max_size=6),
    st.sampled_from([1, 0.5, True, None]),
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """params.yaml with one to three nodes replaced, removed, renamed or added."""
    study = json.loads(json_of("params.yaml"))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = study
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            inner = node[place]
            if not isinstance(inner, dict | list) or draw(st.integers(0, 3)) == 0:
                mutate(draw, node, place)
                break
            node = inner
    return study


def mutate(draw: st.DrawFn, node: Any, place: Any) -> None:
    how = draw(st.sampled_from(["replace", "remove", "rename", "add", "double"]))
    match how, node:
        case "remove", _:
            del node[place]
        case "rename", dict():
            node[draw(KEYS)] = node.pop(place)
        case "add", dict():
            node[draw(KEYS)] = draw(ODD)
        case "double", list():
            node.append(node[place])
        case _:
            node[place] = draw(ODD)


def valid_or_one_sentence(path: Path) -> bool:
    try:
        study = params.load(path)
    except UserError as error:
        sentence = str(error)
        assert str(path) in sentence and "\n" not in sentence, sentence
        assert len(sentence.replace(str(path), path.name)) <= 300, sentence
        assert not re.search(r"Traceback|pydantic|object at 0x|<class", sentence), sentence
        return False
    for name, exercise in study.exercises.items():
        for variant in exercise.variants:
            study.recipe(name, variant)
    return True


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_any_mutation_is_a_study_or_one_sentence(study: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        valid_or_one_sentence(path)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_broken_text_is_a_study_or_one_sentence(data: st.DataObject) -> None:
    content = (ROOT / "params.yaml").read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.integers(0, 3))
        content = content[:start] + data.draw(st.binary(max_size=3)) + content[end:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(content)
        valid_or_one_sentence(path)


@pytest.mark.parametrize("key", ["a.b", "on", "On", "x y", "1", "", 1, True, 0.5, None])
@pytest.mark.parametrize("place", ["exercise", "variant", "train"])
def test_a_key_that_dvc_could_not_name_is_refused(
    raw: dict[str, Any], key: Any, place: str
) -> None:
    one = raw["schedules"]
    node = {"exercise": raw, "variant": one["variants"], "train": one["train"]}[place]
    node[key] = one if place == "exercise" else {}
    with pytest.raises(UserError, match=re.escape(repr(key))) as error:
        params.parse(raw)
    assert "\n" not in str(error.value)


def with_overrides(folder: Path, *overrides: str) -> str:
    """params.yaml after `dvc exp run -S …`."""
    path = Path(shutil.copy(ROOT / "params.yaml", folder))
    apply_overrides(path, list(overrides))
    return path.read_text(encoding="utf-8")


def numbers(node: Any, path: str = "") -> Iterator[str]:
    """The keys of the file's numbers; an entry of a list has none that DVC can set."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from numbers(child, f"{path}.{key}" if path else key)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield path


def test_dvc_finds_params_yaml_in_its_own_layout_and_changes_one_line(tmp_path: Path) -> None:
    before = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert with_overrides(tmp_path, "threads=1") == before
    after = with_overrides(tmp_path, "batchnorm.train.model.dropout=0.1")
    changed = [
        two for two in zip(before.split("\n"), after.split("\n"), strict=True) if len({*two}) > 1
    ]
    assert changed == [("      dropout: 0.5", "      dropout: 0.1")]


def test_a_what_if_changes_its_own_key_and_no_other(raw: dict[str, Any], tmp_path: Path) -> None:
    """With anchors in the file, DVC changes several exercises, or none: every number is tried."""
    values = {key: 1000 + n for n, key in enumerate(numbers(raw))}
    assert len(values) > 100
    for key, value in values.items():
        put(raw, key, value)
    text = with_overrides(tmp_path, *(f"{key}={value}" for key, value in values.items()))
    assert yaml.safe_load(text) == raw


def test_every_what_if_of_claims_yaml_is_one(raw: dict[str, Any], study: Study) -> None:
    topics = params.load_claims(study, ROOT / "claims.yaml")
    what_ifs = {name: topic.what_if for name, topic in topics.items() if topic.what_if}
    assert {*what_ifs} == {"benchmark", *study.exercises}
    for what_if in what_ifs.values():
        key, value = what_if.split("=")
        changed = put(yaml.safe_load(yaml.safe_dump(raw)), key, yaml.safe_load(value))
        assert params.parse(changed) != study


@pytest.mark.parametrize(
    ("against", "sentence"),
    [
        ({"cosine": "stpe"}, "schedules has no variant 'stpe', which compare.against names"),
        ({"cosin": "step"}, "schedules has no variant 'cosin', which compare.against names"),
        ({"step": "step"}, "schedules should not name 'step' in compare.against"),
        ({"constant": "step"}, "schedules should not name 'constant' in compare.against"),
    ],
)
def test_a_wrong_comparison_is_one_sentence(
    raw: dict[str, Any], against: dict[str, str], sentence: str
) -> None:
    raw["schedules"]["compare"]["against"] = against
    with pytest.raises(UserError, match=re.escape(sentence)) as error:
        params.parse(raw)
    assert "\n" not in str(error.value)


def test_a_variant_is_compared_with_what_against_names_and_else_the_baseline(
    study: Study,
) -> None:
    arithmetic = study.exercise("arithmetic")
    assert arithmetic.compare.pairs(arithmetic.variants) == [
        ("none_fp32", "none_bf16"),
        ("constant_fp32", "constant_bf16"),
    ]
    rates = study.exercise("rates")
    assert rates.compare.pairs(["without_bn", "with_bn", "with_bn_0_1"]) == [
        ("with_bn", "without_bn"),
        ("with_bn_0_1", "without_bn_0_1"),
    ]
