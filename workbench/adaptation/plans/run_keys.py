"""Keys of runs: hashes of everything that determines a result, and of nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workbench.adaptation.analysis_result import Analysis
from workbench.adaptation.plans.protocol_plans import (
    gate_plan,
    protocol_plan,
    repair_plan,
    step_plan,
)
from workbench.adaptation.tasks.loaded_task import LoadedTask, settings_dict
from workbench.adaptation.tasks.source_and_target import image_parts
from workbench.adaptation.tasks.source_network import SourceNetwork, model_parts
from workbench.adaptation.tasks.task import Task
from workbench.compression.factorisation.factor_method import FactorMethod
from workbench.compression.methods import FACTORISATIONS
from workbench.compression.recipes.recipe_settings import ONNX_INT8
from workbench.compression.recipes.recipes import Recipe
from workbench.models.factors import plain_factors
from workbench.models.processor import Processor
from workbench.store.keys import key_of
from workbench.training.distillation_options import ALL_CLASSES, FULL_FINE, SOFT_TARGETS
from workbench.training.gates import GATE_METHODS, GateMethod
from workbench.training.plans import Plan
from workbench.training.protocols import Protocol


def protocol_key(
    loaded: LoadedTask,
    protocol: Protocol,
    seed: int,
    weights: str,
    analysis: Analysis | None,
    teacher: str = "",
    kind: str = FULL_FINE,
) -> str:
    """Key of a protocol's training.

    Args:
        weights: fingerprint of the source weights.
        analysis: needed for compressed networks only.
        teacher: fingerprint of the teacher; "" for a protocol without one.
        kind: what the teacher is, a name in ``training.distillation_options``.
    """
    recipe = analysis.recipe if analysis and protocol.compressed else None
    parts: dict[str, Any] = {
        **loaded.data,
        **model_parts(loaded.task.model, loaded.task.source),
        "protocol": protocol.name,
        "seed": seed,
        **_how(protocol_plan(loaded, protocol, analysis), loaded.processor),
    }
    if protocol.inherited:
        parts |= {"weights": weights, "head": loaded.task.settings.training.head}
    if protocol.inherited and protocol.compressed:
        parts |= step_parts(loaded) | repair_parts(loaded) | gate_parts(loaded, weights)
        if loaded.task.settings.recipe.compensate:
            parts["compensate"] = True
    if protocol.distilled:
        settings = loaded.task.settings
        parts |= {
            "teacher": teacher,
            "temperature": settings.training.temperature,
            "distill_weight": settings.training.distill_weight,
        }
        if settings.training.objective != SOFT_TARGETS:
            parts["objective"] = settings.training.objective
        if kind in ALL_CLASSES:  # other teachers are identified by their weights
            parts["teachers"] = kind
    if recipe:
        kept = {name: list(indices) for name, indices in recipe.kept.items()}
        parts["recipe"] = kept if protocol.inherited else list(recipe.widths)
        parts |= factor_parts(recipe, inherited=protocol.inherited)
    return key_of("protocol", parts)


def factor_parts(recipe: Recipe, *, inherited: bool) -> dict[str, Any]:
    """The part of a key for a factorised network; empty for others.

    Args:
        inherited: whether its weights come from the source's, which methods do in different ways.
    """
    if not recipe.factors:
        return {}
    parts: dict[str, Any] = {"factors": plain_factors(recipe.factors)}
    if inherited:
        parts["factors_from"] = "outputs" if reads_outputs(recipe) else "weights"
    return parts


def reads_outputs(recipe: Recipe) -> bool:
    """Whether the recipe's factors are computed from the layers' outputs on the target."""
    return recipe.factorises and FACTORISATIONS[recipe.method].reads_outputs


def _how(plan: Plan, processor: Processor) -> dict[str, Any]:
    return {"plan": plan.parts(), "processor": asdict(processor)}


def analysis_key(loaded: LoadedTask, weights: str) -> str:
    """Key of the analysis; it includes the processor, because latencies depend on it."""
    task = loaded.task
    return key_of(
        "analysis",
        {
            **loaded.data,
            **model_parts(task.model, task.source),
            "weights": weights,
            "method": task.settings.recipe.method,
            "energy": task.energy,
            **_revision_part(FACTORISATIONS.get(task.settings.recipe.method)),
            "processor": asdict(loaded.processor),
            **task.recipe_parts,
            **_runtime_parts(task),
            **step_parts(loaded),
            **gate_parts(loaded, weights),
        },
    )


def _revision_part(method: FactorMethod | GateMethod | None) -> dict[str, int]:
    """The revision of a method; empty for the first one, and for methods without revisions."""
    return {"revision": method.revision} if method and method.revision else {}


def _runtime_parts(task: Task) -> dict[str, Any]:
    """The kind of int8 file whose latency the budget limits; empty for other runtimes."""
    if task.settings.recipe.runtime != ONNX_INT8:
        return {}
    return {"int8_for": task.settings.deployment.int8_for}


def step_parts(loaded: LoadedTask) -> dict[str, Any]:
    """The part of a key for iterative PFA; empty for a single step."""
    task = loaded.task
    if task.settings.recipe.steps == 1:
        return {}
    return {
        "steps": task.settings.recipe.steps,
        "step_plan": step_plan(loaded).parts(),
        "head": task.settings.training.head,
    }


def gates_key(loaded: LoadedTask, weights: str) -> str:
    """Key of the training of gates in the full network.

    Args:
        weights: fingerprint of the source weights.
    """
    task = loaded.task
    return key_of(
        "protocol",
        {
            **loaded.data,
            **model_parts(task.model, task.source),
            "protocol": "gates",
            "weights": weights,
            "head": task.settings.training.head,
            "gates": task.gates,
            "penalty": gate_penalty(task),
            **_revision_part(GATE_METHODS[task.gates]),
            **_how(gate_plan(loaded), loaded.processor),
        },
    )


def gate_parts(loaded: LoadedTask, weights: str) -> dict[str, Any]:
    """The part of a key for trained gates; empty without them."""
    return {"gates": gates_key(loaded, weights)} if loaded.task.gates else {}


def gate_penalty(task: Task) -> float:
    """The penalty on open gates: the user's, or the default of the method."""
    given = task.settings.training.gate_penalty
    return GATE_METHODS[task.gates].penalty if given is None else given


