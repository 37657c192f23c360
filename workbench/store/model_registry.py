"""The Model Registry: names and aliases for the models of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.store.mlflow_store import Store
from workbench.store.runs import MODEL_TAG, StoredRun
from workbench.store.tracking_uris import local_path

DEFAULT_ALIAS = "champion"
#: MLflow rejects "/" and ":" in names; quotes would end a query of its search.
_NAME = re.compile(r"\w[\w .-]{0,199}")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}")
_RESERVED = re.compile(r"latest|v[0-9]+", re.IGNORECASE)


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name, number, alias: of the registered model, of the version, and its alias.
        run_id: the run that made the network.
        new: whether it was registered in this call; a model is registered once under a name.
    """

    name: str
    number: int
    alias: str
    run_id: str
    new: bool

    @property
    def address(self) -> str:
        """The address by which MLflow finds the model."""
        return f"models:/{self.name}@{self.alias}"


def check_names(name: str, alias: str) -> list[str]:
    """A line for each name that MLflow's registry does not accept."""
    problems = []
    if not _NAME.fullmatch(name) or name.endswith((" ", ".")):
        problems.append(
            f"--name '{name}': use letters, digits, spaces and the signs . _ -, 200 at most, and "
            "begin with a letter or a digit"
        )
    if not _ALIAS.fullmatch(alias):
        problems.append(f"--alias '{alias}': use letters from a to z, digits and the signs _ -")
    elif _RESERVED.fullmatch(alias):
        problems.append(f"--alias '{alias}': MLflow reserves this word; use another, like champion")
    return problems


def registered_folders(store: Store) -> set[Path]:
    """Folders on this machine with models that the registry refers to."""
    with store.client("read") as client:
        found, token = [], None
        while True:
            page = client.search_model_versions(max_results=1000, page_token=token)
            found += [local_path(each.source) for each in page if each.source]
            token = page.token
            if not token:
                return {path for path in found if path}


def register_version(store: Store, run: StoredRun, name: str, alias: str) -> Version:
    """Register the model of a run, and let the alias point to it.

    Args:
        run: with a model.
        name, alias: accepted by ``check_names``.

    Raises:
        StoreError: when the registry cannot be written.
    """
    model = run.tags[MODEL_TAG]
    with store.client("written") as client:
        if not client.search_registered_models(f"name = '{name}'", max_results=1):
            client.create_registered_model(name)
        known = client.search_model_versions(f"name = '{name}'")
        found = next((each for each in known if each.source == run.model_uri), None)
        version = found or client.create_model_version(
            name, run.model_uri, run_id=run.run_id, model_id=model
        )
        client.set_registered_model_alias(name, alias, version.version)
    return Version(name, int(version.version), alias, run.run_id, found is None)
