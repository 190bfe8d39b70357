"""The head: it starts or joins the engine, hands over what is not known, and keeps what comes."""

import logging
import os
import signal
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster
from distributed.comm import parse_address, parse_host_port
from rich.progress import Progress, TaskID, TextColumn, TimeRemainingColumn

from alexnet_lab.cluster.worker import OURS, Terms, give, gradient_error, take, train
from alexnet_lab.console import console, line_of
from alexnet_lab.errors import UserError
from alexnet_lab.learning.epoch import Epoch
from alexnet_lab.machine.hardware import SMALLER, Hardware, this_machine
from alexnet_lab.machine.processes import SIGNALS
from alexnet_lab.runs import names
from alexnet_lab.runs.records import keep
from alexnet_lab.runs.run import Run
from alexnet_lab.runs.site import Site
from alexnet_lab.runs.stage import branchings, known_epochs, worker_count
from alexnet_lab.runs.store import Store

Stages = set[tuple[str, str]]  # exercise and variant
MIX = "ALEXNET_LAB_CLUSTER_MIX"  # 1: workers of any kind of hardware
LIVE = console.is_terminal and not console.is_dumb_terminal
MOST_IN_VAIN = 3  # slices after which as much of a run is left as before
QUIET = {"host": "127.0.0.1", "dashboard": False}
CONFIG = {  # of an engine on this machine
    "distributed.nanny.pre-spawn-environ": {},  # its malloc threshold makes training 30 % slower
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.work-stealing-interval": "100ms",
}


