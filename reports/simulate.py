"""`vitrtl simulate`: one model at one pair of widths; all images or a shard of them, here or on a cluster."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from golden.formats import Accumulators
from reports.checkpoint import key_of
from reports.choice import Bits, Choice, Shard
from reports.cluster import Cluster
from reports.commands import publish, results_of
from reports.evaluation import Evaluation
from reports.predictions import here
from reports.scheduler import connected
from reports.shards import ShardFile, ShardImages
from reports.workload import load_workload
from sim.accelerator import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command's options."""

    choice: Choice
    bits: Bits
    out: Path
    accelerator: Path | None
    """Description; None: the shipped one."""
    batch_size: int
    checked_images: int
    accumulators: Accumulators | None
    """None: such that no sum overflows."""
    shard: Shard | None
    """None: all images."""
    scheduler: str | None
    """Address of a Dask scheduler; None: this process predicts."""


def run_simulate(request: Request) -> None:
    """Evaluates, and writes results and report, for a shard also the file that `vitrtl merge` reads."""
    choice, shard, batch_size = request.choice, request.shard, request.batch_size
    accelerator = Accelerator.load(request.accelerator)
    with ExitStack() as stack:
        client = None if request.scheduler is None else stack.enter_context(connected(request.scheduler))
        workload = load_workload(choice).with_accumulators(request.accumulators)
        part = None
        if shard is not None:
            part = ShardImages(whole=workload.images, shard=shard, batch_size=batch_size)
            part.check_folder(request.out)
        evaluation = Evaluation(
            workload=workload,
            accelerator=accelerator,
            batch_size=batch_size,
            checked_images=request.checked_images,
            out=request.out,
            part=part,
            go=here if client is None else Cluster(client, choice, workload.model),
        )
        evaluation.float_baseline()
        run = evaluation.run(request.bits)
    more: dict[str, str | int] = {
        "batch_size": batch_size,
        "check_images": request.checked_images,
        "program_sha256": run.program.digest(),
        "accelerator_sha256": key_of(accelerator),
    }
    if part is not None:
        found = {level: passed for (_, level), passed in evaluation.predictions.items()}
        ShardFile.of(part, found).save(request.out)
        more |= {"shard": str(part.shard), "data": part.describe()}
    results = results_of("simulate", workload, evaluation.tables(), accelerator, request.bits, **more)
    publish(results, request.out)
