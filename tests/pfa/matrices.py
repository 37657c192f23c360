"""Two hundred random response matrices, the same for everyone who calls this."""

from dataclasses import dataclass

import numpy as np

KINDS = ("plain", "decaying", "rank-deficient", "dead", "large-mean", "huge-mean", "few-samples")
_LARGE, _HUGE = 1e2, 1e5  # mean over spread
_COUNT, _WIDEST = 200, 1024


@dataclass(frozen=True)
class Case:
    """One matrix, told by its number."""

    number: int
    kind: str
    filters: int
    samples: int

    def responses(self):
        """float32, shape (samples, filters): what a network would give."""
        rng = np.random.default_rng([self.number, 7])
        n, m = self.filters, self.samples
        matrix = rng.normal(size=(m, n))
        if self.kind != "plain":
            matrix = matrix * np.geomspace(1, 10 ** rng.uniform(-3, -0.5), n)
        if self.kind == "rank-deficient":
            rank = max(1, n // 3)
            matrix = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))
        if self.kind == "dead":
            matrix[:, rng.permutation(n)[: n // 3]] = 0.25
        if self.kind in ("large-mean", "huge-mean"):
            matrix += _LARGE if self.kind == "large-mean" else _HUGE
        return matrix.astype(np.float32)


def cases():
    """All cases: 8 to 1,024 filters, 20 to 5,000 samples."""
    rng = np.random.default_rng(20)
    found = []
    for number in range(_COUNT):
        kind = KINDS[number % len(KINDS)]
        most = _WIDEST if number % 25 == 0 else 160
        filters = round(np.exp(rng.uniform(np.log(8), np.log(most))))
        if number in (0, 25):
            filters = (8, _WIDEST)[number // 25]
        if kind == "few-samples":
            samples = int(rng.integers(20, max(21, filters)))
        else:
            samples = int(rng.integers(max(20, filters), max(5001, filters + 1)))
        found.append(Case(number, kind, filters, samples))
    return found
