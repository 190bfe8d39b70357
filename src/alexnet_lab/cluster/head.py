"""The head: it starts or joins the engine, hands over what is not known, and keeps what comes."""

import logging
import os
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster
from distributed.comm import parse_address, parse_host_port
from rich.progress import Progress, TaskID, TextColumn, TimeRemainingColumn

from alexnet_lab.cluster.stretches import Stretch, paths, stretches
from alexnet_lab.cluster.worker import OURS, Terms, give, gradient_error, take, train
from alexnet_lab.console import console, line_of
from alexnet_lab.errors import UserError
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.machine.hardware import SMALLER, Hardware, this_machine
from alexnet_lab.machine.processes import SIGNALS
from alexnet_lab.runs import names
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings, worker_count
from alexnet_lab.runs.store import Store

Stages = set[tuple[str, str]]  # exercise and variant
MIX = "ALEXNET_LAB_CLUSTER_MIX"  # 1: workers of any kind of hardware
LIVE = console.is_terminal and not console.is_dumb_terminal
QUIET = {"host": "127.0.0.1", "dashboard": False}
CONFIG = {  # of an engine on this machine
    "distributed.nanny.pre-spawn-environ": {},  # its malloc threshold makes training 30 % slower
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing-interval": "100ms",
}


def train_all(studies: Sequence[tuple[Site, Stages]]) -> tuple[list[Site], dict[str, str]]:
    """Let the engine train all that some stages do not know.

    Returns the sites with the hardware that they run on, and what went wrong, by the name of the
    last epoch of each stretch. Stages whose data is not there yet are left to a later call.
    UserError if nobody takes part.
    """
    studies = [(site, due & {(e, v) for e, v, _ in site.all_runs()}) for site, due in studies]
    here, token, mix = studies[0][0], f"head-{uuid4().hex}", os.environ.get(MIX) or "0"
    if mix not in ("0", "1"):
        raise UserError(f"{MIX} is '{mix}'; it should be 0 or 1.")
    here.store.keep_state(token, b"")
    folders = {site.data / site.study.exercise(e).images for site, due in studies for e, _ in due}
    terms = Terms(
        names.code(),
        {package: version(package) for package in names.VERSIONS},
        {folder: names.images(folder) for folder in folders},
        token,
        "" if mix == "1" else here.hardware.kind,
    )
    with engine(worker_count(here.study.threads, here.hardware), here.hardware) as client:
        hardware, shared = admit(client, terms, here.hardware)
        sites = [replace(site, hardware=hardware) for site, _ in studies]
        every, runs = list[Run](), list[Run]()
        for site, (_, due) in zip(sites, studies, strict=True):
            compare_gradients(client, site, due)
            for exercise, variant, some in site.all_runs():
                every += some
                runs += some if (exercise, variant) in due else []
        wanted = branchings(every)
        pieces = stretches(runs, wanted, here.store)
        errors = carry_out(client, pieces, wanted, here.store, token, shared)
    here.store.drop_state(token)
    return sites, errors


