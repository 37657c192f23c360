"""Packed files: read back bit-exactly, checked before anything is allocated, running no code."""

import tracemalloc

import numpy as np
import pytest
import torch
from packed_files import rewrite
from safetensors.torch import save_file
from torch import nn

from workbench.compression.narrow_networks import build_narrow
from workbench.data.catalog import SOURCES
from workbench.deployment.quantisation import packed_tensors
from workbench.deployment.quantisation.clustered_weights import cluster
from workbench.deployment.quantisation.mixed_bits import grid_weights
from workbench.deployment.quantisation.packed_tensors import pack_codes, unpack_codes
from workbench.deployment.quantisation.packed_weights import (
    coded_layers,
    load_packed,
    packed_size,
    read_packed,
    weight_array,
    write_packed,
)
from workbench.errors import NetworkError, WeightsError
from workbench.models.weight_files import CARD as CARD_KEY
from workbench.models.weight_files import Card, read_card

WIDTHS = (6, 6, 6, 8, 8, 8, 8, 8)
CARD = Card.of("simplecnn", SOURCES["digits"], ("3", "8"), WIDTHS)
SHARED, GRID = "features.0.weight", "features.3.weight"


def network():
    model = build_narrow("simplecnn", (1, 8, 8), 2, WIDTHS, seed=4)
    generator = torch.Generator().manual_seed(5)
    for value in model.buffers():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return model.eval()


def packed_tensors_of(model):
    """Alternately shared values and codes of 8, 6, 4 bits."""
    packed = {}
    for number, (name, layer) in enumerate(coded_layers(model).items()):
        weights = weight_array(layer)
        bits = (8, 6, 4)[number % 3]
        packed[f"{name}.weight"] = (
            grid_weights(weights, bits) if number % 2 else cluster(weights, 20)
        )
    return packed


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path, model = tmp_path_factory.mktemp("packed") / "net.packed", network()
    write_packed(path, CARD, model, packed_tensors_of(model))
    return path.read_bytes()


@pytest.fixture
def file(tmp_path, content):
    path = tmp_path / "net.packed"
    path.write_bytes(content)
    return path


def test_a_file_is_read_back_bit_exactly(file):
    model = network()
    packed, state = packed_tensors_of(model), read_packed(file)
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        wanted = torch.from_numpy(packed[name].weights()) if name in packed else value
        assert torch.equal(state[name], wanted)
        assert state[name].dtype == value.dtype
    assert read_card(file) == CARD
    assert packed_size(CARD, model, packed) == file.stat().st_size


def test_the_network_of_a_file_computes_with_the_packed_weights(file):
    model = network()
    for name, tensor in packed_tensors_of(model).items():
        model.state_dict()[name].copy_(torch.from_numpy(tensor.weights()))
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loaded = load_packed(file, "simplecnn")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))


def test_a_layer_with_two_names_and_a_computed_weight(tmp_path):
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict(
        {
            "one": shared,
            "two": shared,
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        }
    )
    assert list(coded_layers(model)) == ["one", "two"]
    packed = {f"{name}.weight": cluster(weight_array(shared), 9) for name in ("one", "two")}
    write_packed(tmp_path / "a.packed", CARD, model, packed)
    for name, value in read_packed(tmp_path / "a.packed").items():
        assert torch.equal(value, model.state_dict()[name])


