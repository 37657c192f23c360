"""A training as plain data: what is trained, on what, and what is recorded with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from workbench.compression.costs.costs import count_costs
from workbench.compression.evidence.evidence import Array
from workbench.data.catalog import Source
from workbench.data.image_batches import ImageSet
from workbench.models.weight_files import Card
from workbench.store.runs import Input
from workbench.training.distillation import Guide
from workbench.training.plans import Plan
from workbench.training.time_left import training_work


@dataclass(frozen=True)
class Job:
    """Complete description of one training.

    Attributes:
        key: hash of everything that determines the result.
        kind: "source", "protocol", "step", "repair", "gates" or "trial".
        title: name of the run.
        params: parameters to log, for filtering runs, and the settings.
        metrics: values known before the training (the network's costs).
        artifacts: texts to store beside the weights, by file name.
        inputs: the data sets.
        card: description of the network for its weight file.
        make_model: returns the network before training.
        plan, seed, train, test, source: arguments of the training.
        checkpoint_every: seconds between two checkpoints.
        make_teacher: returns what teaches the network; None without distillation.
        finish: makes the network to store from the trained one, which checkpoints hold.
        scores: returns the scores of the filters by filter group, from the trained network before
            ``finish``; None if the training has none.
        split: what ``test`` holds, "test" or "validation"; the names of the metrics start with it.
    """

    key: str
    kind: str
    title: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    artifacts: Mapping[str, str]
    inputs: Sequence[Input]
    card: Card
    make_model: Callable[[], nn.Module]
    plan: Plan
    seed: int
    train: ImageSet
    test: ImageSet
    source: Source
    checkpoint_every: float
    make_teacher: Callable[[], Guide] | None = None
    finish: Callable[[nn.Module], nn.Module] = lambda network: network
    scores: Callable[[nn.Module], Mapping[str, Array]] | None = None
    split: str = "test"

    def work(self, model: nn.Module) -> float:
        """Work of the training in FLOPs, for the estimate of the time left.

        Args:
            model: the network that is trained.
        """
        flops = self.metrics.get("flops")
        if flops is None:
            flops = count_costs(model, self.source.shape).flops
        return training_work(flops, len(self.train), self.plan.epochs)
