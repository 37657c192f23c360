"""Slow, obvious transcriptions of the paper, for tests to hold the package against.

Plain loops over plain numbers, two passes, every sum taken anew. Sections are those of
Suau, Zappella, Apostoloff, "Filter Distillation for Network Compression".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

Matrix = Sequence[Sequence[float]]

#: Sums and values of |rho| that differ by no more than this share are equal.
TIE = 1e-12

#: At most this share of the layer's largest variance makes a filter inactive.
INACTIVE = 1e-8


def covariance(responses: Matrix) -> list[list[float]]:
    """Covariance (ddof 1) of m x n responses: first the means, then the products (section 3)."""
    m, n = len(responses), len(responses[0])
    mean = [math.fsum(float(row[i]) for row in responses) / m for i in range(n)]
    centred = [[float(row[i]) - mean[i] for i in range(n)] for row in responses]
    return [
        [math.fsum(row[i] * row[j] for row in centred) / (m - 1) for j in range(n)]
        for i in range(n)
    ]


def spectrum(matrix: Matrix) -> list[float]:
    """Eigenvalues, descending, negatives clipped to 0, divided by their sum (section 3)."""
    eigenvalues = sorted((max(float(v), 0.0) for v in np.linalg.eigvalsh(matrix)), reverse=True)
    total = math.fsum(eigenvalues)
    return [value / total if total else 0.0 for value in eigenvalues]


def energy_keep_count(shares: Sequence[float], threshold: float) -> int:
    """The smallest k whose k largest shares sum to the threshold (section 3.1)."""
    descending = sorted(shares, reverse=True)
    if not any(descending):
        return 1
    for k in range(1, len(descending) + 1):
        if math.fsum(descending[:k]) >= threshold - 1e-12:
            return k
    return len(descending)


def divergence(shares: Sequence[float]) -> float:
    """KL(shares || uniform), the sum of p ln(p / u) with 0 ln 0 = 0 (section 3.2)."""
    uniform = 1 / len(shares)
    if not any(shares):
        return math.log(len(shares))
    return math.fsum(p * math.log(p / uniform) for p in shares if p > 0)


def kl_keep_count(shares: Sequence[float]) -> int:
    """ceil(gamma n), gamma = 1 - KL(shares || uniform) / KL(Dirac || uniform) (section 3.2)."""
    n = len(shares)
    if n == 1:
        return 1
    gamma = 1 - divergence(shares) / math.log(n)
    k = math.ceil(gamma * n * (1 - 1e-9))
    return min(max(k, 1), n)


def worth_keep_count(shares: Sequence[float], price: float, threshold: float) -> int:
    """1 + the number of k >= 2 whose gain ln E_k - ln E_(k-1) is worth the price (ours)."""
    descending = sorted(shares, reverse=True)
    kept = 1
    for k in range(2, len(descending) + 1):
        less, more = math.fsum(descending[: k - 1]), math.fsum(descending[:k])
        gain = math.log(more / less) if less else 0.0
        kept += gain > 1e-12 and gain * threshold >= price
    return kept


def inactive(matrix: Matrix) -> list[bool]:
    """Filters whose variance is at most 1e-8 of the largest."""
    variance = [float(matrix[i][i]) for i in range(len(matrix))]
    return [v <= INACTIVE * max(variance) for v in variance]


def correlation(matrix: Matrix) -> list[list[float]]:
    """Pearson correlation; zero row, column and diagonal for an inactive filter (section 3.3)."""
    n = len(matrix)
    dead = inactive(matrix)
    rho = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            if not dead[i] and not dead[j]:
                spread = math.sqrt(float(matrix[i][i])) * math.sqrt(float(matrix[j][j]))
                rho[i][j] = float(matrix[i][j]) / spread
    return rho


def removal_order(rho: Matrix) -> list[int]:
    """All filters in the order in which they go; sums taken anew for each (section 3.3).

    The largest sum of |rho_ij| over the other remaining j goes; of several the one with the
    highest single |rho_ij|; of several the lowest index. Inactive ones go before.
    """
    n = len(rho)
    strength = [
        [abs((float(rho[i][j]) + float(rho[j][i])) / 2) for j in range(n)] for i in range(n)
    ]
    order = [i for i in range(n) if rho[i][i] == 0]
    remaining = [i for i in range(n) if rho[i][i] != 0]
    while remaining:
        sums, singles = {}, {}
        for i in remaining:
            others = [strength[i][j] for j in remaining if j != i]
            sums[i] = math.fsum(others)
            singles[i] = max(others, default=0.0)
        tied = _largest(sums)
        tied = _largest({i: singles[i] for i in tied})
        gone = min(tied)
        order.append(gone)
        remaining.remove(gone)
    return order


def removal_order_of_many(rho: np.ndarray) -> list[int]:
    """``removal_order`` for hundreds of active filters: arrays for the two inner loops."""
    strength = np.abs((rho + rho.T) / 2)
    np.fill_diagonal(strength, 0.0)
    remaining = list(range(len(rho)))
    order = []
    while remaining:
        sums = dict(zip(remaining, strength[remaining].sum(axis=1).tolist(), strict=True))
        tied = _largest(sums)
        singles = strength[tied].max(axis=1).tolist()
        tied = _largest(dict(zip(tied, singles, strict=True)))
        gone = min(tied)
        order.append(gone)
        remaining.remove(gone)
        strength[:, gone] = 0.0
    return order


def select_filters(rho: Matrix, keep: int) -> list[int]:
    """The filters that are kept, ascending (section 3.3)."""
    order = removal_order(rho)
    return sorted(order[len(order) - keep :])


def _largest(values: Mapping[int, float]) -> list[int]:
    """The keys whose value equals the largest."""
    highest = max(values.values())
    return [key for key, value in values.items() if value >= highest * (1 - TIE)]


def wasserstein_to_flat(spectrum):
    """Earth mover's distance from the sorted spectrum to a flat one, moved grain by grain."""
    earth = sorted((float(share) for share in spectrum), reverse=True)
    n, carried, work = len(earth), 0.0, 0.0
    for share in earth:
        carried += share - 1 / n
        work += abs(carried)
    return work


