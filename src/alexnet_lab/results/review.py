"""Which verdicts changed since a revision? `python -m alexnet_lab.results.review origin/main`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from alexnet_lab import cli
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import read_json

LEDGER = Path("metrics/claims.json")


def changed(before: dict[str, Any], now: dict[str, Any]) -> pd.DataFrame:
    """One row per claim whose verdict changed; – if it was, or is, not in the ledger."""
    verdicts = pd.DataFrame(
        {
            when: {k: v["verdict"] for k, v in ledger.items()}
            for when, ledger in (("before", before), ("now", now))
        },
        dtype=object,
    ).fillna("–")
    return verdicts[verdicts["before"] != verdicts["now"]].rename_axis("claim")


def ledger_at(revision: str) -> dict[str, Any]:
    """The ledger of a revision; empty if it has none. UserError if git does not know it."""
    known = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if known.returncode:
        raise UserError(f"git knows no revision '{revision}'.")
    shown = _git("show", f"{revision}:{LEDGER}")
    ledger: dict[str, Any] = json.loads(shown.stdout) if shown.returncode == 0 else {}
    return ledger


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607  # the user's own git


def main() -> None:
    """Print the table, or that nothing changed."""
    if len(sys.argv) != 2:
        raise UserError("Name one revision to compare with, such as origin/main.")
    now = read_json(LEDGER) if LEDGER.exists() else {}
    table = changed(ledger_at(sys.argv[1]), now)
    print("No verdict changed." if table.empty else table.to_markdown())


if __name__ == "__main__":
    cli.run(main)
