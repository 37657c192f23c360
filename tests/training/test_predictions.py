"""What is kept of a network's answers, and the file that holds it."""

import numpy as np
import pytest
import torch

from workbench.training.predictions import Predictions


def made(images=300, classes=20, seed=0):
    drawing = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=drawing)
    return logits, torch.randint(classes, (images,), generator=drawing)


def test_the_answers_are_the_softmax_of_the_logits():
    logits, labels = made()
    found = Predictions.of_logits(logits, labels)
    shares = np.exp(logits.double().numpy())
    shares /= shares.sum(axis=1, keepdims=True)
    order = np.argsort(-shares, axis=1)[:, :5]
    assert np.array_equal(found.classes, order)
    assert np.allclose(found.probabilities, np.take_along_axis(shares, order, 1), atol=1e-6)
    assert np.allclose(found.of_label, shares[np.arange(len(labels)), labels], atol=1e-6)


def test_among_equal_logits_the_answer_is_that_of_argmax():
    logits = torch.zeros(50, 7)
    logits[:, 3] = logits[:, 5] = 2.0
    found = Predictions.of_logits(logits, torch.zeros(50, dtype=torch.int64))
    assert np.array_equal(found.answers, logits.argmax(dim=1))


def test_dividing_the_images_into_batches_changes_nothing():
    logits, labels = made()
    whole = Predictions.of_logits(logits, labels)
    parts = [Predictions.of_logits(logits[n : n + 77], labels[n : n + 77]) for n in (0, 77)]
    parts.append(Predictions.of_logits(logits[154:], labels[154:]))
    joined = Predictions.joined(parts)
    for name in ("labels", "classes", "probabilities", "of_label"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name))


@pytest.mark.parametrize("classes", [2, 5, 1000])
def test_a_file_has_at_most_24_bytes_an_image(tmp_path, classes):
    found = Predictions.of_logits(*made(4000, classes))
    found.write(tmp_path / "predictions.safetensors")
    assert (tmp_path / "predictions.safetensors").stat().st_size <= 24 * 4000 + 1000
    read = Predictions.read(tmp_path / "predictions.safetensors")
    assert np.array_equal(read.classes, found.classes)
    assert np.array_equal(read.labels, found.labels)
    assert np.abs(read.probabilities - found.probabilities).max() <= 2**-11


@pytest.mark.parametrize("damage", ["cut", "other", "none", "range"])
def test_a_damaged_file_is_rejected(tmp_path, damage):
    path = tmp_path / "predictions.safetensors"
    found = Predictions.of_logits(*made())
    if damage == "range":
        found.probabilities[0, 0] = 2.0
    if damage != "none":
        found.write(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    if damage == "other":
        path.write_bytes(b"PK\3\4 a zip file")
    with pytest.raises(ValueError, match=r"not a file of predictions|not within \[0, 1\]"):
        Predictions.read(path)


def test_a_broken_network_still_has_answers():
    found = Predictions.of_logits(torch.full((3, 4), torch.nan), torch.zeros(3, dtype=torch.int64))
    assert found.confidence.tolist() == [0.0, 0.0, 0.0]