def test_tensors_that_are_not_in_the_network_are_not_written(tmp_path):
    packed = packed_tensors_of(network())
    for wrong in ({"x": packed[SHARED]}, {GRID: packed[SHARED]}):
        with pytest.raises(ValueError, match="is not in the network"):
            write_packed(tmp_path / "a.packed", CARD, network(), wrong)
    model = network()
    model.features[0].register_buffer("weight:stream", torch.zeros(1))
    with pytest.raises(ValueError, match="is a tensor of the network"):
        write_packed(tmp_path / "a.packed", CARD, model, {SHARED: packed[SHARED]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_have_no_gaps(bits, monkeypatch):
    monkeypatch.setattr(packed_tensors, "_BLOCK", 16)
    highest = 2 ** (bits - 1) - 1
    for count in (1, 2, 15, 16, 17, 41):
        codes = np.random.default_rng(count).integers(-highest, highest, count, endpoint=True)
        codes = codes.astype(np.int8)
        word = "".join(format(code + highest, f"0{bits}b") for code in codes.tolist())
        word = word.ljust(-(-len(word) // 8) * 8, "0")
        packed = pack_codes(codes, bits)
        assert packed.tolist() == [int(word[i : i + 8], 2) for i in range(0, len(word), 8)]
        assert (unpack_codes(packed, bits, count) == codes).all()


def changed(name, function):
    def change(tensors, forms, description, metadata):
        tensors[name] = function(tensors[name])

    return change


def formed(name, **values):
    return lambda tensors, forms, description, metadata: forms[name].update(values)


def described(**values):
    return lambda tensors, forms, description, metadata: description.update(values)


def nan_first(tensor):
    tensor[0] = float("nan")
    return tensor


DAMAGES = {
    "stream cut": (changed(f"{SHARED}:stream", lambda t: t[:-1]), "the stream has"),
    "stream of floats": (changed(f"{SHARED}:stream", lambda t: t.float()), "its stream are float"),
    "stream in rows": (changed(f"{SHARED}:stream", lambda t: t[None]), "with 2 axes"),
    "stream of zeros": (changed(f"{SHARED}:stream", torch.zeros_like), "the codes do not fill"),
    "no chunks": (changed(f"{SHARED}:sizes", lambda t: t[:0]), "does not have the chunks"),
    "other code lengths": (changed(f"{SHARED}:lengths", lambda t: t + 1), "complete prefix code"),
    "long codes": (changed(f"{SHARED}:lengths", lambda t: t + 200), "more than 16 bits"),
    "a value too few": (changed(f"{SHARED}:codebook", lambda t: t[1:]), "code lengths"),
    "a value NaN": (changed(f"{SHARED}:codebook", nan_first), "codebook hold NaN"),
    "values in half": (changed(f"{SHARED}:codebook", lambda t: t.half()), "holds torch.float16"),
    "codes cut": (changed(f"{GRID}:codes", lambda t: t[:-1]), "do not have"),
    "a code out of range": (changed(f"{GRID}:codes", lambda t: t | 255), "holds a code above 31"),
    "codes in int8": (changed(f"{GRID}:codes", lambda t: t.to(torch.int8)), "holds torch.int8"),
    "a scale too few": (changed(f"{GRID}:scales", lambda t: t[1:]), "has 5 scales for 6"),
    "a scale 0": (changed(f"{GRID}:scales", lambda t: t * 0), "not positive"),
    "a scale negative": (changed(f"{GRID}:scales", lambda t: -t), "not positive"),
    "a scale NaN": (changed(f"{GRID}:scales", nan_first), "scales hold NaN"),
    "a scale too large": (changed(f"{GRID}:scales", lambda t: t * 0 + 1e38), "too large"),
    "a part missing": (lambda t, *_: t.pop(f"{GRID}:scales"), "scales' is missing"),
    "both forms": (lambda t, *_: t.update({GRID: torch.zeros(6)}), "is there twice"),
    "a bias NaN": (
        changed("features.1.bias", nan_first),
        "is damaged: 'features.1.bias' holds NaN",
    ),
    "complex": (changed("features.1.bias", lambda t: t.to(torch.complex64)), "holds torch.complex"),
    "no form": (formed(GRID, form="other"), "its form is none of"),
    "a form as a list": (lambda t, forms, *_: forms.update({GRID: []}), "its form is a list"),
    "no shape": (lambda t, forms, *_: forms[GRID].pop("shape"), "has no 'shape'"),
    "a huge shape": (formed(GRID, shape=[6, 2**31, 2**31]), "do not have"),
    "a huge shared shape": (formed(SHARED, shape=[2**31, 2**31]), "does not have the chunks"),
    "a shape too large": (formed(GRID, shape=[2**40]), "an axis is"),
    "an axis of 0": (formed(GRID, shape=[6, 0]), "an axis is 0"),
    "no axes": (formed(GRID, shape=[]), "shape has 0 items"),
    "many axes": (formed(GRID, shape=[1] * 7), "shape has 7 items"),
    "an axis of text": (formed(GRID, shape=["6"]), "an axis is '6'"),
    "bits 9": (formed(GRID, bits=9), "bits is 9"),
    "bits true": (formed(GRID, bits=True), "bits is True"),
    "another version": (described(version=2), "the version is 2"),
    "tensors as a list": (described(tensors=[]), "the list of tensors is a list"),
    "no tensors": (described(tensors={}), "holds torch.uint16"),
    "another tensor": (lambda t, *_: t.update({"x": torch.zeros(1)}), "'x' is not in the network"),
    "no description": (lambda t, f, d, metadata: metadata.update(packing=None), "not a packed"),
    "no JSON": (lambda t, f, d, metadata: metadata.update(packing="[["), "is damaged"),
    "no mapping": (lambda t, f, d, metadata: metadata.update(packing="[]"), "is a list"),
    "deep": (lambda t, f, d, metadata: metadata.update(packing="[" * 10**5), "too deeply"),
    "long": (lambda t, f, d, metadata: metadata.update(packing=" " * 2**23), "longer than"),
    "no card": (lambda t, f, d, metadata: metadata.update({CARD_KEY: None}), "no description of"),
    "a card of 0 classes": (
        lambda t, f, d, metadata: metadata.update(
            {CARD_KEY: metadata[CARD_KEY].replace('["3", "8"]', "[]")}
        ),
        "classes has 0 items",
    ),
}


def test_a_file_of_an_earlier_version_has_no_hash(file):
    state = read_packed(file)
    rewrite(file, lambda *_: None)
    assert all(torch.equal(value, state[name]) for name, value in read_packed(file).items())


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_one_line(file, case):
    change, said = DAMAGES[case]
    rewrite(file, change)
    tracemalloc.start()
    with pytest.raises(WeightsError) as caught:
        load_packed(file)
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert said in line


def test_a_file_that_was_cut_or_has_other_bytes_is_rejected(content, tmp_path):
    broken = tmp_path / "broken.packed"
    for length in (0, 1, 8, 100, len(content) // 2, len(content) - 1):
        broken.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"broken\.packed: "):
            read_packed(broken)
    (header,) = np.frombuffer(content[:8], "<u8").tolist()
    for place in (*range(8 + header), *range(8 + header, len(content), 101)):
        changed_bytes = bytearray(content)
        changed_bytes[place] ^= 1
        broken.write_bytes(changed_bytes)
        with pytest.raises(WeightsError, match=r"broken\.packed: "):
            read_packed(broken)


def test_other_files_are_told_apart(tmp_path, file):
    plain = tmp_path / "plain.safetensors"
    save_file(network().state_dict(), plain, CARD.metadata())
    with pytest.raises(WeightsError, match=r"is not a packed file.*--stages clustered"):
        read_packed(plain)
    for read in (read_packed, load_packed):
        with pytest.raises(WeightsError, match=r"gone\.packed: "):
            read(tmp_path / "gone.packed")
    with pytest.raises(WeightsError, match="holds a simplecnn, not a vgg16"):
        load_packed(file, "vgg16")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (("simplecnn", "some_package:network"), WeightsError, "is your own code"),
        (("simplecnn", "other"), NetworkError, "unknown value 'other'"),
        (("[6, 6, 6,", "[6, 6, 7,"), WeightsError, "does not fit the network"),
    ],
)
def test_a_card_of_another_network_is_one_line(file, change, error, said):
    def rename(tensors, forms, description, metadata):
        metadata[CARD_KEY] = metadata[CARD_KEY].replace(*change)

    rewrite(file, rename)
    with pytest.raises(error) as caught:
        load_packed(file)
    (line,) = caught.value.problems
    assert line.startswith(f"{file}: ")
    assert said in line
