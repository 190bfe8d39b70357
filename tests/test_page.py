"""The page stands alone, says what was measured, and a real browser plays it."""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from math import isnan
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import vl_convert
from dvc_render.vega import VegaRenderer

from alexnet_lab import params
from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Effect, Order, Short, Topic, Value
from alexnet_lab.params.study import Data, Study
from alexnet_lab.results.analysis import summarize
from alexnet_lab.results.claims import VERDICTS
from alexnet_lab.results.explore import (
    benchmark_chart,
    changeable,
    charts,
    leaders,
    setting,
    share,
    training_chart,
)
from alexnet_lab.results.figures import PALETTE, after, training_figure
from alexnet_lab.results.finding import finding
from alexnet_lab.results.page import Content, _often, main, page, read_pictures
from alexnet_lab.results.report import remarks, report
from alexnet_lab.results.runs import read, read_csv
from alexnet_lab.results.sections import benchmark_section, training_section
from alexnet_lab.results.tables import summary_table
from alexnet_lab.results.throughput import read_benchmark
from tests.browser import CHROMIUM, Browser
from tests.conftest import ROOT
from tests.test_analysis import LAYERS, compare_of, run, runs_of, steps, two_variants

REPORT = ROOT / "plots/report.html"
MIB = 2**20


def claim(of: str, value: float) -> Value:
    text = f"{of} <{value}>"
    return Value(
        kind="value", says=text, place="2, output", quantity="final_accuracy", of=of, value=value
    )


ORDER = Order(
    kind="order",
    says="fast is best",
    place="2, insight",
    quantity="window_accuracy",
    order=("fast", "slow"),
)
TOPIC = Topic(
    question="Why <script>alert(1)</script>?",
    what_if="a=1",
    effect=Effect(of="fast", less="slow", ask="By how much?", cuts=(1, 5)),
    names={"fast": "Speed"},
    claims={"fast": claim("fast", 80.5), "slow": claim("slow", 20), "order": ORDER},
)


@pytest.fixture
def content(study: Study, tmp_path: Path) -> Content:
    plt.figure().savefig(tmp_path / "x.png")
    picture = (tmp_path / "x.png").read_bytes()
    plt.close()
    runs = runs_of(two_variants())
    names = ("activation", "schedules")
    sections = [training_section(name, TOPIC, runs) for name in names]
    drawn = {name: training_chart(runs, TOPIC) for name in names}
    return Content(
        study, dict.fromkeys(names, TOPIC), sections, drawn, dict.fromkeys(names, picture)
    )


def data_of(html: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html)
    assert found
    return json.loads(found[1].replace("<\\/", "</"))


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


# --- it stands alone ---


def test_the_page_holds_all_it_needs(content: Content) -> None:
    html = page(content)
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    assert set(re.findall(r"\w+://[\w./]+", html)) == {"http://www.w3.org/2000/svg"}  # a name
    assert "default-src 'none'" in html
    assert html.count('src="data:image/png;base64,') == html.count(' alt="') == 2
    assert "&lt;script&gt;alert(1)" in html and "<script>alert" not in html


def test_the_committed_page_is_small() -> None:
    assert REPORT.stat().st_size <= 4 * MIB


def test_a_picture_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.png cannot be read; `dvc repro` makes it"):
        read_pictures(tmp_path, "![x](plots/a.png)")


def test_the_frame_for_dvc_plots_holds_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    frame = capsys.readouterr().out
    assert frame.count("{plot_divs}") == 1 and "{scripts}" not in frame
    assert "vegaEmbed" in frame and "cdn.jsdelivr" not in frame


# --- what it says is what was measured ---


def test_every_number_of_every_curve_is_that_of_the_rows() -> None:
    drawn = data_of(REPORT.read_text())["charts"]
    checked = 0
    for name, chart in drawn.items():
        for quantity in {"test_accuracy", "test_loss", "lr", "gradient_norm"} & {*chart["values"]}:
            for variant, rows in chart["values"][quantity].items():
                curve = pd.read_csv(ROOT / f"metrics/runs/{name}/{variant}.csv")
                wide = curve.pivot(index="seed", columns="epoch", values=quantity)
                whole = wide.reindex(columns=chart["x"])  # others may be longer
                assert whole.notna().to_numpy().sum() == len(curve)
                numbers = [[float(f"{v:.5g}") for v in row] for row in whole.to_numpy()]
                assert rows == [[None if isnan(v) else v for v in row] for row in numbers]
                checked += 1
    assert checked > 100


