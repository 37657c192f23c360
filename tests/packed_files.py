"""Packed files with other content, to test what reading rejects."""

import json

from safetensors import safe_open
from safetensors.torch import load_file, save_file


def rewrite(path, change):
    """Write a packed file again as earlier versions wrote it, without a hash.

    Args:
        change: called with the tensors, the descriptions of the packed ones, the whole
            description and the metadata, and may change them; None removes an entry.
    """
    tensors = load_file(path)
    with safe_open(path, framework="pt") as old:
        metadata = old.metadata()
    del metadata["packing_sha256"]
    before = metadata["packing"]
    description = json.loads(before)
    del description["hash"]
    change(tensors, description["tensors"], description, metadata)
    if metadata["packing"] == before:
        metadata["packing"] = json.dumps(description)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, path, {key: value for key, value in metadata.items() if value is not None})
