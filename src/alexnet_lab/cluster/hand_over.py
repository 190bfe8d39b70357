"""The one thing that a stage asks of this room; the engine is imported if it is needed."""

import os

from alexnet_lab.errors import UserError
from alexnet_lab.runs.ahead import stages_to_come
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import known_epochs

INSTALL = (
    "This needs Dask, which is not installed: "
    ".venv/bin/uv pip install --python .venv/bin/python -c constraints.txt -e '.[cluster]'"
)


def hand_over(site: Site, exercise: str, variant: str) -> Site:
    """With ALEXNET_LAB_CLUSTER, let the engine train what this stage and those to come lack.

    Returns the site with the hardware that the study runs on. UserError if an epoch of this
    stage could not be trained, if nobody takes part, or if the engine is not installed.
    """
    where = os.environ.get("ALEXNET_LAB_CLUSTER")
    if not where or all(
        None not in known_epochs(run, site.store) for run in _runs(site, exercise, variant)
    ):
        return site
    try:
        from alexnet_lab.cluster.head import train_all
    except ModuleNotFoundError as error:
        raise UserError(INSTALL) from error
    come = {(exercise, variant), *stages_to_come(site.study, exercise, variant)}
    (site,), errors = train_all([(site, come)])
    left = [r for r in _runs(site, exercise, variant) if None in known_epochs(r, site.store)]
    own = {name for run in left for name in run.names}
    if failed := [text for name, text in errors.items() if name in own]:
        raise UserError("\n".join(failed))
    return site


def _runs(site: Site, exercise: str, variant: str) -> list[Run]:
    return site.runs(exercise, variant, site.likely_precision(exercise, variant))
