"""Apply a recipe to a network in memory."""

from __future__ import annotations

from torch import nn

from workbench.compression.factorisation.algebra import TwoLayers
from workbench.compression.factorisation.layers import Layer, bias_of, factorise, weight_of
from workbench.compression.groups.rebuild import rebuild
from workbench.compression.groups.tracing import find_structure
from workbench.compression.methods import FACTORISATIONS
from workbench.compression.recipes.recipes import Recipe
from workbench.errors import NetworkError
from workbench.models.factors import Factor


def compress(
    model: nn.Module, recipe: Recipe, shape: tuple[int, int, int] = (3, 32, 32)
) -> nn.Module:
    """Build the smaller network that a recipe describes, with the kept filters' weights.

    Args:
        model: the full network (see ``compression.groups.tracing`` for what can be compressed); it
            is not changed.
        recipe: a recipe for this network, from ``analyze``.
        shape: channels, height, width of an image; the network runs once on images of this
            shape to find its filter groups.

    Raises:
        NetworkError: when the recipe does not fit the network, or replaces layers by what they
            compute on images.
    """
    if recipe.factorises:
        return _factorised(model, recipe)
    structure = find_structure(model, shape)
    wanted = {layer.layer: layer.filters for layer in recipe.layers}
    # Recipes of versions that compressed neither heads nor embeddings do not name them.
    layers = {
        group.name: group.filters
        for group in structure.groups
        if group.kind == "filters" or group.name in wanted
    }
    if layers != wanted:
        name = next(n for n in (*wanted, *layers) if layers.get(n) != wanted.get(n))
        raise NetworkError(
            f"the recipe is for another network: layer '{name}' has {layers.get(name, 'no')} "
            f"filters here and {wanted.get(name, 'no')} in the recipe"
        )
    return rebuild(model, recipe.kept, structure)


def _factorised(model: nn.Module, recipe: Recipe) -> nn.Module:
    method = FACTORISATIONS[recipe.method]
    if method.reads_outputs and recipe.factors:
        raise NetworkError(
            f"the weights of a recipe by {recipe.method} depend on the target's images; use "
            "workbench.adapt, and load_network on its weights"
        )

    def weights(factor: Factor, layer: Layer) -> TwoLayers:
        return method.weights(weight_of(layer), bias_of(layer), factor.size, None)

    return factorise(model, recipe.factors, weights)
