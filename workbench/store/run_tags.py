"""Names of the tags that the workbench sets on runs, and what a complete run of each kind has."""

from __future__ import annotations

from workbench.store.runs import KEY as KEY
from workbench.store.runs import KIND as KIND
from workbench.store.stored_results import LATENCIES_FILE, RECIPE_FILE

WEIGHTS = "workbench.weights"
HASH, FINGERPRINT = "workbench.sha256", "workbench.fingerprint"
FILE = "workbench.file"  # name of the hashed file, if it is not that of the kind
VERSION, MACHINE = "workbench.version", "workbench.machine"
PYTHON = "workbench.python"
PROCESSES = "workbench.processes"  # of torchrun, if there is more than one
ADAPTATION = "workbench.adaptation"  # of a search: the run that trained the chosen network
COMMIT = "mlflow.source.git.commit"  # MLflow's own name, which its UI shows
OWNER = "workbench.owner"
CLAIM = "workbench.claim"  # time of the claim and heartbeat, in a store of several machines
#: Metrics that a complete training, or a complete analysis, must have.
EVALUATED = {"test_hits", "test_images", "train_seconds"}
ANALYSED = {
    f"{prefix}{name}" for prefix in ("", "full_") for name in ("parameters", "flops", "latency_ms")
}
#: Metrics that a training has whose network was evaluated on validation images.
VALIDATED = {"validation_hits", "validation_images", "train_seconds"}
STAGED = {"test_hits", "test_images", "file_bytes"}
#: Metrics and file of a complete run, by its kind; other kinds are trainings.
WHOLE: dict[str, tuple[set[str], str]] = {
    "analysis": (ANALYSED, RECIPE_FILE),
    "latency": (set(), LATENCIES_FILE),
    "stage": (STAGED, ""),
    "trial": (VALIDATED, "weights.safetensors"),
}
KEPT, DROPPED = "kept", "dropped"
