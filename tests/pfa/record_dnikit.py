"""Write down what Apple's dnikit answers for the matrices of ``matrices.py``.

    pip install dnikit==2.0.0 && python tests/pfa/record_dnikit.py > tests/pfa/dnikit-2.0.0.json

For every matrix: the counts of KL and of Energy at some thresholds (null where dnikit drops the
layer), and the error of its covariance against a float64 two-pass, relative to the largest entry.
"""

import json
import warnings
from importlib.metadata import version

import numpy as np
from dnikit.base import Batch
from dnikit.introspectors import PFA
from matrices import cases

ENERGIES = (0.8, 0.95, 0.99)


class OneResponse:
    """A producer of one layer's responses."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, batch_size):
        for start in range(0, len(self.matrix), batch_size):
            yield Batch({"layer": self.matrix[start : start + batch_size]})


def answer(case):
    """dnikit's counts for one matrix."""
    matrix = case.responses()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pfa = PFA.introspect(OneResponse(matrix), batch_size=256)
    row = {"number": case.number, "kl": None, "energy": None, "error": None}
    if pfa.failed_responses:
        return row
    keep = PFA.UnitSelectionStrategy.AbsMax()

    def count(strategy):
        recipe = pfa.get_recipe(strategy=strategy, unit_strategy=keep)["layer"]
        return recipe.recommended_output_count

    exact = np.cov(matrix.astype(np.float64), rowvar=False)
    found = pfa._internal_result["layer"].covariances
    row["kl"] = count(PFA.Strategy.KL())
    row["energy"] = [count(PFA.Strategy.Energy(energy)) for energy in ENERGIES]
    row["error"] = float(np.abs(found - exact).max() / np.abs(exact).max())
    return row


def main():
    rows = [answer(case) for case in cases()]
    head = {
        "dnikit": version("dnikit"),
        "numpy": np.__version__,
        "command": "python tests/pfa/record_dnikit.py",
        "energies": ENERGIES,
    }
    start = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items())
    lines = ",\n".join(json.dumps(row) for row in rows)
    print(f'{{{start},\n"rows": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
