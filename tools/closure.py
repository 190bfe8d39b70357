"""Which files of the package does a stage import, directly or not? Read from the syntax trees."""

import ast
from pathlib import Path

PACKAGE = "alexnet_lab"

# Rooms and modules that cannot change a number, so that no stage depends on them.
EXEMPT = {
    "params": "types and checks without defaults; the values themselves are DVC params",
    "console": "shows results, never changes them",
    "cli": "how a command starts and ends",
    "errors": "two exception classes",
}


def closure(script: Path, source: Path) -> set[Path]:
    """All files of the package that a script needs, except the exempt ones.

    ``source`` is the package's folder.
    """
    files: set[Path] = set()
    waiting = imports(script, source)
    while waiting:
        file = waiting.pop()
        if (
            file not in files
            and file.relative_to(source).parts[0].removesuffix(".py") not in EXEMPT
        ):
            files.add(file)
            waiting |= imports(file, source)
    return files


def imports(file: Path, source: Path) -> set[Path]:
    """The files of the package that a file imports itself, other than for annotations alone."""
    tree = ast.parse(file.read_text())
    only_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    files: set[Path] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(
            a.name.split(".")[0] == PACKAGE for a in node.names
        ):
            raise ValueError(f"{file}: write `from {PACKAGE}… import …`, which can be followed")
        if isinstance(node, ast.ImportFrom) and node not in only_types:
            first, *path = (node.module or "").split(".")
            if first == PACKAGE:
                files |= {_file(source.joinpath(*path), alias.name) for alias in node.names}
    return files


def _file(place: Path, name: str) -> Path:
    """The file behind `from place import name`: a module, or the module that has the name."""
    candidates = (place / f"{name}.py", place / name / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), place / "__init__.py")