def train_all(studies: Sequence[tuple[Site, Stages]]) -> tuple[list[Site], dict[str, str]]:
    """Let the engine train all that some stages do not know.

    Returns the sites with the hardware that they run on, and what went wrong, by the name of the
    epoch where it did. Stages whose data is not there yet are left to a later call.
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
        names.versions(),
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
        for run in runs:
            take_from_git(run, here.store)
        errors = carry_out(client, runs, branchings(every), here.store, token, shared)
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
    runs: Iterable[Run],
    wanted: frozenset[str],
    store: Store,
    token: str,
    shared: bool,
) -> dict[str, str]:
    """Let the workers train the runs, slice by slice, and once what several have in common.

    Returns what went wrong, by the name of the epoch; the other runs are trained nonetheless.
    """
    errors, said, begun = dict[str, str](), SimpleQueue[Any](), dict[str, int]()
    due = {run.names[-1]: run for run in sorted(runs, key=lambda run: run.recipe.clean_train_loss)}
    vain = Counter[str]()
    under_way = dict[str, tuple[str, ...]]()  # what a slice could train, by its run's last epoch
    client.subscribe_topic(OURS, said.put)

    def submit(kin: Iterable[str]) -> None:
        left = {name: to_train(due[name], store) for name in kin if name not in under_way}
        left = {name: some for name, some in left.items() if not errors.keys() & {*some[:1]}}
        for name in ready(due, left, under_way.values()):
            run, under_way[name] = due[name], left[name]
            start = len(run.names) - len(left[name])
            begun[name] = min(start, begun.get(name, start))
            states = run.names[max(0, start - 1) : start]
            future = client.submit(
                train,
                *(run, begun[name], wanted.intersection(run.names)),
                ({}, {}) if shared else give(store, run.names, states),
                token,
                key=f"{run.title.split()[0]}-{uuid4().hex}",  # Dask learns an exercise's seconds
                priority=max(len(some) for some in left.values() if some and some[0] in left[name]),
                resources={OURS: 1},
            )
            future.add_done_callback(lambda future, name=name: said.put((name, future)))

    with Table({epoch for run in due.values() for epoch in to_train(run, store)}) as table:
        submit(due)
        while under_way:
            match said.get():
                case (str(name), Future() as future):
                    run, before = due[name], under_way.pop(name)
                    table.end(run)
                    if future.status == "finished":
                        take(store, future.result())
                    left = to_train(run, store)
                    if len(left) < len(before):
                        for epoch in {*run.names[begun[name] : -len(before)]} - wanted:
                            store.drop_state(epoch)  # there is a later one
                    else:
                        vain[name] += 1  # a damaged state costs a slice or two
                    if future.status != "finished" or vain[name] > MOST_IN_VAIN:
                        console.print(text := f"{run.title}: {reason(future)}")
                        errors[(*left, name)[0]] = text
                    submit(end for end, kin in due.items() if kin.names[0] == run.names[0])
                case (_, {"end": end, "record": record, "by": worker}) if end in due:
                    take(store, ({record["name"]: record}, {}))
                    table.epoch(due[end], worker, record)
                case (_, {"refused": sentence}):
                    console.print(sentence)
    return errors


def take_from_git(run: Run, store: Store) -> None:
    """Keep what git knows of a run."""
    for epoch, record in enumerate(known_epochs(run, store)):
        if record and not run.find(epoch, store, {}):
            keep(store, record)


def to_train(run: Run, store: Store) -> tuple[str, ...]:
    """The epochs of a run from the first that is not known, or from where a state before it is."""
    known = run.known(store, {})
    return run.names[run.start(known.index(None), store) :] if None in known else ()


def ready(
    due: Mapping[str, Run], left: Mapping[str, Sequence[str]], under_way: Iterable[Sequence[str]]
) -> list[str]:
    """Which runs can be trained now: no other that is under way will train what one needs next.

    Of several that need the same, the first is one that measures more, then the longest. Runs are
    named after their last epochs, and ``left`` is what is to be trained of each.
    """
    chosen, busy = list[str](), list(under_way)
    order = {name: (due[name].recipe.clean_train_loss, len(some)) for name, some in left.items()}
    for name in sorted(left, key=lambda name: order[name], reverse=True):
        if left[name] and not any(left[name][0] in epochs for epochs in busy):
            chosen.append(name)
            busy.append(left[name])
    return chosen


class Table(Progress):
    """Run, worker, epoch and time left: live, or a line per epoch without a terminal."""

    def __init__(self, left: set[str]) -> None:
        texts = ("{task.description}", "{task.fields[worker]}", "{task.completed:.0f}/{task.total}")
        columns = (*map(TextColumn, texts), TimeRemainingColumn())
        super().__init__(*columns, console=console, disable=not LIVE)
        self.rows, self.left = dict[str, TaskID](), left
        self.all = self.add_task("all", total=len(left), worker="")

    def epoch(self, run: Run, worker: str, record: dict[str, Any]) -> None:
        """A worker has trained one more epoch of a run; word of it may come after its slice."""
        number, end = record["epoch"]["epoch"], run.names[-1]
        if end not in self.rows:
            self.rows[end] = self.add_task(run.title, total=run.recipe.epochs, worker=worker)
        self.update(self.rows[end], completed=number, worker=worker, visible=True)
        if record["name"] in self.left:
            self.left.remove(record["name"])
            self.advance(self.all)
        if not LIVE:
            line = line_of(run.title, Epoch(**record["epoch"]), run.recipe.epochs)
            console.print(f"{line}, worker {worker}")

    def end(self, run: Run) -> None:
        """No worker is at it."""
        if run.names[-1] in self.rows:
            self.update(self.rows[run.names[-1]], visible=False)


def reason(future: Future) -> str:
    """Why a run could not be trained: a sentence, or an error's last lines."""
    if future.status == "finished":
        return "its states were not kept; does ALEXNET_LAB_RUNS_GIB leave room for them?"
    if future.status != "error":
        return "the engine gave it up; does its scheduler still run?"
    error = future.exception()
    if isinstance(error, KilledWorker):
        return f"its worker died, again and again; if memory ran out, {SMALLER}"
    if isinstance(error, UserError):
        return str(error)
    return "".join(traceback.format_exception(error)[-4:]).rstrip()