@contextmanager
def engine(count: int, hardware: Hardware) -> Iterator[Client]:
    """So many workers here, on each GPU if there are GPUs; or those at ALEXNET_LAB_CLUSTER.

    UserError if nobody answers there. An exception inside ends this process, and so its workers:
    they are closed only after an end in peace, since that takes a while.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # an error comes back to us
    address, cluster = os.environ["ALEXNET_LAB_CLUSTER"], None
    # Ctrl-C reaches every process of a terminal: what is started here leaves it to us. The tracker
    # comes first, since its start unblocks the signals again; it would talk of killed workers.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        if address == "auto":
            options = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
            with dask.config.set(CONFIG):
                workers = {
                    n: {"cls": Nanny, "options": QUIET | options | {"env": env, "name": n}}
                    for n, env in enumerate(gpus(hardware) * count)
                }
                scheduler = {"cls": Scheduler, "options": QUIET | {"port": 0}}
                cluster = SpecCluster(workers, scheduler, silence_logs=False)
        else:
            parse_host_port(parse_address(address)[1])  # ValueError if it is no address
        client = Client(cluster or address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"ALEXNET_LAB_CLUSTER is '{address}'; it should be auto, or the address of a Dask "
            f"scheduler that runs, such as tcp://10.0.0.1:8786: {error}"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    yield client
    client.close()
    if cluster:
        cluster.close()


def gpus(hardware: Hardware) -> list[dict[str, str]]:
    """The environment of a worker on each GPU; without a GPU, of one worker."""
    if hardware.device == "cpu":
        return [{}]
    import torch

    every = ",".join(map(str, range(torch.cuda.device_count())))
    named = os.environ.get("CUDA_VISIBLE_DEVICES", every).split(",")
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in named]


def admit(client: Client, terms: Terms, here: Hardware) -> tuple[Hardware, bool]:
    """Let workers take part: those of this machine's kind or, if there are none, of their own.

    Returns the hardware that the study runs on, and whether all workers share this store.
    UserError if nobody takes part.
    """
    if not client.nthreads():
        console.print("Waiting for the first worker.")
        client.wait_for_workers(1)
    try:
        client.run_on_scheduler(names.code)  # it unpickles tasks
        machines = client.run(this_machine, on_error="ignore").values()
        kinds = {machine.kind: machine for machine in machines}
        if terms.kind and terms.kind not in kinds and len(kinds) == 1:
            ((terms.kind, here),) = kinds.items()
            console.print(f"The study runs on {here.kind}, unlike this machine.")
        client.register_plugin(terms)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"The scheduler or a worker lacks the code ({error}): start each in a checkout of this "
            "commit, with its .venv/bin/dask."
        ) from error
    workers = client.run(lambda dask_worker: vars(dask_worker.plugins[OURS])).values()
    refused = [worker["refused"] for worker in workers if worker["refused"]]
    if len(refused) == len(workers):
        raise UserError(
            "\n".join(refused)
            or "The last worker has left: start one, then run the same command again."
        )
    console.print(*refused, sep="\n", end="\n" if refused else "")
    return here, all(worker["shares"] for worker in workers if not worker["refused"])


def compare_gradients(client: Client, site: Site, due: Stages) -> None:
    """Let workers find out whether bf16 is right, which decides what `auto` means."""
    asked = dict[str, Future]()
    for exercise, variant in due if site.hardware.bf16 else ():
        if site.study.precision_of(exercise, variant) == "auto":
            run = site.runs(exercise, variant, "bf16")[0]
            some = (run.recipe, names.images(run.data), run.held_back, run.threads)
            root = names.root(*some, site.hardware.kind, "auto")
            if root not in asked and not site.store.record(root):
                asked[root] = client.submit(gradient_error, run, resources={OURS: 1}, pure=False)
    for root, future in asked.items():
        with suppress(Exception):  # its training says why
            site.store.keep_record(root, {"gradient_error": future.result()})


def carry_out(
    client: Client,
    due: dict[str, Stretch],
    wanted: frozenset[str],
    store: Store,
    token: str,
    shared: bool,
) -> dict[str, str]:
    """Let the workers train the stretches, each when what comes before it is there.

    Returns what went wrong, by the stretch's name; the other stretches are trained nonetheless.
    """
    errors, said, running = dict[str, str](), SimpleQueue[Any](), dict[str, Future]()
    longest, begun = paths(due), dict[str, int]()
    client.subscribe_topic(OURS, said.put)

    def submit(ready: Iterable[Stretch]) -> None:
        for piece in sorted(ready, key=lambda piece: -longest[piece.name]):
            run, start = piece.run, piece.start(store)
            states = run.names[max(0, start - 1) : start]
            first = max(piece.first, begun.setdefault(piece.name, start))
            running[piece.name] = client.submit(
                train,
                *(run, first, wanted.intersection(run.names)),
                ({}, {}) if shared else give(store, run.names, states),
                token,
                key=f"{run.title.split()[0]}-{uuid4().hex}",  # Dask learns an exercise's seconds
                priority=longest[piece.name] - max(0, start - piece.first),
                resources={OURS: 1},
            )
            running[piece.name].add_done_callback(lambda _, piece=piece: said.put(piece))

    submit(piece for piece in due.values() if piece.before not in due)
    with Table(due) as table:
        while running:
            match said.get():
                case Stretch() as piece:
                    future = running.pop(piece.name)
                    if future.status == "finished":
                        complete, findings = future.result()
                        take(store, findings)
                        after = [other for other in due.values() if other.before == piece.name]
                        submit(after if complete else [piece])
                    else:
                        errors[piece.name] = f"{piece.run.title}: {reason(future)}"
                        console.print(errors[piece.name])
                    if piece.name not in running:
                        table.end(piece)
                case (_, {"end": end, "record": record, "by": worker}) if end in due:
                    take(store, ({record["name"]: record}, {}))
                    table.epoch(due[end], worker, record["epoch"])
                case (_, {"refused": sentence}):
                    console.print(sentence)
    return errors


class Table(Progress):
    """Run, worker, epoch and time left: live, or a line per epoch without a terminal."""

    def __init__(self, due: dict[str, Stretch]) -> None:
        texts = ("{task.description}", "{task.fields[worker]}", "{task.completed:.0f}/{task.total}")
        columns = (*map(TextColumn, texts), TimeRemainingColumn())
        super().__init__(*columns, console=console, disable=not LIVE)
        epochs = {name: len(piece.run.names) - piece.first for name, piece in due.items()}
        self.rows, self.left = dict[str, TaskID](), epochs
        self.all = self.add_task("all", total=sum(epochs.values()), worker="")

    def epoch(self, piece: Stretch, worker: str, epoch: dict[str, Any]) -> None:
        """A worker has trained one more epoch of a stretch; word of it may come after the end."""
        if piece.name not in self.left:
            return
        run, number, total = piece.run, epoch["epoch"], piece.run.recipe.epochs
        if piece.name not in self.rows:
            row = self.add_task(run.title, total=total, completed=number - 1, worker=worker)
            self.rows[piece.name] = row
        self.update(self.rows[piece.name], completed=number, worker=worker)
        self.left[piece.name] -= 1
        self.advance(self.all, self.left[piece.name] >= 0)
        if not LIVE:
            console.print(f"{line_of(run.title, Epoch(**epoch), total)}, worker {worker}")

    def end(self, piece: Stretch) -> None:
        """A stretch has ended, well or not."""
        if piece.name in self.rows:
            self.remove_task(self.rows.pop(piece.name))
        self.advance(self.all, max(0, self.left.pop(piece.name)))


def reason(future: Future) -> str:
    """Why a stretch could not be trained: a sentence, or an error's last lines."""
    if future.status != "error":
        return "the engine gave it up; does its scheduler still run?"
    error = future.exception()
    if isinstance(error, KilledWorker):
        return f"its worker died, again and again; if memory ran out, {SMALLER}"
    if isinstance(error, UserError):
        return str(error)
    return "".join(traceback.format_exception(error)[-4:]).rstrip()
