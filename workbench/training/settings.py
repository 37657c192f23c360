"""The user's options for trainings, and their checks.

The module has no heavy imports, so that ``workbench --help`` can show the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.errors import check_choice, check_once
from workbench.training.attack_names import check_attack, epsilons_of
from workbench.training.distillation_options import (
    FULL_FINE,
    MUTUAL,
    SOFT_TARGETS,
    SOURCE,
    chosen_options,
    distillation_problems,
)
from workbench.training.protocols import FOUR, PROTOCOLS

SCHEDULES = ("paper", "one-cycle")
HEADS = ("auto", "slice", "new")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
#: Options of the training of gates.
GATE_OPTIONS = ("gate_epochs", "gate_penalty")
_MOST_SEEDS, _MOST_EPOCHS = 1000, 1_000_000
_LARGEST_SEED, _LARGEST_BATCH = 2**32 - 1, 2**20
_LARGEST_ALPHA = 100
_LARGEST_RATE = 1e6
_LARGEST_BETA = 100


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The options of the trainings; None means the network's own value.

    Attributes:
        protocols: which of ``PROTOCOLS`` to run.
        seeds: how often each is run, with seeds ``first_seed``, ``first_seed`` + 1, ...
        temperature, distill_weight: of pfa-distill (``training.objectives.soft_targets``).
        objective: what its network learns from the teacher, one of ``OBJECTIVES``.
        teacher: who teaches it, one of ``TEACHERS``.
        generations: how often it is trained, each time by the network of the time before.
        assistant: a network of intermediate size learns from the teacher and teaches it.
        epochs, schedule, lr, batch_size, weight_decay: of the protocols' training.
        fine_lr: learning rate of the protocols that start from inherited weights.
        head: "slice" keeps the classifier's rows of the target's classes, "new" draws a new
            classifier; "auto" is "slice" if all of them are classes of the source.
        source_epochs: length of the source network's training.
        ema, label_smoothing, mixup, cutmix, orthogonality: as in ``training.plans.Plan``; 0 is off.
        repair_epochs: epochs of the compressed network on the source's images before its training
            on the target; 0 is off.
        gate_epochs: epochs of the training of gates; None for those of the fine-tuning.
        gate_penalty: its penalty on open gates; None for the default of the method.
        scale_dropout: whether compressed networks have lower dropout rates (``scaled_dropout``).
        attack: largest changes of a pixel by the attacks on trained networks, in 1/255 of its
            range, as text; empty without attacks.
        sync_batch_norm: whether batch norms use the batches of all processes of torchrun.
        device, precision: where and how to compute.
    """

    protocols: tuple[str, ...] = FOUR
    seeds: int = 1
    first_seed: int = 0
    temperature: float = 1.0
    distill_weight: float = 0.5
    objective: str = SOFT_TARGETS
    teacher: str = FULL_FINE
    generations: int = 1
    assistant: bool = False
    epochs: int | None = None
    source_epochs: int | None = None
    schedule: str = "paper"
    lr: float | None = None
    fine_lr: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    ema: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    orthogonality: float = 0.0
    scale_dropout: bool = False
    sync_batch_norm: bool = True
    repair_epochs: int = 0
    gate_epochs: int | None = None
    gate_penalty: float | None = None
    head: str = "auto"
    attack: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"

    @classmethod
    def of(cls, **options: Any) -> TrainingSettings:
        """Create the settings from a user's options; lists may be text with commas."""
        for name in ("protocols", "attack"):
            if name in options:
                value = options[name]
                parts = value.split(",") if isinstance(value, str) else map(str, value)
                options[name] = tuple(part.strip() for part in parts if part.strip())
        return cls(**options)

    @property
    def seed_range(self) -> range:
        """The seeds of every protocol."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def distils(self) -> bool:
        """Whether a protocol needs a teacher."""
        return any(name in PROTOCOLS and PROTOCOLS[name].distilled for name in self.protocols)

    @property
    def compresses(self) -> bool:
        """Whether a protocol trains a compressed network."""
        return any(name in PROTOCOLS and PROTOCOLS[name].compressed for name in self.protocols)

    @property
    def regularisers(self) -> dict[str, Any]:
        """The fields of a plan that these options set."""
        names = ("ema", "label_smoothing", "mixup", "cutmix", "scale_dropout", "orthogonality")
        parts = {} if self.sync_batch_norm else {"norm_parts": _processes()}
        return {name: getattr(self, name) for name in names} | parts

    @property
    def gate_options(self) -> dict[str, Any]:
        """The options of the training of gates that the user has given."""
        given = {name: getattr(self, name) for name in GATE_OPTIONS}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def epsilons(self) -> tuple[int, ...]:
        """The values of ``attack`` as numbers."""
        return epsilons_of(self.attack)

    @property
    def needs_full_fine(self) -> bool:
        """Whether a protocol learns from the network of full-fine."""
        return self.distils and self.objective != MUTUAL and self.teacher != SOURCE

    @property
    def has_teacher_runs(self) -> bool:
        """Whether networks are trained to teach others before the protocols' own seeds."""
        chain = self.assistant or self.generations > 1
        return self.needs_full_fine or (self.distils and self.objective != MUTUAL and chain)

    def extras(self) -> dict[str, Any]:
        """Options that are recorded only if they have an effect, so old records stay valid."""
        known: dict[str, Any] = {"first_seed": self.first_seed} if self.first_seed else {}
        if self.repair_epochs:
            known["repair_epochs"] = self.repair_epochs
        known |= self.gate_options
        if self.attack:
            known["attack"] = list(self.attack)
        if self.distils:
            known |= {"temperature": self.temperature, "distill_weight": self.distill_weight}
            known |= chosen_options(self)
        return known

    def problems(self) -> list[str]:
        """Return one line for each invalid value of an option."""
        problems = [
            *check_choice("--head", self.head, HEADS),
            *check_names(self.schedule, self.device, self.precision),
        ]
        for name in self.protocols:
            problems += check_choice("--protocols", name, list(PROTOCOLS))
        if not self.protocols:
            problems.append(f"--protocols is empty; choose from {', '.join(PROTOCOLS)}")
        problems += check_once("--protocols", self.protocols)
        problems += check_seeds(self.seeds, self.first_seed)
        problems += check_numbers(
            epochs=self.epochs,
            source_epochs=self.source_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            fine_lr=self.fine_lr,
            weight_decay=self.weight_decay,
        )
        problems += check_regularisers(self.ema, self.label_smoothing, self.mixup, self.cutmix)
        problems += check_orthogonality(self.orthogonality)
        if self.scale_dropout and not self.compresses:
            problems.append(
                "--scale-dropout has no effect without a compressed network; add a protocol such "
                "as pfa-fine or leave it out"
            )
        problems += check_sync(self.sync_batch_norm)
        problems += _check_range("--repair-epochs", self.repair_epochs, 0, _MOST_EPOCHS)
        chosen = [PROTOCOLS[name] for name in self.protocols if name in PROTOCOLS]
        if self.repair_epochs > 0 and not any(p.compressed and p.inherited for p in chosen):
            problems.append(
                f"--repair-epochs {self.repair_epochs} has no effect without a compressed network "
                "with inherited weights; add a protocol such as pfa-fine or leave it out"
            )
        problems += _check_range("--gate-epochs", self.gate_epochs, 1, _MOST_EPOCHS)
        if self.gate_penalty is not None and not 0 <= self.gate_penalty < float("inf"):
            problems.append(f"--gate-penalty {self.gate_penalty:g} is not 0 or more; try 1")
        problems += distillation_problems(self)
        problems += check_attack(self.attack)
        return problems


