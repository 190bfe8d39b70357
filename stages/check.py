"""Refuse a params.yaml or a claims.yaml that cannot be read, before any other stage runs."""

import argparse
from pathlib import Path

from alexnet_lab import cli, params
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import replace

SAID = (
    "params.yaml and claims.yaml can be read.\n"  # never anything else: what follows is not stale
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topics", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    try:
        params.load_claims(params.load(), args.topics)
    except UserError as error:
        # DVC may have set a value of the same length in the second of git's own note of the file,
        # which git then takes for unchanged, and would not bring back.
        for path in (Path("params.yaml"), args.topics):
            if path.exists():
                path.touch()
        raise UserError(
            f"{error} No result is lost: correct it, or git checkout params.yaml claims.yaml."
        ) from error
    replace(args.out, lambda new: new.write_text(SAID, encoding="utf-8"))


if __name__ == "__main__":
    cli.run(main)