def test_every_claim_is_a_tile_with_its_verdict_and_our_number() -> None:
    """Those of the committed page against metrics/claims.json."""
    html = REPORT.read_text()
    ledger = json.loads((ROOT / "metrics/claims.json").read_text())
    tiles = re.findall(r'<details class="tile.*?</details>', html, re.DOTALL)
    assert len(tiles) == len(ledger)
    for tile, entry in zip(tiles, ledger.values(), strict=True):
        assert f'data-verdict="{entry["verdict"]}"' in tile
        text = text_of(tile)
        assert text.startswith(
            f"{VERDICTS[entry['verdict']][0]} {entry['verdict']} {entry['says']}"
        )
        assert f"In the text: {entry['place']}." in text
        told = re.search(r"Ours: (-?[\d.e+-]+)×?(?: \((\S+) to (\S+)\))?.* n = (\d+)\.", text)
        if entry["measured"] is not None:
            assert told and int(told[4]) == entry["n"]
            ours = [float(number) for number in told.groups()[:3] if number]
            written = [entry[key] for key in ("measured", "low", "high")][: len(ours)]
            assert ours == pytest.approx(written, rel=1e-3)


def test_a_tile_has_our_runs_beside_the_texts_number(content: Content) -> None:
    tile = page(content).split('<details class="tile')[1]
    front, back = tile.split("</summary>")
    assert "incompatible" in front or "compatible" in front
    assert "fast &lt;80.5&gt;" in front
    assert back.count('<i class="dot"') == 2 and back.count('<i class="text"') == 1
    assert "Ours: 81 (" in text_of(back) and "n = 2" in back and "2, output" in back
    assert "dvc repro activation@fast" in back


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ((80.0, 82.0), {"fast": [80, 82], "slow": [71, 69]}),
        ((1, 2, 3), {"c": [3, 1, 2], "b": [2, 2, 2.5], "a": [1, 2.2, 9]}),
    ],
)
def test_the_share_of_draws_in_the_texts_order(
    text: tuple[float, ...], runs: dict[str, list[float]]
) -> None:
    draws = list(itertools.product(*runs.values()))
    in_order = [all(a > b for a, b in itertools.pairwise(draw)) for draw in draws]
    assert share(runs) == pytest.approx(sum(in_order) / len(draws))
    assert share({f"{n}": [-n] * 20 for n in range(20)}) == 1  # too many to try


def test_the_text_can_be_played_only_if_all_its_variants_have_ended() -> None:
    chart = training_chart(runs_of(two_variants()), TOPIC)["draw"]
    assert chart == {
        "order": ["fast", "slow"],
        "values": {"fast": [80, 82], "slow": [71, 69]},
        "share": 1,
    }
    assert training_chart(runs_of(two_variants()), Topic())["draw"] is None
    other = Topic(claims={"a": claim("fast", 1), "b": claim("gone", 2)})
    assert training_chart(runs_of(two_variants()), other)["draw"] is None


def test_who_leads_is_told_by_epoch() -> None:
    curves = pd.concat([run("early", 0, [70.0, 71, 72]), run("late", 0, [60.0, 72, 80])])
    assert leaders(training_chart(runs_of(curves), Topic())) == [("early", 1, 1), ("late", 2, 3)]


def test_a_diverged_run_and_a_missing_device_are_drawn_as_nothing() -> None:
    lost = run("lost", 0, [10.0, 10.0]).assign(train_loss=[float("nan"), float("inf")])
    chart = training_chart(runs_of(lost), Topic())
    assert "train_loss" not in chart["values"] or chart["values"]["train_loss"]["lost"] == [
        [None, None]
    ]
    json.dumps(chart, allow_nan=False)
    assert benchmark_chart(steps("gpu", 32, [None])) == {}
    assert summarize(runs_of(lost))["lost"]["final_train_loss"] is None


