"""plots/report.html: the report as one file that opens anywhere, with curves to explore.

REPORT.md is its text; pictures, charts and the Vega-Lite library are inside, so nothing is
fetched. Hovering shows a point's values and seed; a click in a legend isolates a variant.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import vl_convert
from markdown_it import MarkdownIt
from PIL import Image

from alexnet_lab.errors import UserError
from alexnet_lab.results.analysis import before_divergence
from alexnet_lab.results.figures import colours
from alexnet_lab.results.quantities import COLUMNS
from alexnet_lab.results.runs import Runs
from alexnet_lab.results.throughput import throughput

Chart = dict[str, Any]  # a Vega-Lite specification
CHARTED = ("test_accuracy", "train_loss")  # columns; one chart each
HEIGHT = 260  # pixels of a chart
PICTURE = r"\(plots/(\w+)\.png\)"  # in the text


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


def page(text: str, pictures: Mapping[str, bytes], charts: Mapping[str, Sequence[Chart]]) -> str:
    """Turn a Markdown report into HTML; ``pictures`` (PNG) and ``charts`` are by name.

    A picture ``plots/<name>.png`` of the text is put inside; an exercise's charts come before it.
    """

    def place(image: re.Match[str]) -> str:
        name, rest = image["name"], image["rest"]
        inside = base64.b64encode(pictures[name]).decode()
        picture = f'<img src="data:image/png;base64,{inside}"{rest}>'
        if name not in charts:
            return f"<p>{picture}</p>"
        divisions = "".join(f'<div id="{name}-{i}"></div>' for i in range(len(charts[name])))
        return (
            f'<div class="charts">{divisions}</div>'
            f"<details><summary>All panels, as a picture</summary>{picture}</details>"
        )

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'<p><img src="plots/(?P<name>\w+)\.png"(?P<rest>[^>]*)></p>', place, body)
    body = body.replace("<table>", '<div class="table"><table>')
    body = body.replace("</table>", "</table></div>")
    specs = {f"{name}-{i}": chart for name, some in charts.items() for i, chart in enumerate(some)}
    return TEMPLATE.substitute(
        body=body,
        library=vega_lite(),
        specs=json.dumps(specs, allow_nan=False).replace("</", "<\\/"),
    )


def vega_lite() -> str:
    """The library's own code, for a script element; it defines ``vegaEmbed``."""
    code: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return code.replace("</script", "<\\/script")


def training_charts(name: str, runs: Runs) -> list[Chart]:
    """One chart per column: every seed thin, the mean over seeds thick."""
    rows = before_divergence(runs)[["variant", "seed", "epoch", *CHARTED]]
    return [_lines(name, rows, column, COLUMNS[column].label) for column in CHARTED]


def _lines(name: str, curves: pd.DataFrame, column: str, title: str) -> Chart:
    y = {"field": column, "type": "quantitative", "title": title, "scale": {"zero": False}}
    fields = {"variant": "nominal", "seed": "nominal", "epoch": "quantitative"}
    tooltip = [{"field": field, "type": kind} for field, kind in fields.items()]
    tooltip.append({"field": column, "type": "quantitative", "title": title, "format": ".4f"})
    mean = {"aggregate": "mean", "title": f"mean {title}", "format": ".4f"}
    chosen = {"param": "isolated", "empty": True}
    isolate = {"name": "isolated", "select": {"type": "point", "fields": ["variant"]}}
    return _chart(
        description=f"{name}: {title} by epoch, one thin line per seed, a thick line for the mean",
        rows=curves,
        x={
            "field": "epoch",
            "type": "quantitative",
            "axis": {"format": "d", "values": _ticks(curves)},
        },
        variants=list(curves["variant"].unique()),
        layers=[
            {
                "params": [isolate | {"bind": "legend"}],
                "mark": {"type": "line", "strokeWidth": 1},
                "encoding": {
                    "y": y,
                    "detail": {"field": "seed"},
                    "opacity": {"condition": chosen | {"value": 0.45}, "value": 0.05},
                },
            },
            {
                "mark": {"type": "line", "strokeWidth": 3},
                "encoding": {
                    "y": y | {"aggregate": "mean"},
                    "opacity": {"condition": chosen | {"value": 1}, "value": 0.1},
                    "tooltip": [*tooltip[:1], *tooltip[2:3], tooltip[3] | mean],
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45},
                "encoding": {
                    "y": y,
                    "tooltip": tooltip,
                    "opacity": {"condition": chosen | {"value": 0.5}, "value": 0},
                },
            },
        ],
    )


def _ticks(curves: pd.DataFrame) -> list[int]:
    """Whole epochs for the axis, ten at most."""
    last = int(curves["epoch"].max())
    step = -(-last // 10)
    return list(range(step, last + 1, step))


def benchmark_charts(timing: pd.DataFrame) -> list[Chart]:
    """Images per second by batch size, one line per device; none if nothing was measured."""
    rates = throughput(timing)
    if rates.empty:
        return []
    y = {"field": "img_per_s", "type": "quantitative", "title": "images per second (median step)"}
    fields = ("variant", "batch_size", "img_per_s", "lowest", "highest")
    layer = {
        "mark": {"type": "line", "point": {"size": 60}, "strokeWidth": 3},
        "encoding": {"y": y, "tooltip": [{"field": field} for field in fields]},
    }
    return [
        _chart(
            description="benchmark: images per second by batch size",
            rows=rates[list(fields)].round(2),
            x={
                "field": "batch_size",
                "type": "ordinal",
                "title": "batch size (images)",
                "axis": {"labelAngle": 0},
            },
            variants=list(timing["variant"].unique()),
            layers=[layer],
        )
    ]


def _chart(
    description: str, rows: pd.DataFrame, x: Chart, variants: list[str], layers: list[Chart]
) -> Chart:
    known = colours(variants)
    colour = {
        "field": "variant",
        "type": "nominal",
        "title": None,
        "legend": {
            "orient": "top",
            "symbolType": "stroke",
            "symbolStrokeWidth": 4,
            "symbolOpacity": 1,
        },
        "scale": {"domain": list(known), "range": list(known.values())},
    }
    return {
        "description": description,
        "width": "container",
        "height": HEIGHT,
        "data": {"values": json.loads(rows.to_json(orient="records", double_precision=4))},
        "encoding": {"x": x, "color": colour},
        "layer": layers,
    }


TEMPLATE = Template(
    Path(__file__).with_name("page.html").read_text(encoding="utf-8")
)  # $body, $library, $specs


def main() -> None:
    """Print the HTML template that `dvc plots` fills (its option plots.html_template).

    DVC's own template fetches the library from the network.
    """
    print(f"<!doctype html><title>DVC plots</title><script>{vega_lite()}</script>{{plot_divs}}")


if __name__ == "__main__":
    main()
