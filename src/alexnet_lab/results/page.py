"""plots/report.html: the study as one file that opens anywhere, with curves to explore.

What must be readable without a script is HTML, written here; page.js adds the curves, the filters
and the games from the JSON that explore.py makes. Nothing is fetched, and a policy in page.html
forbids it.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template

import vl_convert
from markdown_it import MarkdownIt
from PIL import Image

from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Below, Difference, More, Order, Ratio, Value
from alexnet_lab.params.study import Study
from alexnet_lab.results import claims
from alexnet_lab.results.claims import Ledger
from alexnet_lab.results.effects import effects, guess
from alexnet_lab.results.explore import Chart, changeable, leaders, means, setting
from alexnet_lab.results.pieces import spark, table_html
from alexnet_lab.results.report import PICTURES, all_claims, controls, made_of, remarks
from alexnet_lab.results.sections import Section
from alexnet_lab.results.wall import by_colour, template, wall

PICTURE = r"\(plots/(\w+)\.png\)"  # in the report


@dataclass(frozen=True)
class Content:
    """All that the page shows; charts and pictures (PNG) are by exercise or name."""

    study: Study
    sections: Sequence[Section]
    takeaways: Ledger
    charts: Mapping[str, Chart]
    pictures: Mapping[str, bytes]

    @property
    def of_the_text(self) -> bool:
        """Whether the text's claims are shown: not beside runs on the sample."""
        return self.study.data.source == "official"

    @property
    def mains(self) -> list[Section]:
        """The exercises without their controls; a benchmark without a speed-up stands last."""
        found = [section for section in self.sections if not section.topic.under]
        return sorted(found, key=lambda s: s.name == "benchmark" and "speed_up" not in s.measured)

    @property
    def ledger(self) -> Ledger:
        """Every claim by its id."""
        return all_claims([*self.sections], self.takeaways)


def page(content: Content) -> str:
    """The whole page as HTML."""
    mains, made = content.mains, made_of(content.study)
    data = {"charts": content.charts, "changeable": changeable(content.study)}
    tiles = [wall(content.sections, content.ledger)] if content.of_the_text else []
    return Template(template("page.html")).substitute(
        style=template("page.css"),
        script=template("page.js").replace("</script", "<\\/script"),
        data=json.dumps(data, allow_nan=False).replace("</", "<\\/"),
        banner="".join(
            f"<p class='banner'>{escape(remark)}</p>" for remark in remarks(content.study)
        ),
        answer=_answer(content),
        key='<i class="text"></i> the text, one run &ensp; ' if tiles else "",
        effects=effects(mains, content.of_the_text),
        cards="".join(_card(section, content.charts[section.name]) for section in mains),
        contents="".join(_link(section, content) for section in mains)
        + ('<li><a href="#claims">The text’s claims</a></li>' if tiles else ""),
        exercises="".join(_exercise(section, content) for section in mains),
        wall="".join(tiles),
        what_if=escape(next((s.topic.what_if for s in mains if s.topic.what_if), "lr=0.05")),
        made_of="".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in made.items()),
    )


def _answer(content: Content) -> str:
    """The answer to the whole study in one sentence: how many directions and numbers hold."""
    if not content.of_the_text:
        return ". ".join(section.finding for section in content.mains) + "."
    ledger = content.ledger.values()
    said = [f.verdict for f in ledger if isinstance(f.claim, Order | More | Below)]
    printed = [f.verdict for f in ledger if isinstance(f.claim, Value | Difference | Ratio)]
    return (
        f"In direction {_often(said, claims.CONFIRMED)}, in number "
        f"{_often(printed, claims.COMPATIBLE)}: of the text’s {len(said)} statements "
        f"{said.count(claims.CONFIRMED)} hold, of its {len(printed)} printed numbers one more run "
        f"of ours could give {printed.count(claims.COMPATIBLE)}."
    )


def _often(verdicts: list[str], good: str) -> str:
    share = verdicts.count(good) / max(1, len(verdicts))
    return "mostly" if share > 2 / 3 else "about half the time" if share > 1 / 3 else "seldom"


def _card(section: Section, chart: Chart) -> str:
    """A question, its answer, and a small picture."""
    lines: list[tuple[str, list[float | None]]] = []
    if chart:
        curves = means(chart, chart["first"][0])
        lines = [(chart["colours"][variant], line) for variant, line in curves.items()]
    title = section.topic.question or section.name.capitalize()
    return (
        f'<a class="card" href="#{section.name}"><b>{escape(title)}</b>'
        f'{spark(lines)}<span class="secret">{escape(section.finding)}.</span></a>'
    )


def _link(section: Section, content: Content) -> str:
    under = "".join(
        f'<li><a href="#{control.name}">{control.name.capitalize()}</a></li>'
        for control in controls(section, [*content.sections])
    )
    inner = f"<ul>{under}</ul>" if under else ""
    return f'<li><a href="#{section.name}">{section.name.capitalize()}</a>{inner}</li>'


