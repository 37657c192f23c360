"""Classify images with an int8 file: onnxruntime and NumPy are all it needs.

    python examples/classify_int8.py network.onnx images.npy

``network.onnx`` is a file of ``workbench export RUN --format onnx-int8``. ``images.npy`` holds
images of the network's size: uint8, black is 0 and white 255, shape (n, height, width) or
(n, height, width, 3). The classes and the normalisation are read from the file.
"""

import json
import sys

import numpy as np
import onnxruntime


def classify(path, images):
    """Names and probabilities of the most likely class of each image."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["workbench"])
    if images.ndim == 3:  # grey
        images = images[..., None]
    mean, std = (np.array(card[name], dtype=np.float32) for name in ("mean", "std"))
    pixels = (images.astype(np.float32) / 255 - mean) / std
    batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    (logits,) = session.run(["logits"], {"images": batch})
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return [card["classes"][label] for label in shares.argmax(axis=1)], shares.max(axis=1)


if __name__ == "__main__":
    for name, share in zip(*classify(sys.argv[1], np.load(sys.argv[2])), strict=True):
        print(f"{name} {100 * share:.1f} %")