def test_a_guess_is_right_by_the_numbers(content: Content) -> None:
    """We measured 11 points, which are more than 5."""
    guess = page(content).split('<div class="guess">')[1].split("</div>")[0]
    options = re.findall(r"<summary>(.*?)</summary><p>(.)", guess)
    assert options == [("less than 1", "✗"), ("1 to 5", "✗"), ("more than 5", "✓")]


def test_the_setting_is_that_of_params(study: Study) -> None:
    assert setting(study, "activation") == (
        "MNIST; MLP 512-256-128; activation by variant; Adam; rate 0.001; schedule constant; "
        "no augmentation; batches of 128; 5 epochs; 10 seeds"
    )
    faster = study.model_copy(update={"lr": 0.5, "seeds": (3,)})
    assert "rate 0.5; schedule by variant" in setting(faster, "schedules")
    assert setting(faster, "schedules").endswith("; 1 seed")
    steps = setting(study, "modern")
    for facet in ("weight decay", "label smoothing", "residual connections", "augmentation"):
        assert f"{facet} by variant" in steps
    assert "padded poolings" in setting(study, "repair")
    assert "precision by variant" in setting(study, "arithmetic")
    assert "augmented by flip 0.5;" in setting(study, "batchnorm")


def test_a_variant_has_one_colour_in_an_exercise_and_its_control() -> None:
    drawn = data_of(REPORT.read_text())["charts"]
    main, control = drawn["schedules"]["colours"], drawn["low_rate"]["colours"]
    assert {*control} <= {*main} and all(main[name] == control[name] for name in control)
    assert after(["a", "b"], ["b", "c"]) == ["a", "b", "c"] and after(["a"], ["b"]) == ["b"]


def test_an_answer_in_short_is_said_only_while_its_verdicts_hold(study: Study) -> None:
    runs = runs_of(two_variants())
    open_ = {"says": "Perhaps", "compared": {"window_accuracy": {"fast": "undecided"}}}
    for short, said in (
        (open_, "Perhaps. "),
        (open_ | {"compared": {"window_accuracy": {"fast": "better"}}}, ""),
        (open_ | {"claims": {"order": "undecided"}}, "Perhaps. "),
        (open_ | {"claims": {"order": "confirmed"}}, ""),
        (open_ | {"compared": {"window_accuracy": {"gone": "undecided"}}}, ""),
    ):
        topic = TOPIC.model_copy(update={"short": Short.model_validate(short)})
        section = training_section("activation", topic, runs)
        assert section.headline == f"{said}{section.finding}."
        assert training_section("activation", topic, runs, in_short=False).short == ""
        assert f"**{section.headline}** " in report(study, [section], {}, [])


def test_what_can_be_changed_exists_and_reaches_every_variant(
    study: Study, raw: dict[str, Any]
) -> None:
    for exercise, keys in changeable(study).items():
        alike = {recipe.epochs for recipe in study.exercise(exercise).variants.values()}
        assert ("train.epochs" in keys) == (len(alike) == 1) and "seeds" in keys
        for key, value in keys.items():
            found: Any = raw[exercise]
            for part in key.split("."):
                found = found[part]
            assert found == value, (exercise, key)
    assert "train.model.activation" not in changeable(study)["activation"]
    assert "train.lr" not in changeable(study)["rates"]
    what_if = changeable(study.model_copy(update={"epochs": 1, "seeds": (0,)}))
    assert what_if["schedules"].keys().isdisjoint({"train.epochs", "seeds"})


def test_on_the_sample_nothing_is_said_of_the_text(content: Content) -> None:
    sample = content.study.model_copy(update={"data": Data(source="sample", held_back=0)})
    html = page(Content(sample, content.topics, content.sections, content.charts, content.pictures))
    assert "on the sample in git" in html and "The text’s claims" not in html
    assert 'class="tile' not in html and "give that order" not in html
    assert data_of(page(content))["charts"]["activation"]["draw"]
    assert not any(chart["draw"] for chart in data_of(html)["charts"].values())
    assert content.sections[0].finding in html


