"""Refuse a params.yaml or a claims.yaml that cannot be read, before any other stage runs."""

import argparse
from pathlib import Path

import yaml

from alexnet_lab import cli, params
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import replace, write_json

PARAMS = Path("params.yaml")
# Never anything else: what follows is not stale.
SAID = "params.yaml and claims.yaml can be read.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("topics", "out", "values"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()

    try:
        params.load_claims(params.load(PARAMS), args.topics)
    except UserError as error:
        # DVC may have set a value of the same length in the second of git's own note of the file,
        # which git then takes for unchanged, and would not bring back.
        for path in (PARAMS, args.topics):
            if path.exists():
                path.touch()
        raise UserError(
            f"{error} No result is lost: correct it, or git checkout params.yaml claims.yaml."
        ) from error
    write_json(yaml.safe_load(PARAMS.read_text(encoding="utf-8")), args.values)
    replace(args.out, lambda new: new.write_text(SAID, encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
