"""Which files of the package does a stage import, directly or not? Read from the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "alexnet_lab"

# Rooms and modules that no stage depends on.
EXEMPT = {
    "params": "reads and checks; the values are DVC params, and tests hold how a recipe is merged",
    "console": "shows results, never changes them",
    "cli": "how a command starts and ends",
    "errors": "two exception classes",
    "cluster": "who trains an epoch, not how: runs/trainer.py trains it there, too",
}


def closure(script: Path, source: Path) -> set[Path]:
    """All files of the package that a script needs, except the exempt ones.

    ``source`` is the package's folder.
    """
    files: set[Path] = set()
    waiting = imports(script, source)
    while waiting:
        file = waiting.pop()
        if file not in files and not is_exempt(file, source):
            files.add(file)
            waiting |= imports(file, source)
    return files


def is_exempt(file: Path, source: Path) -> bool:
    """Whether a file of the package is one that no stage depends on."""
    return file.relative_to(source).parts[0].removesuffix(".py") in EXEMPT


def imports(file: Path, source: Path) -> set[Path]:
    """The files of the package that a file imports itself, other than for annotations alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    only_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    nodes = [node for node in ast.walk(tree) if node not in only_types]
    return {place for node in nodes for _, place in imported(node, source)}


def imported(node: ast.AST, source: Path) -> Iterator[tuple[str, Path]]:
    """What an import takes from the package: each name and the file behind it.

    ValueError for a form of import that cannot be followed.
    """
    if isinstance(node, ast.Import) and any(a.name.split(".")[0] == PACKAGE for a in node.names):
        raise ValueError(f"`{ast.unparse(node)}` cannot be followed: write `from … import …`")
    if isinstance(node, ast.ImportFrom):
        if node.level:
            raise ValueError(f"`{ast.unparse(node)}` cannot be followed: write the whole path")
        first, *path = (node.module or "").split(".")
        if first == PACKAGE:
            for alias in node.names:
                yield f"{alias.name} as {alias.asname}", _file(source.joinpath(*path), alias.name)


def _file(place: Path, name: str) -> Path:
    """The file behind `from place import name`: a module, or the module that has the name."""
    candidates = (place / f"{name}.py", place / name / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), place / "__init__.py")