def test_a_what_if_is_not_counted_for_or_against_the_text(content: Content) -> None:
    assert "The text’s directions hold" in page(content)
    what_if = replace(content, study=content.study.model_copy(update={"lr": 0.5}))
    assert "The text’s directions hold" not in page(what_if)


@pytest.mark.parametrize(
    ("good", "word"),
    [(17, "more often than not"), (14, "about half the time"), (10, "less often than not")],
)
def test_the_answer_says_how_often_in_words_that_fit(good: int, word: str) -> None:
    assert _often(["confirmed"] * good + ["undecided"] * (28 - good), "confirmed") == word


def test_an_effect_is_about_variants_that_exist(study: Study) -> None:
    for name, topic in params.load_claims(study, ROOT / "claims.yaml").items():
        if topic.effect and name in study.exercises:
            variants = study.exercise(name).variants
            assert {topic.effect.of, topic.effect.less} | {*topic.names} <= {*variants}


# --- the finding, in figures and on the page ---


def of(**accuracies: list[list[float]]) -> pd.DataFrame:
    """One row of seeds per variant, each with its accuracies by epoch."""
    return pd.concat(
        [run(v, seed, line) for v, lines in accuracies.items() for seed, line in enumerate(lines)],
        ignore_index=True,
    )


SLOW = [[50.0, 60.0], [50.2, 60.2], [50.0, 60.1]]
FAST = [[60.0, 70.0], [60.2, 70.0], [60.1, 70.1]]
WILD = [[40.0, 80.0], [60.0, 60.0], [45.0, 45.0]]


@pytest.mark.parametrize(
    ("accuracies", "sentence"),
    [
        ({"slow": SLOW, "fast": FAST}, "Speed adds 10.0 points"),
        ({"slow": FAST, "fast": SLOW}, "Slow is above Speed, by 10.0 points"),
        ({"slow": SLOW, "fast": WILD}, "Speed is not told apart from slow"),
        (
            {"slow": SLOW, "fast": FAST, "other": SLOW},
            "Speed adds 10.0 points; other makes no difference that matters, against slow",
        ),
        (
            {"slow": SLOW, "a": FAST, "b": FAST, "c": FAST},
            "Slow is 10.0 points below all others",
        ),
        (
            {"slow": SLOW[:1], "fast": FAST[:1]},
            "Highest test accuracy: Speed, 65.0 %; one run each, so no verdict",
        ),
        ({"slow": SLOW}, "Highest test accuracy: slow, 55.1 %"),
    ],
)
def test_the_finding_is_a_sentence_of_the_numbers(
    accuracies: dict[str, list[list[float]]], sentence: str
) -> None:
    curves = of(**accuracies)
    compare = compare_of(margins={"window_accuracy": 0.5})
    assert finding(runs_of(curves, compare=compare), TOPIC) == sentence


def test_the_finding_of_a_staircase_has_every_step() -> None:
    compare = compare_of(margins={"window_accuracy": 0.5}, against={"wild": "fast"})
    runs = runs_of(of(slow=SLOW, fast=FAST, wild=WILD), compare=compare)
    assert finding(runs, Topic(names={"fast": "speed"})) == (
        "Points of accuracy, each against its own baseline: "
        "+10.0 with speed, −10.1 (undecided) with wild"
    )


def test_the_finding_is_about_what_is_compared() -> None:
    compare = compare_of(margins={"best_accuracy": 0.5})
    runs = runs_of(of(slow=SLOW, fast=[[50.0, 70.0], [50.0, 70.2], [50.0, 70.1]]), compare=compare)
    text = "Best accuracy (%), against slow: +10.00 with fast"
    assert finding(runs, Topic()) == text


def test_a_figure_is_titled_by_its_finding() -> None:
    compare = compare_of(margins={"window_accuracy": 0.5}, panels=("test_loss", "test_accuracy"))
    runs = runs_of(two_variants(), compare=compare)
    (legend,) = training_figure(runs, topic=TOPIC).legends
    assert legend.get_title().get_text() == finding(runs, TOPIC)


