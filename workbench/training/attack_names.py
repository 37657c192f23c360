"""Names of the attacks, and the option ``--attack``; the module has no heavy imports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workbench.errors import check_once

FGSM, PGD = "fgsm", "pgd"
_LARGEST = 255
_METRIC = re.compile(rf"({FGSM}|{PGD})_([1-9][0-9]{{0,2}})")


def attack_metric(attack: str, epsilon: int) -> str:
    """Name of the metric of an accuracy under attack, such as "pgd_4"."""
    return f"{attack}_{epsilon}"


def attack_of(metric: str) -> tuple[int, str] | None:
    """Epsilon and attack of a metric; None if it is another one. Sorts as people read it."""
    found = _METRIC.fullmatch(metric)
    return (int(found[2]), found[1]) if found else None


def attack_title(metric: str) -> str:
    """The metric for people, such as "PGD 4/255"."""
    found = attack_of(metric)
    assert found is not None  # the caller has checked it
    return f"{found[1].upper()} {found[0]}/255"


def attack_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The accuracies under attack among the metrics of a run, by epsilon and attack."""
    known = {name: place for name in metrics if (place := attack_of(name))}
    return {name: metrics[name] for name in sorted(known, key=known.__getitem__)}


def epsilons_of(texts: Sequence[str]) -> tuple[int, ...]:
    """The values of ``--attack``, which ``check_attack`` has accepted."""
    return tuple(int(text) for text in texts)


def check_attack(texts: Sequence[str]) -> list[str]:
    """One line for each value of ``--attack`` that is not a whole number of 1 to 255."""
    problems = [
        f"--attack {text}: is not a whole number of 1 to {_LARGEST} (1/255 of the range from black "
        "to white); try 2,4,8"
        for text in texts
        if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or int(text) > _LARGEST
    ]
    return problems + check_once("--attack", texts)
