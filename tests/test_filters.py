"""A run's first layer at its end, and how its filters are drawn."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from alexnet_lab.results.sheet import ZOOM, filter_sheet
from alexnet_lab.runs.site import Site
from alexnet_lab.weights import first_layer
from tests.test_runs import a_run

KEPT = Path("metrics/filters.csv")


def test_the_weights_are_those_at_the_end_of_the_run_trained_again_if_they_are_gone(
    site: Site,
) -> None:
    run = a_run(site, "schedules", "constant", epochs=1)
    rows = first_layer(run, site.store, KEPT)
    state = site.store.state(run.names[-1])
    assert state is not None
    parts = torch.load(io.BytesIO(state), "cpu", weights_only=True)["classifier"]
    weights = next(value for name, value in parts.items() if name.endswith("0.weight"))
    assert {row["shape"] for row in rows} == {"3 5 5"} and len(rows) == len(weights)
    assert {row["name"] for row in rows} == {run.names[-1]}
    written = [[float(number) for number in row["weights"].split()] for row in rows]
    assert np.allclose(written, weights.flatten(1), rtol=1e-3)
    site.store.drop_state(run.names[-1])
    assert first_layer(run, site.store, KEPT) == rows
    assert site.store.has_state(run.names[-1])


def test_the_strongest_filter_comes_first_and_no_weight_is_grey() -> None:
    weak, strong = "0.5 0 0 0", "0 -2 2 0"  # two by two, of grey images
    filters = pd.DataFrame({"variant": "a", "shape": "1 2 2", "weights": [weak, strong]})
    (axis,) = filter_sheet(filters).axes
    picture = np.asarray(axis.images[0].get_array())
    first = picture[::ZOOM, : 2 * ZOOM : ZOOM, 0]
    assert first.tolist() == [[128, 0], [255, 128]]
    second = picture[::ZOOM, 2 * ZOOM + 1 : 4 * ZOOM + 1 : ZOOM]
    assert second[..., 0].tolist() == [[255, 128], [128, 128]]
    assert (second == second[..., :1]).all()  # grey


def test_each_variant_has_rows_of_its_own() -> None:
    shapes = {"a": 20, "b": 3}  # filters: two rows and one
    frames = [
        pd.DataFrame({"variant": name, "shape": "3 1 1", "weights": ["1 0 -1"] * count})
        for name, count in shapes.items()
    ]
    figure = filter_sheet(pd.concat(frames))
    assert [text.get_text() for text in figure.texts] == ["a:", "", "b:"]
    widths = {np.asarray(axis.images[0].get_array()).shape[1] for axis in figure.axes}
    assert widths == {16 * (ZOOM + 1)}  # a row that is not full ends in white