def test_a_threshold_that_nobody_reaches_has_no_panel_and_no_column() -> None:
    for threshold, shown in ((99, False), (81, True)):
        compare = compare_of(threshold=threshold, panels=("test_loss", "epochs_to_threshold"))
        runs = runs_of(two_variants(), compare=compare)
        titles = [axis.get_title(loc="left") for axis in training_figure(runs).axes]
        assert any("Epochs to" in title for title in titles) == shown
        columns = summary_table(summarize(runs), compare).columns
        assert any("reaching" in name or "epochs to" in name for name in columns) == shown


# --- colours ---


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def papers() -> list[dict[str, str]]:
    """The page's colours, by name, in the light and in the dark."""
    blocks = re.findall(
        r":root \{(.*?)\}", (ROOT / "src/alexnet_lab/results/page.css").read_text(), re.DOTALL
    )
    assert len(blocks) == 2
    return [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks]


def test_every_colour_is_seen_on_both_papers() -> None:
    for paper in papers():
        for colour in (*PALETTE, paper["ours"]):
            assert contrast(colour, paper["paper"]) >= 3, colour
        for name in ("ink", "soft", "good", "bad", "part", "open", "link"):
            for ground in ("paper", "tint"):
                assert contrast(paper[name], paper[ground]) >= 4.5, (name, ground)


def test_the_charts_of_dvc_plots_have_the_figures_colours() -> None:
    template = json.loads((ROOT / ".dvc/plots/seeds.json").read_text())
    assert template["encoding"]["color"]["scale"]["range"] == list(PALETTE)


def test_the_charts_of_dvc_plots_have_their_exercises_finding_as_title() -> None:
    frame = pd.read_csv(ROOT / "metrics/curves/activation.csv", nrows=8, keep_default_na=False)
    title = frame["title"][0]
    assert len(title) > 20 and title in unescape(REPORT.read_text())
    for rows, drawn in ((frame, title), (frame.drop(columns="title"), "activation")):
        renderer = VegaRenderer(
            rows.assign(rev="workspace").to_dict("records"),
            "activation",
            template=str(ROOT / ".dvc/plots/seeds.json"),
            title="activation",
            x="epoch",
            y="test_accuracy",
        )
        picture = vl_convert.vegalite_to_svg(renderer.get_filled_template())
        assert f">{drawn}</text>" in unescape(picture)


# --- in a real browser ---

in_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
]
WIDTHS = (390, 820, 1280)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's page, by the code as it is."""
    study = params.load(ROOT / "params.yaml")
    topics = params.load_claims(study, ROOT / "claims.yaml")
    at = ROOT / "metrics"
    runs = {n: read(e, at / "runs" / n, at / "timing" / n) for n, e in study.exercises.items()}
    timing = read_benchmark(at / "timing/benchmark", study.benchmark.variants)
    sections = [benchmark_section(topics["benchmark"], timing, read_csv(at / "layers.csv"))]
    sections += [training_section(name, topics[name], each) for name, each in runs.items()]
    text = report(study, sections, topics, remarks(study, topics))
    pictures = read_pictures(ROOT / "plots", text)
    file = tmp_path_factory.mktemp("page") / "report.html"
    drawn = charts(runs, topics, timing)
    file.write_text(page(Content(study, topics, sections, drawn, pictures)))
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


FADED = (
    "[...document.querySelectorAll('{} .plot')].map((p) => p.querySelectorAll('g.faded').length)"
)
MAIN = "#schedules > .explore"  # without its control
LIVE = "document.getElementById('live').textContent"


