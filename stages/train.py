"""Train one variant of an exercise, once per seed, and write its curves."""

import argparse
from pathlib import Path

from alexnet_lab import cli, console, params
from alexnet_lab.cluster.hand_over import hand_over
from alexnet_lab.machine.files import write_csv
from alexnet_lab.machine.hardware import this_machine
from alexnet_lab.runs.records import Record, curves, timing
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import outlook, runs_of, train_runs
from alexnet_lab.runs.store import the_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exercise")
    parser.add_argument("variant")
    parser.add_argument("--data", type=Path, required=True, help="the folder of all data sets")
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--timing", type=Path, required=True)
    args = parser.parse_args()
    stage = (args.exercise, args.variant)

    site = hand_over(Site(params.load(), args.data, this_machine(), the_store()), *stage)
    runs = runs_of(site, *stage, console.say)
    for line in outlook(runs, site.store, *stage):
        console.say(line)
    titles = {run.seed: run.title for run in runs}
    known: dict[tuple[int, int], Record] = {}
    for record in console.follow(train_runs(site, *stage, runs), titles, len(runs[0].names)):
        known.setdefault((record.epoch.seed, record.epoch.epoch), record)
    records = [known[key] for key in sorted(known)]
    write_csv(timing(records), args.timing)
    write_csv(curves(records), args.curves)


if __name__ == "__main__":
    cli.run(main)
