"""A file of the store is whole or absent; what is lost costs time, and never a wrong number."""

import os
import pickle
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_lab.errors import UserError
from alexnet_lab.params.study import Study
from alexnet_lab.runs.records import find
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.store import BOUND, Store, the_store
from alexnet_lab.runs.trainer import carry_out

NAME = "0123456789abcdef0123"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_digest(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes((b"0" if content[:1] != b"0" else b"1") + content[1:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # as a crash of some file systems leaves it


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


DAMAGES = (flip, flip_digest, cut, empty, zeros, grow, Path.unlink)


def files_of(store: Store) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def test_what_is_kept_is_found_as_it_was(store: Store) -> None:
    assert store.record(NAME) is None and store.state(NAME) is None and not store.has_state(NAME)
    store.keep_record(NAME, {"a": float("nan"), "b": 0.1, "c": None, "d": float("inf")})
    store.keep_state(NAME, b"\x00state")
    again = Store(store.folder)
    assert str(again.record(NAME)) == "{'a': nan, 'b': 0.1, 'c': None, 'd': inf}"
    assert again.state(NAME) == b"\x00state" and again.has_state(NAME)
    store.keep_record(NAME, {"b": 0.2})
    store.drop_state(NAME)
    assert again.record(NAME) == {"b": 0.2} and again.state(NAME) is None
    assert len(files_of(store)) == 1  # nothing unfinished


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_absent(damage: Callable[[Path], None], store: Store) -> None:
    store.keep_record(NAME, {"loss": 0.25})
    store.keep_state(NAME, b"many bytes")
    for path in files_of(store):
        damage(path)
    assert store.record(NAME) is None and store.state(NAME) is None
    assert not store.has_state(NAME) and files_of(store) == []


def test_a_misplaced_file_is_absent(store: Store) -> None:
    """Whole, but of another name."""
    for name in ("a", "b"):
        store.keep_state(name, name.encode())
    (store.folder / "states" / "a").replace(store.folder / "states" / "b")
    assert store.state("b") is None and files_of(store) == []


def test_another_name_keeps_what_was_known(store: Store) -> None:
    store.keep_record(NAME, {"loss": 0.25})
    store.keep_state(NAME, b"many bytes")
    store.rename(NAME, "new")
    store.rename("unknown", "newer")
    assert store.record("new") == store.record(NAME) == {"loss": 0.25}
    assert store.state("new") == b"many bytes"
    assert store.record("newer") is None and store.state("newer") is None


class Gadget:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("dump", [torch.save, partial(pickle.dump, protocol=2)])
def test_a_pickle_in_the_store_never_runs(dump: Any, site: Site, tmp_path: Path) -> None:
    """Even if its digest is right."""
    mark, store = tmp_path / "ran", site.store
    with (tmp_path / "gadget").open("wb") as file:
        dump({"classifier": Gadget(mark)}, file)
    content = (tmp_path / "gadget").read_bytes()
    run = short(site).runs("activation", "relu", "fp32")[0]
    expected = [record.epoch.test_loss for record, _ in carry_out(run, store, frozenset())]
    store.keep_state(run.names[0], content)
    assert store.state(run.names[0]) == content  # it is whole
    store.drop_state(run.names[1])
    (store.folder / "records" / run.names[1][:2] / run.names[1]).unlink()
    again = [record.epoch.test_loss for record, _ in carry_out(run, store, frozenset())]
    assert again[-1] == expected[-1] and not mark.exists()
    assert not store.has_state(run.names[0])
    if dump is torch.save:
        torch.load(tmp_path / "gadget", weights_only=False)
    else:
        pickle.loads(content)
    assert mark.exists()  # this shows that the gadget is a real one


def short(site: Site) -> Site:
    study: Study = site.study.model_copy(update={"epochs": 2, "seeds": (0,)})
    return Site(study, site.data, site.hardware, site.store)


# --- a bound in bytes ---


def age(store: Store, name: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(store.folder / "states" / name, (then, then))


def test_the_least_recently_used_states_go_first_and_records_stay(tmp_path: Path) -> None:
    store = Store(tmp_path, bound=3 * 1100)
    for number, name in enumerate("abc"):
        store.keep_record(name, {})
        store.keep_state(name, bytes(1000))
        age(store, name, 100 - number)
    assert store.state("a")  # so it was used last
    store.keep_state("d", bytes(1000))
    assert [name for name in "abcd" if store.has_state(name)] == ["a", "c", "d"]
    assert all(store.record(name) == {} for name in "abc")


@pytest.mark.parametrize("bound", [0, 10])
def test_the_newest_state_is_always_kept(bound: int, tmp_path: Path) -> None:
    store = Store(tmp_path, bound)
    for name in "abc":
        store.keep_state(name, bytes(1000))
        age(store, name, -3600)  # a clock that went back makes no other one newer
        assert store.has_state(name)
    assert [name for name in "abc" if store.has_state(name)] == ["c"]


def test_what_killed_processes_left_is_swept_a_day_later(store: Store) -> None:
    store.keep_state("a", b"")
    (store.folder / "locks").mkdir()
    old = [store.folder / "old.new", store.folder / "locks" / "old"]
    young = [store.folder / "young.new", store.folder / "locks" / "young"]
    for path in (*old, *young):
        path.touch()
    for path in old:
        os.utime(path, (0, 0))
    store.keep_state("b", b"")
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)


def test_a_colleague_may_read_what_the_umask_lets_him(store: Store) -> None:
    store.keep_state("a", b"state")
    before = os.umask(0)
    os.umask(before)
    assert (store.folder / "states/a").stat().st_mode & 0o777 == 0o666 & ~before


def test_a_record_has_the_name_that_it_was_asked_for_by(store: Store) -> None:
    """make unchanged renames, and metrics/timing shall have the new name."""
    numbers = dict.fromkeys(("lr", "train_loss", "test_loss", "test_accuracy"), 0.5)
    numbers |= {"seed": 0, "epoch": 1, "gradient_norm": 1.0, "seconds": 1.0}
    epoch = numbers | {"train_loss_clean": None}
    record = {"epoch": epoch, "name": "old", "precision": "fp32", "hardware": "a CPU"}
    store.keep_record("old", record)
    store.rename("old", "new")
    found = find(store, "new", {}, clean=False)
    assert found is not None and found.name == "new"


# --- what cannot be read or written ---


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may only be read; the tests may run as root, whom no permission stops."""

    def read_only(*_: Any, **__: Any) -> Any:
        raise OSError(30, "Read-only file system")

    for name in ("utime", "open"):
        monkeypatch.setattr(os, name, read_only)
    real = Path.open
    reads = lambda path, mode="r", *rest: (read_only if mode == "xb" else real)(path, mode, *rest)  # noqa: E731
    monkeypatch.setattr(Path, "open", reads)
    for name in ("unlink", "replace", "touch"):
        monkeypatch.setattr(Path, name, read_only)


def test_a_store_that_may_only_be_read_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep_record("a", {"loss": 0.25})
    store.keep_state("a", b"state")
    forbid(monkeypatch)
    assert store.record("a") == {"loss": 0.25} and store.state("a") == b"state"
    sentence = r"^\S+ cannot be written: Read-only file system\. Free .*ALEXNET_LAB_RUNS, then run"
    for write in (
        lambda: store.keep_record("b", {}),
        lambda: store.keep_state("b", b""),
        lambda: store.lock("b").__enter__(),
    ):
        with pytest.raises(UserError, match=sentence):
            write()
    store.drop_state("a")  # it stays, and nothing depends on that


def test_a_full_disk_leaves_nothing_half(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.keep_record("a", {"loss": 0.25})
    before = files_of(store)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        store.keep_record("a", {"loss": 0.5})
    assert files_of(store) == before and store.record("a") == {"loss": 0.25}


def test_a_file_that_cannot_be_read_is_not_called_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure may pass, but a state that was deleted for it would not come back."""
    store.keep_record("a", {"loss": 0.25})
    store.keep_state("a", b"state")

    def broken(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", broken)
        for read in (store.record, store.state):
            with pytest.raises(UserError, match=r"/a cannot be read: Input/output error"):
                read("a")
    assert store.record("a") == {"loss": 0.25} and store.state("a") == b"state"


def test_a_lock_waits_for_its_holder_and_leaves_nothing(store: Store) -> None:
    order: list[str] = []
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock("a"):
            held.set()
            assert go_on.wait(10)
            order.append("first")

    first = threading.Thread(target=hold)
    first.start()
    assert held.wait(10)

    def follow() -> None:
        with store.lock("a"):
            order.append("second")

    second = threading.Thread(target=follow)
    second.start()
    with store.lock("b"):  # another name is free
        order.append("other")
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    first.join(10)
    second.join(10)
    assert order == ["other", "first", "second"] and files_of(store) == []


# --- where it is ---


def test_a_temporary_experiment_finds_the_projects_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "abc123"
    inner.mkdir(parents=True)
    folders = []
    for place in (tmp_path, inner):
        monkeypatch.chdir(place)
        folders.append(the_store().folder.resolve())
    assert folders == [tmp_path / ".runs"] * 2


def test_the_environment_moves_and_bounds_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the_store() == Store(Path(".runs"), BOUND)
    monkeypatch.setenv("ALEXNET_LAB_RUNS", "/else/where")
    monkeypatch.setenv("ALEXNET_LAB_RUNS_GIB", "0.5")
    assert the_store() == Store(Path("/else/where"), 2**29)
    for name in ("ALEXNET_LAB_RUNS", "ALEXNET_LAB_RUNS_GIB"):
        monkeypatch.setenv(name, "")
    assert the_store() == Store(Path(".runs"), BOUND)


@pytest.mark.parametrize("value", ["much", "2 GiB", "inf", "nan", "-1"])
def test_a_bound_that_is_no_number_is_one_sentence(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_LAB_RUNS_GIB", value)
    with pytest.raises(UserError, match=f"^ALEXNET_LAB_RUNS_GIB is '{value}'; it should be a"):
        the_store()