# --- the other methods, from their own papers -------------------------------------------------


def l1_norms(filters: Matrix) -> list[float]:
    """Sum of the absolute weights of each filter (Li et al. 2017, section 3.1)."""
    return [math.fsum(abs(float(weight)) for weight in row) for row in filters]


def distances_to_all(filters: Matrix) -> list[float]:
    """Summed Euclidean distance of each filter to every other (He et al. 2019, equation 6)."""
    return [
        math.fsum(
            math.sqrt(math.fsum((float(a) - float(b)) ** 2 for a, b in zip(one, two, strict=True)))
            for two in filters
        )
        for one in filters
    ]


def slimming_counts(scales: Sequence[Sequence[float]], share: float) -> list[int]:
    """Filters a layer keeps when all layers share one threshold (Liu et al. 2017, section 3)."""
    every = sorted((abs(value) for layer in scales for value in layer), reverse=True)
    threshold = every[round(share * len(every)) - 1]
    return [max(1, sum(abs(value) >= threshold for value in layer)) for layer in scales]


def apoz(activations: np.ndarray) -> list[float]:
    """Share of zeros of each channel of (images, channels, places) (Hu et al. 2016, equation 1)."""
    shares = []
    for channel in range(activations.shape[1]):
        values = activations[:, channel].ravel().tolist()
        shares.append(sum(value == 0 for value in values) / len(values))
    return shares


def soft_cross_entropy(student: Matrix, teacher: Matrix, temperature: float) -> float:
    """T^2 times the mean of sum q ln(q / p) at temperature T (Hinton et al. 2015, section 2)."""

    def soft(logits: Sequence[float]) -> list[float]:
        return softmax([float(value) / temperature for value in logits])

    each = [
        math.fsum(q * math.log(q / p) for q, p in zip(soft(wanted), soft(ours), strict=True))
        for ours, wanted in zip(student, teacher, strict=True)
    ]
    return temperature**2 * math.fsum(each) / len(each)


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of logits."""
    powers = [math.exp(value) for value in logits]
    return [power / math.fsum(powers) for power in powers]


def attention_loss(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean squared difference of unit attention vectors (Zagoruyko 2017, equation 2)."""

    def attention(maps: np.ndarray) -> list[float]:
        channels, height, width = maps.shape
        found = [
            sum(float(maps[c, y, x]) ** 2 for c in range(channels)) / channels
            for y in range(height)
            for x in range(width)
        ]
        length = math.sqrt(math.fsum(value**2 for value in found))
        return [value / length for value in found]

    squares = [
        (a - b) ** 2
        for one, two in zip(ours, theirs, strict=True)
        for a, b in zip(attention(one), attention(two), strict=True)
    ]
    return math.fsum(squares) / len(squares)


