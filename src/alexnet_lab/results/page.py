"""plots/report.html: the study as one file that opens anywhere, with curves to explore.

What must be readable without a script is HTML, by page.html and macros.html (Jinja); page.js adds
the curves, the filters and the games from the JSON that explore.py makes. Nothing is fetched, and
a policy in page.html forbids it.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from PIL import Image

from alexnet_lab.errors import UserError
from alexnet_lab.params.claims import Below, Difference, More, Order, Ratio, Topics, Value
from alexnet_lab.params.study import Study
from alexnet_lab.results import claims, explore, pieces, report, tables
from alexnet_lab.results.claims import Ledger
from alexnet_lab.results.explore import Chart
from alexnet_lab.results.sections import Section

PICTURE = r"\(plots/(\w+)\.png\)"  # in the report
FOLDER = Path(__file__).parent
OFTEN = {  # words for a share from so much on
    "mostly": 0.7,
    "more often than not": 0.55,
    "about half the time": 0.45,
    "less often than not": 0.3,
    "seldom": 0,
}
TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
TEMPLATES.filters |= {
    "base64": lambda data: base64.b64encode(data).decode(),
    "inline_markdown": MarkdownIt("commonmark", {"html": False}).renderInline,
}
TEMPLATES.globals.update(
    claims=claims, explore=explore, pieces=pieces, report=report, tables=tables
)


@dataclass(frozen=True)
class Content:
    """All that the page shows; charts and pictures (PNG) are by exercise or name."""

    study: Study
    topics: Topics
    sections: Sequence[Section]
    charts: Mapping[str, Chart]
    pictures: Mapping[str, bytes]

    @property
    def of_the_text(self) -> bool:
        """Whether the text's claims are shown: not beside runs on the sample."""
        return self.study.data.source == "official"

    @property
    def mains(self) -> list[Section]:
        """The exercises without their controls; a benchmark without a speed-up stands last."""
        found = report.mains(self.sections)
        return sorted(found, key=lambda s: s.name == "benchmark" and "speed_up" not in s.measured)

    @property
    def ledger(self) -> Ledger:
        """Every claim by its id."""
        return report.all_claims(self.sections)


def page(content: Content) -> str:
    """The whole page as HTML."""
    effects = [e for s in content.mains if (e := pieces.main_effect(s, content.of_the_text))]
    remarks = report.remarks(content.study, content.topics)
    drawn = content.charts
    if not content.of_the_text:  # the game is about its order
        drawn = {name: chart and chart | {"draw": None} for name, chart in drawn.items()}
    data = {"charts": drawn, "changeable": explore.changeable(content.study)}
    return TEMPLATES.get_template("page.html").render(
        content=content,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=_unclosed((FOLDER / "page.js").read_text(encoding="utf-8")),
        data=_unclosed(json.dumps(data, allow_nan=False)),
        remarks=remarks,
        answer=_answer(content, of_the_study=not remarks),
        asides=tuple(aside for topic in content.topics.values() for aside in topic.asides),
        effects=effects,
        scale=[number for each in effects if each.in_points for number in each.track.numbers],
        what_if=next((s.topic.what_if for s in content.mains if s.topic.what_if), "lr=0.05"),
        made_of=report.made_of(content.study),
    )


def _unclosed(code: str) -> str:
    """Code for a script element, which nothing in it may close."""
    return code.replace("</", "<\\/")


def _answer(content: Content, of_the_study: bool) -> str:
    """The answer to the whole study in one sentence: how many directions and numbers hold."""
    if not of_the_study or not content.ledger:
        return " ".join(section.headline for section in content.mains)
    ledger = content.ledger.values()
    said = [f.verdict for f in ledger if isinstance(f.claim, Order | More | Below)]
    printed = [f.verdict for f in ledger if isinstance(f.claim, Value | Difference | Ratio)]
    halves = [
        (said, claims.CONFIRMED, "directions", "statements hold"),
        (printed, claims.COMPATIBLE, "numbers", "printed numbers could be one more run of ours"),
    ]
    halves = [half for half in halves if half[0]]
    if not halves:
        return " ".join(section.headline for section in content.mains)
    often = ", its ".join(f"{what} hold {_often(found, good)}" for found, good, what, _ in halves)
    counts = ", ".join(f"{f.count(good)} of {len(f)} {words}" for f, good, _, words in halves)
    return f"The text’s {often}: {counts}."


def _often(verdicts: list[str], good: str) -> str:
    share = verdicts.count(good) / max(1, len(verdicts))
    return next(word for word, least in OFTEN.items() if share >= least)


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
