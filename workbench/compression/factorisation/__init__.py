"""Factorised layers: two thin layers in place of one, at the same widths.

``algebra`` computes the two weights, ``layers`` replaces layers, ``output_moments`` measures what
layers compute on the target. The methods are ``compression.methods.dalr``, ``svd`` and ``fga``;
``compression.recipe_choice.factor_candidates`` finds the layers, and
``compression.recipe_choice.factor_recipe`` chooses ranks and group sizes.
"""