def check_names(schedule: str, device: str, precision: str) -> list[str]:
    """Return one line for each of the three names that is unknown."""
    return [
        *check_choice("--schedule", schedule, SCHEDULES),
        *check_choice("--device", device, DEVICES),
        *check_choice("--precision", precision, PRECISIONS),
    ]


def check_seeds(seeds: int, first_seed: int) -> list[str]:
    """Return one line for each of the two numbers that is out of range."""
    return [
        *_check_range("--seeds", seeds, 1, _MOST_SEEDS),
        *check_seed("--first-seed", first_seed),
    ]


def check_seed(option: str, seed: int) -> list[str]:
    """Return one line if a seed is out of range."""
    if seed < 0:
        return [f"{option} {seed} is negative; use 0 or more"]
    return _check_range(option, seed, 0, _LARGEST_SEED)


def check_numbers(
    *,
    epochs: int | None = None,
    source_epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    fine_lr: float | None = None,
    weight_decay: float | None = None,
) -> list[str]:
    """Return one line for each number that is out of range; None is always accepted."""
    problems = [
        *_check_range("--epochs", epochs, 1, _MOST_EPOCHS),
        *_check_range("--source-epochs", source_epochs, 1, _MOST_EPOCHS),
        *_check_range("--batch-size", batch_size, 2, _LARGEST_BATCH),
    ]
    for option, rate in (("--lr", lr), ("--fine-lr", fine_lr)):
        if rate is not None and not 0 < rate < float("inf"):
            problems.append(f"{option} {rate:g} is not a positive number; try 0.1")
        elif rate is not None and rate > _LARGEST_RATE:
            problems.append(f"{option} {rate:g} is above {_LARGEST_RATE:g}; try 0.1")
    if weight_decay is not None and not 0 <= weight_decay < 1:
        problems.append(f"--weight-decay {weight_decay:g} is not within [0, 1); try 5e-4")
    return problems


def check_sync(sync_batch_norm: bool) -> list[str]:
    """Return one line if batch norms on parts of a batch are asked for in one process."""
    if sync_batch_norm or _processes() > 1:
        return []
    return [
        "--no-sync-batch-norm has no effect in one process; start it by torchrun or leave it out"
    ]


def _processes() -> int:
    from workbench.training.processes import share  # it imports torch

    return share().count


def check_regularisers(
    ema: float, label_smoothing: float, mixup: float, cutmix: float
) -> list[str]:
    """Return one line for each of these numbers that is out of range."""
    problems = [
        f"{option} {value:g} is not within [0, 1); try {example:g}"
        for option, value, example in (
            ("--ema", ema, 0.99),
            ("--label-smoothing", label_smoothing, 0.1),
        )
        if not 0 <= value < 1
    ]
    return problems + [
        f"{option} {value:g} is not within [0, {_LARGEST_ALPHA}]; try {example:g}"
        for option, value, example in (("--mixup", mixup, 0.2), ("--cutmix", cutmix, 1))
        if not 0 <= value <= _LARGEST_ALPHA
    ]


def check_orthogonality(beta: float) -> list[str]:
    """Return one line if the weight of the penalty is out of range."""
    if 0 <= beta <= _LARGEST_BETA:
        return []
    return [f"--orthogonality {beta:g} is not within [0, {_LARGEST_BETA}]; try 0.01"]


def _check_range(option: str, value: int | None, least: int, most: int) -> list[str]:
    if value is None or least <= value <= most:
        return []
    if value < least:
        return [f"{option} {value} is too small; it must be at least {least}"]
    return [f"{option} {value} is too large; it must be at most {most}"]
