"""The module that MLflow loads a network with, for ``mlflow models serve`` and for Python.

MLflow imports this module by its name and gives it the network's file. The file is a weight file,
an int8 file or a packed file of the workbench; none of them can run code.

Input: a batch of ordinary images, uint8 from 0 to 255, shape (b, height, width, channels), of any
size: the central square is scaled to the network's size, as in training. Output: a table with one
column of probabilities for each class, and one row for each image.

A network that is the user's own code is imported only if the user names it:
``WORKBENCH_MODEL=package.module:function mlflow models serve ...``.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.data.decoding import Form, central_square
from workbench.deployment.network_files import open_network
from workbench.deployment.predict import normalised, probabilities_of
from workbench.errors import DataError, WeightsError
from workbench.models.external_networks import is_users_own
from workbench.models.weight_files import read_card

OWN_NETWORK = "WORKBENCH_MODEL"


class Classifier:
    """A network that MLflow calls.

    Args:
        path: its file.

    Raises:
        WeightsError: when the file is damaged, or holds a network of the user's own that
            ``$WORKBENCH_MODEL`` does not name.
    """

    def __init__(self, path: Path) -> None:
        opened = open_network(path, _named_network(path))
        self.card, self._run, self._name = opened.card, opened.run, path.name

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> Any:
        """Probabilities of the classes.

        Args:
            images: uint8, shape (b, height, width, channels), from 0 to 255.
            params: MLflow passes them; there are none.

        Returns:
            a ``pandas.DataFrame`` with b rows and a column for each class.

        Raises:
            DataError: when the images do not have this shape.
        """
        shares = probabilities_of(self._name, self._run, self._prepared(images), self.card)
        return import_module("pandas").DataFrame(shares, columns=list(self.card.classes))

    def _prepared(self, images: NDArray[Any]) -> NDArray[np.float32]:
        channels, size, _ = self.card.shape
        batch = np.asarray(images)
        if batch.ndim != 4 or batch.shape[3] != channels or not batch.size:
            raise DataError(
                f"images of shape {batch.shape}: this network takes a batch of shape (images, "
                f"height, width, {channels}), uint8 from 0 to 255"
            )
        form = Form(channels, size, self.card.white)
        pixels = batch.astype(np.uint8)
        colours = pixels[..., 0] if channels == 1 else pixels
        squares = [central_square(Image.fromarray(image), form) for image in colours]
        return normalised(np.stack(squares), self.card)


def _named_network(path: Path) -> str | None:
    """The user's own network that the file needs, as ``$WORKBENCH_MODEL`` names it; else None."""
    if path.suffix == ".onnx":  # it holds its network
        return None
    model = read_card(path).model
    if not is_users_own(model):
        return None
    if os.environ.get(OWN_NETWORK) != model:
        raise WeightsError(
            f"{path}: its network is your own code ({model}), which is not imported because a file "
            f"names it; name it: {OWN_NETWORK}={model}"
        )
    return model


def _load_pyfunc(path: str) -> Classifier:
    """Load a network, as MLflow asks for it.

    Args:
        path: the network's file.
    """
    return Classifier(Path(path))
