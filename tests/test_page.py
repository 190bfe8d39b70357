"""The page stands alone: everything is inside it, and a real browser draws it."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from alexnet_lab.params.claims import Topic
from alexnet_lab.results.analysis import summarize
from alexnet_lab.results.figures import PALETTE
from alexnet_lab.results.page import benchmark_charts, main, page, training_charts
from alexnet_lab.results.report import report
from alexnet_lab.results.sections import training_section
from tests.test_analysis import run, runs_of, steps, two_variants

ROOT = Path(__file__).parent.parent
CURVES = two_variants()


@pytest.fixture
def content(tmp_path: Path) -> str:
    timing = CURVES[["variant", "seed", "epoch"]].assign(
        seconds=2.0, hardware="a CPU", precision="bf16", name=float("nan")
    )
    topic = Topic(question="Why <script>alert(1)</script>?", what_if="a=1")
    runs = runs_of(CURVES, timing)
    sections = [training_section(name, topic, runs) for name in ("activation", "schedules")]
    plt.figure().savefig(tmp_path / "x.png")
    picture = (tmp_path / "x.png").read_bytes()
    plt.close()
    charts = {name: training_charts(name, runs) for name in ("activation", "schedules")}
    pictures = dict.fromkeys([*charts, "overview"], picture)
    return page(report(sections, {}, {}, [], {}), pictures, charts)


def specs(content: str) -> dict[str, Any]:
    found = re.search(r"^const charts = (.*);$", content, re.MULTILINE)
    assert found
    charts: dict[str, Any] = json.loads(found[1].replace("<\\/", "</"))
    return charts


def test_the_page_holds_all_it_needs(content: str) -> None:
    body = content[: content.index("<script>")]
    assert not re.search(r'(src|href)="(?!data:)', body)
    assert body.count('src="data:image/png;base64,') == 3 and body.count(' alt="') == 3
    assert "&lt;script&gt;alert(1)" in body and "<script>alert" not in content
    assert len(content) < 5 * 2**20
    assert set(specs(content)) == {f"{n}-{i}" for n in ("activation", "schedules") for i in (0, 1)}
    for name in specs(content):
        assert f'<div id="{name}">' in body


def test_a_chart_shows_every_seed_and_says_its_values(content: str) -> None:
    accuracy = specs(content)["activation-0"]
    values = {
        (r["variant"], r["seed"], r["epoch"]): r["test_accuracy"]
        for r in accuracy["data"]["values"]
    }
    assert len(values) == 12 and values["fast", 1, 3] == 82
    thin, mean, points = accuracy["layer"]
    assert thin["encoding"]["detail"] == {"field": "seed"}
    assert mean["encoding"]["y"]["aggregate"] == "mean"
    assert [t["field"] for t in points["encoding"]["tooltip"]] == [
        "variant",
        "seed",
        "epoch",
        "test_accuracy",
    ]
    assert thin["params"][0]["bind"] == "legend"


def test_the_frame_for_dvc_plots_holds_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    frame = capsys.readouterr().out
    assert frame.count("{plot_divs}") == 1 and "{scripts}" not in frame
    assert "vegaEmbed" in frame and "cdn.jsdelivr" not in frame


def test_the_charts_of_dvc_plots_have_the_figures_colours() -> None:
    template = json.loads((ROOT / ".dvc/plots/seeds.json").read_text())
    assert template["encoding"]["color"]["scale"]["range"] == list(PALETTE)


def test_a_diverged_run_and_a_missing_device_are_drawn_as_nothing() -> None:
    lost = run("lost", 0, [10.0, 10.0]).assign(train_loss=[float("nan"), float("inf")])
    loss = training_charts("demo", runs_of(lost))[1]
    assert [row["train_loss"] for row in loss["data"]["values"]] == [None, None]
    json.dumps(loss, allow_nan=False)
    assert benchmark_charts(steps("gpu", 32, [None])) == []
    assert summarize(runs_of(lost))["lost"]["final_train_loss"] is None


# --- in a real browser ---

WATCH = """<script>
window.faults = [];
window.addEventListener("error", (e) => faults.push(e.message || "a resource failed"), true);
for (const kind of ["error", "warn"]) console[kind] = (...words) => faults.push(words.join(" "));
</script>"""
PROBE = """<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const send = (mark, kinds) => {
  const box = mark.getBoundingClientRect();
  const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
  for (const kind of kinds) {
    const Kind = kind.startsWith("pointer") ? PointerEvent : MouseEvent;
    mark.dispatchEvent(new Kind(kind, at));
  }
};
async function look(found) {
  await wait(1500);
  const chart = document.getElementById("activation-0");
  const lines = () => [...chart.querySelectorAll("svg .mark-line.role-mark path")];
  found.charts = document.querySelectorAll(".charts svg").length;
  found.lines = lines().length;
  const point = chart.querySelector("svg .mark-symbol.role-mark path");
  send(point, ["pointerover", "pointermove", "mousemove"]);
  await wait(300);
  found.tooltip = document.getElementById("vg-tooltip-element")?.innerText;
  const before = lines().map((line) => line.outerHTML);
  send(chart.querySelector("svg .role-legend-symbol path"), ["pointerdown", "pointerup", "click"]);
  await wait(300);
  found.dimmed = lines().filter((line, i) => line.outerHTML !== before[i]).length;
  const names = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.fetched = names.filter((name) => !name.startsWith("data:"));
  found.width = document.documentElement.scrollWidth;
  found.paper = getComputedStyle(document.body).backgroundColor;
}
const found = { faults: window.faults };
look(found).catch((error) => faults.push(String(error))).finally(() =>
  document.body.setAttribute("data-found", JSON.stringify(found)));
</script>"""
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def look(path: Path, *options: str) -> dict[str, Any]:
    """Open the page, hover, click, and tell what was there."""
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    words += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={path.parent}/profile"]
    command = [str(CHROMIUM), *words, *options, "--dump-dom", path.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', ran.stdout)
    assert found, ran.stderr[-2000:]
    answer: dict[str, Any] = json.loads(html.unescape(found[1]))
    return answer


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize(
    ("options", "width", "paper"),
    [
        (["--window-size=1200,900"], 1200, "rgb(255, 255, 255)"),
        (["--window-size=500,900"], 500, "rgb(255, 255, 255)"),
        (["--window-size=1200,900", "--force-dark-mode"], 1200, "rgb(22, 24, 27)"),
    ],
)
def test_a_browser_draws_it_answers_a_hover_and_fetches_nothing(
    content: str, tmp_path: Path, options: list[str], width: int, paper: str
) -> None:
    path = tmp_path / "report.html"
    head, title, rest = content.partition("<title>")
    body, end, nothing = rest.rpartition("</body>")
    path.write_text("".join((head, WATCH, title, body, PROBE, end, nothing)))
    found = look(path, *options)
    assert found["charts"] == 4 and found["lines"] == 6  # four seeds, two means
    assert re.search(
        r"variant\s*slow\s*seed\s*0\s*epoch\s*1\s*test accuracy \(%\)\s*50\.0000", found["tooltip"]
    )
    assert found["dimmed"] == 3  # the other variant's
    assert found["faults"] == [] and found["fetched"] == []
    assert found["width"] <= width  # nothing sticks out sideways
    assert found["paper"] == paper