def repair_parts(loaded: LoadedTask) -> dict[str, Any]:
    """The part of a key for the training on the source's images; empty without one."""
    if loaded.source_images is None:
        return {}
    images = loaded.source_images[0].fingerprint()
    return {"repair": {"plan": repair_plan(loaded).parts(), "train": images}}


def repair_key(loaded: LoadedTask, weights: str, recipe: Recipe) -> str:
    """Key of the compressed network's training on the source's images.

    The target is not part of it, because two targets may have the same recipe.

    Args:
        weights: fingerprint of the source weights.
    """
    assert loaded.source_images is not None
    task, source = loaded.task, loaded.task.trained_on
    return key_of(
        "protocol",
        {
            **repair_parts(loaded),
            # Compensated networks, and some factorised ones, depend on the target's images.
            **({"compensate": loaded.data["train"]} if task.settings.recipe.compensate else {}),
            **({"outputs": loaded.data["train"]} if reads_outputs(recipe) else {}),
            "test": loaded.source_images[1].fingerprint(),
            "source": source.name,
            **image_parts(source),
            **model_parts(task.model, task.source),
            "protocol": "repair",
            "weights": weights,
            "recipe": {name: list(indices) for name, indices in recipe.kept.items()},
            **factor_parts(recipe, inherited=True),
            "processor": asdict(loaded.processor),
        },
    )


def adapt_key(loaded: LoadedTask, given: SourceNetwork | None) -> str:
    """Key of a whole adaptation: the same call on the same data continues the same run."""
    settings = settings_dict(loaded.task, loaded.processor, loaded)
    settings.pop("torch")
    weights = given.fingerprint if given else None
    parts = {
        **loaded.data,
        **model_parts(loaded.task.model, loaded.task.source),
        **repair_parts(loaded),
    }
    parts.pop("model")  # the settings contain it
    return key_of("adapt", {**parts, "settings": settings, "weights": weights})