class TestInABrowser:
    """What a reader does with the page."""

    pytestmark = in_browser

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", WIDTHS)
    def test_it_opens_without_a_fault_or_a_network_and_fits(
        self, browser: Browser, path: Path, width: int, dark: bool
    ) -> None:
        browser.open(path, width, dark)
        assert browser.faults == []
        assert [url for url in browser.fetched if not url.startswith("data:")] == [path.as_uri()]
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert browser.run("document.documentElement.scrollWidth") == width
        wide = (
            "[...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() &&"
            f" e.getBoundingClientRect().right > {width} + 1).map((e) => e.outerHTML.slice(0, 99))"
        )
        assert browser.run(wide) == []
        paper = papers()[dark]["paper"]
        red, green, blue = (int(paper[i : i + 2], 16) for i in (1, 3, 5))
        ground = "getComputedStyle(document.body).backgroundColor"
        assert browser.run(ground) == f"rgb({red}, {green}, {blue})"
        shade = "getComputedStyle(document.querySelector('.figure img')).filter"
        assert (browser.run(shade) != "none") == dark  # no white slab

    def test_one_seed_a_lost_run_and_nothing_timed_make_no_fault(
        self, browser: Browser, study: Study, tmp_path: Path
    ) -> None:
        lost = run("lost", 0, [10.0, 10.0]).assign(train_loss=[1.0, float("nan")])
        runs = runs_of(pd.concat([run("slow", 0, [30.0, 40.0]), lost]))
        untimed = steps("cpu", 32, [None])
        sections = [
            benchmark_section(Topic(), untimed, LAYERS),
            training_section("activation", TOPIC, runs),
        ]
        drawn = charts({"activation": runs}, {"activation": TOPIC}, untimed)
        html = page(Content(study, {}, sections, drawn, {}))
        assert "undefined" not in text_of(html.split("<script")[1]) and ">nan" not in html
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        browser.open(file)
        assert browser.faults == []
        assert browser.run("document.querySelectorAll('.plot svg').length") == 2
        assert "NaN" not in browser.run("document.querySelector('.charts').outerHTML")

    def test_on_paper_everything_is_open_and_nothing_is_a_control(
        self, browser: Browser, path: Path
    ) -> None:
        browser.open(path, dark=True, paper="print")
        assert (
            browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        )
        shown = "[...document.querySelectorAll('{}')].filter((e) => e.offsetHeight > 0).length"
        for controls in (".explore", ".wall-tools", "button", "nav"):
            assert browser.run(shown.format(controls)) == 0, controls
        assert browser.run(shown.format(".tile .back")) == browser.run(shown.format(".tile"))
        assert browser.run(shown.format("table")) > 10

    def test_without_a_script_the_answers_and_the_verdicts_stand_there(
        self, browser: Browser, path: Path
    ) -> None:
        browser.open(path, script=False)
        seen = "[...document.querySelectorAll('{}')].filter((e) => e.checkVisibility()).length"
        exercises = len(params.load(ROOT / "params.yaml").exercises) + 1  # and the benchmark
        assert browser.run(seen.format("section > .answer")) == exercises
        assert browser.run(seen.format(".tile .verdict")) == len(
            json.loads((ROOT / "metrics/claims.json").read_text())
        )
        assert browser.run(seen.format(".pictures .figure img")) == exercises
        assert browser.run(seen.format(".js-only, button")) == 0
        browser.click(".guess details:nth-of-type(2) summary")
        assert browser.run("document.querySelector('.guess details[open] p').textContent")

    def test_a_variant_is_isolated_by_a_click_in_all_charts_of_its_exercise(
        self, browser: Browser, path: Path
    ) -> None:
        browser.open(path)
        browser.click("#schedules [data-variant=cosine]")
        assert browser.run(FADED.format(MAIN)) == [4, 4]
        assert browser.run(FADED.format("#augmentation > .explore")) == [0, 0]
        assert browser.run(LIVE).startswith("Only cosine is shown")
        browser.click("#schedules .show-all")
        assert browser.run(FADED.format(MAIN)) == [0, 0]
        assert browser.run(LIVE) == "All variants are shown."

    def test_and_by_the_keyboard(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        button = "document.querySelector('#schedules [data-variant=step]')"
        browser.run(f"{button}.focus()")
        browser.press("Enter")
        assert browser.run(FADED.format(MAIN)) == [4, 4]
        assert browser.run(f"{button}.getAttribute('aria-pressed')") == "true"
        assert browser.run(f"getComputedStyle({button}).outlineStyle") == "solid"
        browser.press("Escape")
        assert browser.run(FADED.format(MAIN)) == [0, 0]

    def test_and_by_a_click_on_its_line(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        browser.run("document.querySelector('#schedules .plot').scrollIntoView({block: 'center'})")
        x, y = browser.run(
            "(() => { const g = document.querySelector('#schedules g[data-variant=constant]');"
            " const b = g.querySelector('.line').getBoundingClientRect();"
            " return [b.right - 2, b.bottom - 2]; })()"
        )
        browser.mouse("mousePressed", x, y)
        browser.mouse("mouseReleased", x, y)
        assert browser.run(LIVE).startswith("Only constant is shown")

    def test_the_rule_tells_every_variant_at_an_epoch(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        browser.run("document.querySelector('#schedules .plot').focus()")
        browser.press("Home")
        browser.press("ArrowRight")
        told = browser.run("document.querySelector('#schedules .readout').textContent")
        assert "epoch 2:" in told
        for variant in params.load(ROOT / "params.yaml").exercise("schedules").variants:
            rows = pd.read_csv(ROOT / f"metrics/runs/schedules/{variant}.csv")
            mean = rows[rows["epoch"] == 2]["test_accuracy"].mean()
            assert f"{variant} {mean:.4g}" in told
        assert browser.run(LIVE) == told
        lines = f"document.querySelectorAll('{MAIN} .plot .rule').length"
        assert browser.run(lines) == 2

    def test_a_quantity_is_chosen(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        options = browser.run(
            "[...document.querySelector('#activation select').options].map((o) => o.value)"
        )
        assert {"test_accuracy", "train_loss", "test_loss", "gradient_norm", "lr"} <= {*options}
        browser.run(
            "(() => { const s = document.querySelector('#activation select');"
            " s.value = 'test_loss'; s.dispatchEvent(new Event('change')); })()"
        )
        plot = "document.querySelector('#activation .plot')"
        assert browser.run(f"{plot}.ariaLabel") == "test loss (nats) by epoch"
        assert browser.run(f"{plot}.ariaValueText").startswith("epoch 5: relu 0.0")

    def test_stopping_earlier_ranks_the_variants_anew(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        rows = f"document.querySelectorAll('{MAIN} .stop-at li')"
        ranking = f"[...{rows}].map((row) => row.dataset.variant)"
        at_end = browser.run(ranking)
        browser.run(f"document.querySelector('{MAIN} .stop-at input').focus()")
        browser.press("Home")
        at_start = browser.run(ranking)
        for order, epoch in ((at_start, 1), (at_end, 50)):
            means = {}
            for variant in order:
                rows = pd.read_csv(ROOT / f"metrics/runs/schedules/{variant}.csv")
                means[variant] = rows[rows["epoch"] == epoch]["test_accuracy"].mean()
            assert order == sorted(means, key=lambda v: -means[v])
        assert at_start[0] != at_end[0]
        assert browser.run(LIVE).startswith(f"After epoch 1: {at_start[0]}")
        lines = f"document.querySelectorAll('{MAIN} .plot .stop').length"
        assert browser.run(lines) == 2

    def test_one_draws_as_the_text_did(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        for times in range(1, 4):
            browser.click("#activation .be-the-text button")
            told = browser.run("document.querySelector('#activation .told').textContent")
            assert re.search(rf"So far \d of {times}; of all draws \d+\.\d %", told)
        rows = browser.run(
            "[...document.querySelectorAll('#activation .be-the-text li')]"
            ".map((l) => [l.dataset.variant, l.lastChild.textContent])"
        )
        assert [row[0] for row in sorted(rows, key=lambda r: -float(r[1]))] == [r[0] for r in rows]
        for variant, value in rows:
            curve = pd.read_csv(ROOT / f"metrics/runs/activation/{variant}.csv")
            assert float(value) in set(curve[curve["epoch"] == 5]["test_accuracy"])
        drawn = {variant: float(value) for variant, value in rows}
        same = drawn["relu"] > drawn["tanh"] > drawn["sigmoid"]  # two may be equal
        assert told.startswith("The text’s order." if same else "Another order")

    def test_the_wall_is_filtered_sorted_and_turned(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        ledger = json.loads((ROOT / "metrics/claims.json").read_text()).values()
        tiles = (
            "[...document.querySelectorAll('.tile')].filter((t) => t.checkVisibility())"
            ".map((t) => [t.dataset.exercise, t.dataset.verdict])"
        )

        def choose(key: str, value: str) -> list[list[str]]:
            browser.run(
                f"(() => {{ const s = document.querySelector('[data-choose={key}]');"
                f" s.value = '{value}'; s.dispatchEvent(new Event('change')); }})()"
            )
            found: list[list[str]] = browser.run(tiles)
            return found

        wrong = [c for c in ledger if c["verdict"] == "contradicted"]
        assert len(choose("verdict", "contradicted")) == len(wrong) > 0
        assert browser.run(LIVE) == f"{len(wrong)} of {len(ledger)} claims"
        both = [c for c in wrong if c["exercise"] == "augmentation"]
        assert choose("exercise", "augmentation") == [["augmentation", "contradicted"]] * len(both)
        choose("verdict", "")
        choose("exercise", "")
        verdicts = [verdict for _, verdict in choose("sort", "verdict")]
        assert len([*itertools.groupby(verdicts)]) == len({*verdicts})
        browser.run("document.querySelector('.tile[data-exercise=activation] summary').focus()")
        browser.press("Enter")
        back = browser.run("document.querySelector('.tile[open] .back').textContent")
        assert "n = 10" in back and "dvc repro" in back and "In the text" in back

    def test_an_exercise_leads_to_its_claims(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        browser.click("#dropout [data-filter=dropout]")
        shown = "document.querySelectorAll('.tile:not([hidden])').length"
        assert browser.run(shown) == 1

    def test_a_what_if_is_written_for_you(self, browser: Browser, path: Path) -> None:
        browser.open(path)

        def put(name: str, value: str, kind: str) -> None:
            browser.run(
                f"(() => {{ const e = document.getElementById('wi-{name}');"
                f" e.value = {value!r}; e.dispatchEvent(new Event('{kind}')); }})()"
            )

        put("exercise", "schedules", "change")
        put("key", "train.lr", "change")
        put("value", "0.05", "input")
        command = "document.getElementById('wi-command').textContent"
        assert browser.run(command) == "dvc exp run -S 'schedules.train.lr=0.05' compare@schedules"
        put("value", "fast", "input")
        assert browser.run(command) == ""
        fault = "document.querySelector('.what-if-box [role=alert]').textContent"
        assert browser.run(fault) == "A number is expected here."
        copy = "document.querySelector('#wi-command + button').checkVisibility()"
        assert not browser.run(copy)
        put("key", "seeds", "change")
        put("value", "[0 1 2]", "input")
        assert browser.run(command) == ""
        put("value", "[0, 1, 2]", "input")
        assert browser.run(command) == (
            "dvc exp run -S 'schedules.seeds=[0, 1, 2]' compare@schedules"
        )
        assert browser.run(copy)
        put("key", "train.model.batch_norm", "change")
        put("value", "maybe", "input")
        assert browser.run(command) == "" and "true or false" in browser.run(fault)

    def test_a_class_guesses_before_it_sees(self, browser: Browser, path: Path) -> None:
        browser.open(path)
        browser.click("#class-mode")
        answer = "getComputedStyle(document.querySelector('#activation > .answer')).visibility"
        verdict = "getComputedStyle(document.querySelector('.tile .verdict')).visibility"
        assert browser.run(answer) == browser.run(verdict) == "hidden"
        for leak in (
            ".card .spark",
            "#schedules > .figure",
            "#activation > .pictures",
            ".tells",
        ):
            seen = f"getComputedStyle(document.querySelector('{leak}')).visibility"
            assert browser.run(seen) == "hidden", leak
        browser.click("#activation .guess summary")
        assert browser.run(answer) == "visible"
        browser.click(".tile summary")
        assert browser.run(verdict) == "visible"
