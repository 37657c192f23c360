"""Quantisation grids: exact on the grid, half a step off between, whole numbers in between."""

import numpy as np
import pytest
import torch

from workbench.deployment.quantisation.grids import (
    affine_grid,
    dequantise,
    quantise,
    symmetric_grid,
)

RANGES = [(-1.0, 1.0), (0.0, 6.0), (2.0, 6.0), (-3.0, -1.0), (-1e-3, 1e4), (-54.5, 200.5)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_an_affine_grid_has_zero_and_256_codes(low, high):
    grid = affine_grid(low, high)
    assert 0 <= grid.zero <= 255
    assert grid.scale == np.float32((max(high, 0) - min(low, 0)) / 255)
    assert dequantise(quantise(np.zeros(1, np.float32), grid), grid) == 0
    codes = np.arange(256)
    assert (quantise(dequantise(codes, grid), grid) == codes).all()


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_rounding_changes_a_value_by_at_most_half_a_step(low, high):
    grid = affine_grid(low, high)
    values = np.linspace(low, high, 5001, dtype=np.float32)
    change = np.abs(dequantise(quantise(values, grid), grid).astype(float) - values)
    assert change.max() <= float(grid.scale) / 2 * (1 + 1e-3)
    beyond = np.array([low - high - 1, high - low + 1], dtype=np.float32) * 10
    assert quantise(beyond, grid).tolist() == [0, 255]


def test_a_constant_tensor_has_a_grid():
    grid = affine_grid(0.0, 0.0)
    assert (grid.scale, grid.zero) == (1, 0)
    zeros = symmetric_grid(np.zeros((2, 3), dtype=np.float32))
    assert zeros.scale.tolist() == [[1], [1]]
    tiny = symmetric_grid(np.full((1, 3), 1e-45, dtype=np.float32))  # no float32 is 1e-45 / 127
    assert tiny.scale.tolist() == [[1]]
    three = np.full((1, 4), 3, dtype=np.float32)
    assert dequantise(quantise(three, symmetric_grid(three)), symmetric_grid(three)) == (
        pytest.approx(three)
    )


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_a_symmetric_grid_has_a_scale_for_each_channel(bits):
    rng = np.random.default_rng(bits)
    weights = rng.standard_normal((5, 3, 2, 2)).astype(np.float32)
    weights *= np.logspace(-3, 3, 5, dtype=np.float32)[:, None, None, None]
    grid = symmetric_grid(weights, bits)
    codes = quantise(weights, grid)
    highest = 2 ** (bits - 1) - 1
    assert grid.scale.shape == (5, 1, 1, 1)
    assert (np.abs(codes).max(axis=(1, 2, 3)) == highest).all()  # each channel uses its range
    assert (quantise(-weights, grid) == -codes).all()
    change = np.abs(dequantise(codes, grid) - weights)
    assert (change <= grid.scale / 2 * (1 + 1e-5)).all()
    again = dequantise(codes, grid)
    assert (dequantise(quantise(again, grid), grid) == again).all()


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_of_codes_is_that_of_the_values(groups):
    rng = np.random.default_rng(0)
    images = rng.normal(0.5, 1, (2, 4, 6, 6)).astype(np.float32)
    weights = rng.standard_normal((8, 4 // groups, 3, 3)).astype(np.float32)
    of_images, of_weights = affine_grid(images.min(), images.max()), symmetric_grid(weights)
    codes, kernels = quantise(images, of_images), quantise(weights, of_weights)
    sums = torch.conv2d(
        torch.from_numpy(codes - of_images.zero), torch.from_numpy(kernels), groups=groups
    )
    assert sums.dtype == torch.int32
    scales = of_images.scale.astype(float) * of_weights.scale.astype(float).reshape(1, -1, 1, 1)
    wanted = torch.conv2d(
        torch.from_numpy(dequantise(codes, of_images).astype(float)),
        torch.from_numpy(dequantise(kernels, of_weights).astype(float)),
        groups=groups,
    )
    np.testing.assert_allclose(sums.numpy() * scales, wanted.numpy(), rtol=1e-5, atol=1e-5)