def similarity_loss(ours: np.ndarray, theirs: np.ndarray) -> float:
    """||G_T - G_S||^2 / b^2 of row-normalised similarities (Tung & Mori 2019, equation 4)."""

    def similarities(features: np.ndarray) -> list[list[float]]:
        rows = [image.ravel().tolist() for image in features]
        products = [
            [math.fsum(a * b for a, b in zip(one, two, strict=True)) for two in rows]
            for one in rows
        ]
        return [
            [value / math.sqrt(math.fsum(v**2 for v in row)) for value in row] for row in products
        ]

    mine, other = similarities(ours), similarities(theirs)
    squares = [
        (a - b) ** 2
        for one, two in zip(mine, other, strict=True)
        for a, b in zip(one, two, strict=True)
    ]
    return math.fsum(squares) / len(ours) ** 2


def hint_loss(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean squared difference of values that correspond (Romero 2015, equation 3)."""
    pairs = list(zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True))
    return math.fsum((a - b) ** 2 for a, b in pairs) / len(pairs)


def relation_loss(ours: np.ndarray, theirs: np.ndarray) -> float:
    """25 x distances + 50 x angles, both by Huber (Park 2019, equations 5 to 9)."""

    def distances(points: np.ndarray) -> list[float]:
        found = [math.dist(a, b) for a in points for b in points]
        positive = [value for value in found if value > 0]
        return [value / (math.fsum(positive) / len(positive)) for value in found]

    def cosines(points: np.ndarray) -> list[float]:
        found = []
        for i in points:
            for j in points:
                for k in points:
                    lengths = math.dist(i, j) * math.dist(i, k)
                    product = math.fsum(
                        float(a) * float(b) for a, b in zip(j - i, k - i, strict=True)
                    )
                    found.append(product / lengths if lengths else 0.0)
        return found

    def huber(one: list[float], two: list[float]) -> float:
        apart = [abs(a - b) for a, b in zip(one, two, strict=True)]
        return math.fsum(d * d / 2 if d < 1 else d - 0.5 for d in apart) / len(apart)

    return 25 * huber(distances(ours), distances(theirs)) + 50 * huber(
        cosines(ours), cosines(theirs)
    )


def mean_information(gates, positions):
    """VIB's penalty: nats per filter, weighted by the square root of the positions of its layer.

    Args:
        gates: for each layer, the means and the logarithms of the variances of its gates.
    """
    total = weights = 0.0
    for (means, logs), count in zip(gates, positions, strict=True):
        for mean, log in zip(means, logs, strict=True):
            total += math.sqrt(count) * 0.5 * math.log(1 + mean**2 / (math.exp(log) + 1e-8))
            weights += math.sqrt(count)
    return total / weights


def fista(wanted, rate, penalty, steps):
    """GAL's steps for the loss 1/2 |m - wanted|^2 + penalty |m|_1 with m >= 0, from m = 1."""
    masks = places = [1.0] * len(wanted)
    inertia, seen = 1.0, []
    for _ in range(steps):
        moved = [y - rate * (y - w) for y, w in zip(places, wanted, strict=True)]
        new = [max(abs(v) - rate * penalty, 0.0) * (1 if v > 0 else 0) for v in moved]
        uphill = sum((y - n) * (n - m) for y, n, m in zip(places, new, masks, strict=True))
        inertia = 1.0 if uphill > 0 else inertia
        later = (1 + math.sqrt(1 + 4 * inertia**2)) / 2
        places = [n + (inertia - 1) / later * (n - m) for n, m in zip(new, masks, strict=True)]
        masks, inertia = new, later
        seen.append(new)
    return seen


def surprise(logits):
    """Mean cross-entropy of binary logits whose labels are all 1."""
    return sum(math.log(1 + math.exp(-each)) for each in logits) / len(logits)


def kse_by_loops(weight, neighbours=5, groups=1):
    """KSE: v_c of a convolution's weight (N, C / groups, h, w) (Li et al. 2019, 3.2 and 3.3)."""
    outputs, sparsity, entropy = len(weight) // groups, [], []
    for block, c in product(range(groups), range(weight.shape[1])):
        rows = range(block * outputs, (block + 1) * outputs)
        kernels = [weight[n, c].ravel().tolist() for n in rows]
        sparsity.append(math.fsum(abs(value) for kernel in kernels for value in kernel))
        density = []
        for n, kernel in enumerate(kernels):
            distances = [math.dist(kernel, other) for m, other in enumerate(kernels) if m != n]
            density.append(math.fsum(sorted(distances)[:neighbours]))
        total = math.fsum(density)
        shares = [each / total for each in density] if total else []
        entropy.append(-math.fsum(p * math.log2(p) for p in shares if p))
    sparsity, entropy = between_0_and_1(sparsity), between_0_and_1(entropy)
    return between_0_and_1([math.sqrt(s / (1 + e)) for s, e in zip(sparsity, entropy, strict=True)])


def between_0_and_1(values):
    low, high = min(values), max(values)
    return [(value - low) / (high - low) for value in values]
