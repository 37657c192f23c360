"""Put the network of a run into MLflow's Model Registry."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from workbench.deployment.network_files import card_of
from workbench.deployment.run_weights import find_file_and_run
from workbench.errors import SettingsError
from workbench.store.mlflow_models import Described, log_model
from workbench.store.mlflow_store import Store
from workbench.store.model_registry import DEFAULT_ALIAS, Version, check_names, register_version
from workbench.store.runs import MODEL_TAG


@dataclass(frozen=True)
class Registered:
    """A registered network.

    Attributes:
        version: its version in the registry.
        serve: the command that starts MLflow's server with it.
    """

    version: Version
    serve: str


def register(
    run: str, *, name: str, alias: str = DEFAULT_ALIAS, tracking_uri: str | None = None
) -> Registered:
    """Register the network of a run under a name.

    The registry refers to the model of the run; nothing is copied. A network that is registered
    already keeps its version. A run of an earlier version gets its model here.

    Args:
        run: id of a run that trained a network or made a file of a stage, or of an adaptation,
            which means the network that it recommends.
        name: of the registered model; it is created on first use.
        alias: name of this version; it is taken away from the version that has it now.
        tracking_uri: the MLflow store; the default one when None.

    Raises:
        SettingsError: when a name is not accepted, or ``run`` is a file.
        WeightsError: when there is no such run, or its weights were not kept.
        StoreError: when the store cannot be used.
    """
    problems = check_names(name, alias)
    if problems:
        raise SettingsError(*problems)
    located = find_file_and_run(run, tracking_uri)
    if located.run is None:
        raise SettingsError(f"{run}: is a file; name the id of a run, which 'workbench ui' shows")
    store, found, file = Store(tracking_uri), located.run, located.weights
    if MODEL_TAG not in found.tags:
        known = Described(card_of(file), found.params, found.metrics)
        found = log_model(store, found.experiment, found.run_id, file, known, stays=True)
    version = register_version(store, found, name, alias)
    serve = f"mlflow models serve -m {quote(version.address)} --env-manager local --port 5001"
    where = quote(store.address if store.shown == store.uri else store.shown)
    return Registered(version, f"MLFLOW_TRACKING_URI={where} {serve}")
