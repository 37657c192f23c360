"""What the user asks for. Each default stands here and nowhere else.

Plain data without heavy imports, so that ``workbench --help`` can show the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.errors import SettingsError
from workbench.folder_files import user_path
from workbench.method_names import METHODS, RECIPES, SCALES
from workbench.protocols import FOUR, PROTOCOLS

SCHEDULES = ("paper", "one-cycle")
HEADS = ("auto", "slice", "new")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
KEEP_WEIGHTS = ("best", "all", "none")
#: What shapes a recipe beside method and energy; recorded only where it is not the default.
RECIPE_OPTIONS = (
    "footprint", "flops", "params", "latency_ms", "divergence", "gamma_map", "multiple_of", "steps",
    "selection", "draw",
)  # fmt: skip
#: Where pages and rows of experiments go when the user names no other folder.
RESULTS = Path("docs/results")
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of ``adapt``; None stands for the network's own value.

    Attributes:
        source: name of the data set that the network was trained on, D_A, or a folder of images.
        target: name of the domain, D_Z.
        model: architecture; the source's usual one when None.
        method: how many filters a layer keeps, and which: a name in ``METHODS``.
        recipe, selection: the one or the other by another method.
        draw: number of the draw, of what is random in a recipe.
        energy: threshold of PFA-En, in (0, 1].
        footprint, flops, params, latency_ms: instead of it, what the network may cost: shares of
            the full network's parameters or FLOPs in (0, 1], a count of parameters, or
            milliseconds an image on this machine. As a footprint "pfa-kl" stands for PFA-KL's.
        divergence, gamma_map: how PFA-KL measures a spectrum and maps that to filters.
        multiple_of: widths are rounded up to a multiple of this.
        steps: of iterative PFA; 1 is one shot.
        protocols: which of ``PROTOCOLS`` to run.
        seeds: how often each is run, with seeds ``first_seed``, ``first_seed`` + 1, ...
        temperature, distill_weight: of pfa-distill (``distillation``).
        epochs, schedule, lr, batch_size, weight_decay: of the protocols' training.
        fine_lr: learning rate of the protocols that start from inherited weights.
        head: "slice" keeps the classifier's rows of the target's classes, "new" draws a new
            classifier; "auto" is "slice" where all of them are classes of the source.
        weights: file with a trained source network; it is trained here when None.
        source_epochs: length of that training.
        device, precision: where and how to compute.
        tolerance: percentage points that the recommended network may lie below the best.
        keep_weights: which trained networks are kept: one a protocol, all or none.
        fresh: train again what is already recorded.
        image_size: pixels high and wide of the images of a folder as ``source``.
        strict: files that are no readable images are an error.
        data_dir, domains, tracking_uri, output: where things are.
    """

    source: str
    target: str
    model: str | None = None
    method: str = "pfa-kl"
    recipe: str | None = None
    selection: str | None = None
    draw: int = 0
    energy: float | None = None
    footprint: float | str | None = None
    flops: float | None = None
    params: int | None = None
    latency_ms: float | None = None
    divergence: str = "kl"
    gamma_map: str = "linear"
    multiple_of: int = 1
    steps: int = 1
    protocols: tuple[str, ...] = FOUR
    seeds: int = 1
    first_seed: int = 0
    temperature: float = 1.0
    distill_weight: float = 0.5
    epochs: int | None = None
    schedule: str = "paper"
    lr: float | None = None
    fine_lr: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    head: str = "auto"
    weights: Path | None = None
    source_epochs: int | None = None
    device: str = "auto"
    precision: str = "auto"
    tolerance: float = 1.0
    keep_weights: str = "best"
    fresh: bool = False
    image_size: int | None = None
    strict: bool = False
    data_dir: Path | None = None
    domains: Path | None = None
    tracking_uri: str | None = None
    output: Path | None = None

    @classmethod
    def of(cls, **options: Any) -> Settings:
        """Settings from a caller's keywords: paths may be text, protocols a text or a list.

        Raises:
            TypeError: for a keyword that is no option.
        """
        for name in ("weights", "data_dir", "domains", "output"):
            if options.get(name) is not None:
                options[name] = user_path(options[name])
        if isinstance(options.get("params"), str):
            options["params"] = parameter_count(options["params"])
        if isinstance(options.get("footprint"), str):
            options["footprint"] = _footprint(options["footprint"])
        if "protocols" in options:
            names = options["protocols"]
            parts = names.split(",") if isinstance(names, str) else names
            options["protocols"] = tuple(part.strip() for part in parts if part.strip())
        return cls(**options).with_whole_method()

    def with_whole_method(self) -> Settings:
        """The same with ``method`` standing for its recipe, and a selection only where another.

        So that the same choice has the same name, however it was written. Names that are not
        known are left for ``setting_checks``.
        """
        own = METHODS.get(self.method)
        if own is None or self.recipe not in (None, *RECIPES):
            return self
        recipe, selection = self.recipe or own[0], self.selection or own[1]
        named = [name for name, pair in METHODS.items() if pair == (recipe, selection)]
        if named:
            return replace(self, method=named[0], recipe=None, selection=None)
        method = next(name for name, pair in METHODS.items() if pair[0] == recipe == name)
        return replace(self, method=method, recipe=None, selection=selection)

    @property
    def seed_range(self) -> range:
        """The seeds of every protocol."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def reads_scales(self) -> bool:
        """Whether recipe or selection reads the scales of the source's batch norms."""
        return SCALES in (*METHODS.get(self.method, ()), self.selection)

    @property
    def distils(self) -> bool:
        """Whether a protocol needs a teacher."""
        return any(name in PROTOCOLS and PROTOCOLS[name].distilled for name in self.protocols)

    def extras(self) -> dict[str, Any]:
        """Options that enter records only where they matter: old records stay as they are."""
        known: dict[str, Any] = {"first_seed": self.first_seed} if self.first_seed else {}
        if self.distils:
            known |= {"temperature": self.temperature, "distill_weight": self.distill_weight}
        return known

    def chosen_recipe(self) -> dict[str, Any]:
        """The options of the recipe that differ from their defaults: nothing for a plain one.

        Only these enter keys and records, so that new options leave old records as they are.
        """
        return {
            name: getattr(self, name)
            for name in RECIPE_OPTIONS
            if getattr(self, name) != getattr(Settings, name)
        }


def _footprint(text: str) -> float | str:
    """A share, or the name of the recipe whose footprint is meant."""
    try:
        return float(text)
    except ValueError:
        return text.strip()


def parameter_count(text: str) -> int:
    """A number of parameters as people write it: 2500000, 2.5M, 800k.

    Raises:
        SettingsError: when the text is no such number.
    """
    number, unit = text.strip().lower(), 1.0
    if number[-1:] in _UNITS:
        number, unit = number[:-1], _UNITS[number[-1]]
    try:
        return round(float(number) * unit)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"--params {text}: is no number of parameters; write 2500000, 2.5M or 800k"
        ) from None