def _exercise(section: Section, content: Content) -> str:
    """An exercise and, under it, its controls."""
    name, topic, level = section.name, section.topic, 3 if section.topic.under else 2
    chart, says = content.charts[name], PICTURES.get(topic.picture, topic.picture)
    parts = [
        f"<h{level}>{name.capitalize()}</h{level}>",
        f'<p class="question">{escape(topic.question)}</p>' if topic.question else "",
        guess(section),
        f'<p class="answer secret">{escape(section.finding)}.</p>',
        _setting(name, content),
        f'<div class="explore js-only" data-exercise="{name}"></div>' if chart else "",
        f"<p>{_inline(section.answer)}{_lead(chart)}</p>",
        _order_of_the_text(chart) if content.of_the_text else "",
        _picture(topic.picture, says, content, "photos" if "ops" in topic.picture else "figure"),
        _folded(
            "All panels, as a picture",
            _picture(name, f"{name}: {section.finding}", content, "figure"),
            "pictures",
        ),
        _folded(
            "Tables, and how sure they are",
            _tables(section),
        ),
        _what_if(topic.what_if),
        _tally(section) if content.of_the_text else "",
        *(_exercise(control, content) for control in controls(section, [*content.sections])),
    ]
    kind = "control" if topic.under else "exercise"
    return f'<section id="{name}" class="{kind}">{"".join(parts)}</section>'


def _setting(name: str, content: Content) -> str:
    if name not in content.study.exercises:
        return ""
    return f'<p class="setting">{escape(setting(content.study, name))}.</p>'


def _lead(chart: Chart) -> str:
    """Who would have won if training had stopped earlier."""
    spans = leaders(chart) if "test_accuracy" in chart.get("values", {}) else []
    if len(spans) < 2:
        return ""
    if len(spans) > 4:
        return f" The lead changes {len(spans) - 1} times on the way."
    told = [
        f"<b>{escape(name)}</b> {f'in epoch {a}' if a == b else f'in epochs {a} to {b}'}"
        for name, a, b in spans
    ]
    return f" In the lead: {', '.join(told)}."


def _order_of_the_text(chart: Chart) -> str:
    drawn = chart.get("draw")
    if not drawn:
        return ""
    order = ", ".join(map(escape, drawn["order"]))
    return (
        f"<p>The text ran each once and ranks them: {order}. Of all draws of one of our runs each, "
        f"<b>{100 * drawn['share']:.1f} %</b> give that order.</p>"
    )


def _tally(section: Section) -> str:
    """How an exercise's claims of the text fare, with a link to them."""
    if not section.ledger:
        return ""
    counts = ", ".join(f"{count} {each}" for each, count in by_colour(section.ledger).items())
    many = f"{len(section.ledger)} claims" if len(section.ledger) > 1 else "one claim"
    return (
        f'<p class="secret"><a href="#claims" data-filter="{section.name}">The text makes {many} '
        f"of this</a>: {counts}.</p>"
    )


def _what_if(what_if: str) -> str:
    if not what_if:
        return ""
    return f"<p>What if? <code class='copy'>dvc exp run -S '{escape(what_if)}'</code></p>"


def _tables(section: Section) -> str:
    tables = "".join(map(table_html, section.tables))
    sure = f"<p>{escape(section.how_sure)}</p>"
    return f"{tables}{sure}<p>Measured on {escape(section.measured_on)}.</p>"


def _folded(title: str, inside: str, kind: str = "") -> str:
    opened = " open" if kind == "pictures" else ""  # page.js folds it
    body = f'<details class="{kind}"{opened}><summary>{title}</summary>{inside}</details>'
    return body if inside else ""


def _picture(name: str, says: str, content: Content, kind: str) -> str:
    if name not in content.pictures:
        return ""
    inside = base64.b64encode(content.pictures[name]).decode()
    image = f'<img loading="lazy" src="data:image/png;base64,{inside}" alt="{escape(says)}">'
    return f'<div class="{kind}">{image}</div>'


def _inline(text: str) -> str:
    rendered: str = MarkdownIt("commonmark", {"html": False}).renderInline(text)
    return rendered


def read_pictures(folder: Path, text: str) -> dict[str, bytes]:
    """The pictures that a report shows, by name, as PNG of 256 colours: a third of the bytes.

    UserError if one is missing.
    """
    try:
        return {name: _small(folder / f"{name}.png") for name in re.findall(PICTURE, text)}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read; `dvc repro` makes it.") from error


def _small(path: Path) -> bytes:
    with Image.open(path) as picture, BytesIO() as file:
        picture.convert("RGB").quantize(256).save(file, "PNG", optimize=True)
        return file.getvalue()


def main() -> None:
    """Print the HTML template that `dvc plots` fills (its option plots.html_template).

    DVC's own template fetches the library from the network.
    """
    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    library = code.replace("</script", "<\\/script")
    print(f"<!doctype html><title>DVC plots</title><script>{library}</script>{{plot_divs}}")


if __name__ == "__main__":
    main()
