"""Is a committed result older than its code, its data or its parameters? `make status` asks.

DVC says so, too (`dvc repro --dry`), but not where the data is not: it would read it.
"""

import sys

from dvc.repo import Repo
from dvc.repo.reproduce import plan_repro

from alexnet_lab import cli
from alexnet_lab.plan import stale_stages


def main() -> None:
    """List the stages that would run; with any, the status is 1."""
    stale = [stage.addressing for stage in stale_stages()]
    if not stale:
        print("Every result is up to date.")
        return
    with Repo() as repo:
        graph = repo.index.graph
        # What check writes never changes, so nothing is stale for its sake.
        first = [stage for stage in graph if stage.addressing in {*stale} - {"check"}]
        following = plan_repro(graph, first, downstream=True) if first else []
        after = {stage.addressing for stage in following}
    later = after - {*stale}
    print("\n".join(stale))
    if later:
        print(f"and, if what these write changes: {', '.join(sorted(later))}")
    sys.exit("These would run again. Run dvc repro and commit dvc.lock with the results.")


if __name__ == "__main__":
    cli.run(main)
