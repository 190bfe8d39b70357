"""The name of an epoch: a chain of hashes of everything that its numbers come from.

Training repeats itself to the bit, so an epoch is a function of what came before it and of what
it adds. Its name says both: equal names are equal numbers, and equal states of the network.
Runs that begin alike share the names of their first epochs, whatever exercise they belong to.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from alexnet_lab.errors import UserError
from alexnet_lab.learning.schedules import learning_rate
from alexnet_lab.params.recipes import Recipe

PROJECT = Path(__file__).parents[3]
# The code that an epoch comes from: what a training stage of dvc.yaml depends on.
CODE = (
    "stages/train.py",
    "src/alexnet_lab/data/datasets.py",
    "src/alexnet_lab/learning",
    "src/alexnet_lab/machine",
    "src/alexnet_lab/runs",
)
VERSIONS = ("torch", "numpy")
# What an epoch adds to the one before it, how many there are, and what is only measured; and the
# precision, of which the run knows what it is here.
LATER = {"lr", "schedule", "augment", "epochs", "clean_train_loss", "precision"}
LENGTH = 20  # hexadecimal digits: 80 bits


def chain(recipe: Recipe, seed: int, root: str) -> tuple[str, ...]:
    """The names of a run's epochs, in their order. ``root`` is what all seeds share."""
    return tuple(_links(recipe, _digest(root, seed)))


def root(
    recipe: Recipe,
    images: str,
    held_back: int,
    threads: int,
    kind: str,
    precision: str,
    packages: Mapping[str, str] | None = None,
) -> str:
    """What fixes where a run starts, and stays fixed, except for the seed.

    ``images`` is the digest of the data, ``kind`` that of the hardware; ``packages`` are other
    versions than those here.
    """
    how = {"threads": threads, "kind": kind, "precision": precision}
    known = packages or versions()
    return _digest(code(), known, how, images, held_back, recipe.model_dump(exclude=LATER))


def versions() -> dict[str, str]:
    """The versions, here, of the packages that an epoch comes from."""
    return {package: metadata.version(package) for package in VERSIONS}


@cache
def code(project: Path = PROJECT) -> str:
    """The digest of the code that trains, without what changes no number: comments and layout."""
    files = sorted(file for part in CODE for file in _modules(project / part))
    texts = (file.read_text(encoding="utf-8") for file in files)
    names = [file.relative_to(project).as_posix() for file in files]
    return _digest(names, [as_text(syntax_tree(text)) for text in texts])


def syntax_tree(text: str) -> ast.Module:
    """Python code as a tree, which has no comments, without its docstrings."""
    module = ast.parse(text)
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[has_docstring:]
    return module


def as_text(node: object) -> str:
    """A syntax tree as a text, the same in every version of Python, unlike that of `ast.dump`."""
    if isinstance(node, list):
        return f"[{' '.join([as_text(each) for each in node])}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    given = [(name, value) for name in node._fields if (value := getattr(node, name, None)) != []]
    fields = [f"{name}={as_text(value)}" for name, value in given if value is not None]
    return f"{type(node).__name__}({' '.join(fields)})"


@cache
def images(folder: Path) -> str:
    """The digest of a prepared data set. UserError if it is not there."""
    try:
        return files_digest(folder, sorted(folder.iterdir()))
    except OSError as error:
        raise UserError(f"{folder} cannot be read; `dvc repro prepare` makes it.") from error


def files_digest(root: Path, files: list[Path]) -> str:
    """The digest of some files' names, below ``root``, and contents."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _links(recipe: Recipe, name: str) -> Iterator[str]:
    ops = recipe.model_dump()["augment"]
    for epoch in range(recipe.epochs):
        lr = learning_rate(recipe.schedule, recipe.lr, epoch, recipe.epochs)
        name = _digest(name, lr, ops)
        yield name


def _modules(part: Path) -> list[Path]:
    return list(part.rglob("*.py")) if part.is_dir() else [part]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:LENGTH]
