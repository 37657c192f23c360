"""Images of the user's own, end to end through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import workbench
from workbench.adaptation.settings import Settings
from workbench.adaptation.tasks.task import resolve
from workbench.data import known_sets as sets
from workbench.data.catalog import SOURCES, imagenet
from workbench.data.known_sets import Images, load_images
from workbench.domains.domain import load_domain
from workbench.models.networks import build_network
from workbench.training.protocols import FOUR

SHORT = ("--epochs", "2", "--batch-size", "8", "--schedule", "one-cycle")


@pytest.fixture
def pets(tmp_path, draw_folder):
    """A folder of photos and the domain that points to it."""
    draw_folder(tmp_path / "pets", {"cat": 14, "dog": 11}, size=(40, 36))
    Path("domains").mkdir()
    Path("domains/pets.yaml").write_text("name: pets\nfolder: ../pets\nimage_size: 24\nseed: 1\n")
    return tmp_path / "pets"


@pytest.fixture
def digits(tmp_path):
    """The threes and eights of the digits as 32x32 PNG files, and a domain of them."""
    for split in ("train", "test"):
        images = load_images("digits", split, None).of_classes(("3", "8"), "digits")
        for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
            folder = tmp_path / "own" / split / "38"[label]
            folder.mkdir(parents=True, exist_ok=True)
            large = np.kron(np.rint(pixels[0] * (255 / 16)), np.ones((4, 4))).astype(np.uint8)
            Image.fromarray(large).save(folder / f"{number}.png")
    Path("domains").mkdir()
    Path("domains/own.yaml").write_text("name: own\nfolder: ../own\n")
    return tmp_path / "own"


@pytest.fixture
def random_colours(monkeypatch):
    """Small random images in the place of CIFAR's."""

    def load(source, split):
        seed = np.random.default_rng([len(source), len(split)])
        labels = np.repeat(np.arange(len(SOURCES[source].classes)), 4)
        return Images(
            seed.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8), labels.astype(np.int64)
        )

    for source in ("cifar10", "cifar100"):
        monkeypatch.setitem(
            sets._LOADERS, source, lambda split, folder, source=source: load(source, split)
        )
    monkeypatch.setattr("workbench.adaptation.preparation.is_present", lambda name, folder: True)


def adapt(run_cli, *options, fails=False):
    status, out, err = run_cli("adapt", *options, *SHORT, "--json")
    if fails:
        assert (status, out) == (2, "")
        return err
    assert status == 0, err
    return json.loads(out), err


def source_weights(classes, shape=(3, 32, 32), name="source.safetensors"):
    """A source network that was never trained: enough to see where its weights go."""
    save_file(build_network("simplecnn", shape, classes).state_dict(), name)
    return name


def test_a_network_of_one_set_is_specialised_for_a_folder(run_cli, pets):
    """The source's 100 classes are none of the folder's: the classifier is new."""
    (pets / "cat" / "notes.txt").write_text("no image")
    options = ("--source", "cifar100", "--target", "pets", "--model", "simplecnn")
    weights = ("--weights", source_weights(100))
    result, err = adapt(run_cli, *options, *weights)
    assert "skipped 1 file (not an image: 1): cat/notes.txt" in err
    assert result["settings"]["head"] == "new"
    assert [row["protocol"] for row in result["protocols"]] == list(FOUR)
    saved = result["protocols"][3]["weights"]
    network = workbench.load_network(saved)
    assert network(torch.zeros(1, 3, 24, 24)).shape == (1, 2)
    again, _ = adapt(run_cli, *options, *weights)
    assert again["run_id"] == result["run_id"]
    assert again["trained"] == 0

    run = next(row["run_ids"][0] for row in result["protocols"] if row["weights"])
    status, out, err = run_cli("export", run)
    assert status == 0, err
    assert "verified on all 5 test images of pets" in out
    status, out, _ = run_cli("predict", "network.safetensors", pets / "cat" / "000.png", "--json")
    assert status == 0
    assert {"cat", "dog"} == set(json.loads(out)[0]["classes"])
    assert "--strict" not in adapt(run_cli, *options, *weights, "--strict", fails=True)[:20]


def test_strict_names_every_bad_file_and_leaves_nothing(run_cli, pets):
    for name in ("cat/notes.txt", "dog/cut.png"):
        (pets / name).write_text("no image")
    before = sorted(Path().rglob("*"))
    options = ("--source", "cifar10", "--target", "pets", "--model", "simplecnn", "--strict")
    weights = source_weights(10)
    err = adapt(run_cli, *options, "--weights", weights, fails=True)
    assert len(err.splitlines()) == 2
    assert "cat/notes.txt: not an image; repair or remove it, or leave out --strict" in err
    assert "dog/cut.png" in err
    assert sorted(Path().rglob("*")) == sorted([*before, Path(weights)])


@pytest.mark.slow
def test_the_rows_of_known_classes_are_kept_for_a_folder(run_cli, digits):
    """A folder of digits is the digits: the network that knows them needs one epoch."""
    options = ("--source", "digits", "--target", "own", "--source-epochs", "4")
    result, _ = adapt(run_cli, *options, "--protocols", "full-fine")
    assert result["settings"]["head"] == "slice"
    assert result["protocols"][0]["accuracy_mean"] > 0.8


def test_a_folder_is_a_source(run_cli, tmp_path, draw_folder):
    """Train on a folder of three classes, specialise for two of them."""
    draw_folder(tmp_path / "zoo", {"cat": 12, "dog": 12, "fox": 12})
    Path("domains").mkdir()
    Path("domains/tame.yaml").write_text("name: tame\nfolder: ../zoo\nclasses: [dog, cat]\n")
    train = ("train", "--source", "zoo", "--image-size", "24", "--out", "zoo.safetensors", *SHORT)
    status, _, err = run_cli(*train)
    assert status == 0, err
    options = ("--source", "zoo", "--image-size", "24", "--target", "tame")
    weights = ("--weights", "zoo.safetensors", "--protocols", "pfa-fine")
    result, err = adapt(run_cli, *options, *weights)
    assert "warning" not in err
    assert result["settings"]["head"] == "slice"
    assert result["source"] == "zoo"
    # What the weights were trained on is in their file; without a size, that one is taken.
    again, _ = adapt(run_cli, *options[:2], *options[4:], *weights)
    assert again["run_id"] == result["run_id"]
    err = adapt(run_cli, *options, *weights, "--image-size", "32", fails=True)
    assert "was trained on 24x24 images; leave it out" in err
    # Divided another way, the domain's test images are among those that the source learned.
    Path("domains/leak.yaml").write_text("name: leak\nfolder: ../zoo\nseed: 5\n")
    _, err = adapt(run_cli, *options[:4], "--target", "leak", *weights)
    assert "test images of leak are training images of zoo" in err


def test_crops_follow_the_size_of_the_images(pets):
    """A network for 224 pixels pads by 28; on 24 pixels that would leave nothing to see."""
    task = resolve(
        Settings.of(source="imagenet", target="pets", weights=Path("DEFAULT"), model="simplecnn")
    )
    assert (task.trained_on.crop, task.source.shape, task.source.crop) == (28, (3, 24, 24), 3)
    assert pets.is_dir()


@pytest.mark.usefixtures("random_colours")
def test_a_known_domain_of_another_set_gets_a_new_head(run_cli):
    """S2's classes are CIFAR-100's; the network knows CIFAR-10's."""
    options = ("--source", "cifar10", "--target", "S2", "--model", "simplecnn")
    weights = ("--weights", source_weights(10), "--protocols", "pfa-fine")
    result, _ = adapt(run_cli, *options, *weights)
    assert result["settings"]["head"] == "new"
    assert result["settings"]["images"]["from"] == "cifar100"
    err = adapt(run_cli, *options, *weights, "--head", "slice", fails=True)
    assert "is not among the 10 classes of cifar10; use --head new" in err


def test_weights_of_imagenet_are_specialised_for_a_folder(run_cli, pets):
    """What torchvision's own weights are: 1,000 classes, here with random values."""
    assert pets.is_dir()
    known = imagenet(224)
    assert (len(known.classes), known.classes[0]) == (1000, "tench")
    network = build_network("torchvision:resnet18", (3, 32, 32), 1000)
    save_file(network.state_dict(), "resnet18.safetensors")
    options = ("--source", "imagenet", "--target", "pets", "--model", "torchvision:resnet18")
    status, out, err = run_cli(
        "analyze", *options, "--image-size", "32", "--weights", "resnet18.safetensors", "--json"
    )
    assert status == 0, err
    assert len(json.loads(out)["recipe"]) > 5
    err = adapt(run_cli, *options, fails=True)
    assert "--source imagenet: the workbench has no imagenet images to train on; use" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--source", "nowhere/photos"), "--source: nowhere/photos: no such folder"),
        (("--source", "cifar11"), "did you mean 'cifar10'?, or the path of a folder of images"),
        (("--source", "pets", "--image-size", "1"), "--image-size 1 is not within 4 to 2048"),
        (("--source", "cifar10", "--image-size", "64"), "the images of cifar10 have 32 pixels"),
        (("--source", "empty"), "--source: empty: has no subfolders"),
        (("--source", "cifar10", "--model", "vgg16"), "needs images of at least 32x32"),
    ],
)
def test_a_wrong_source_is_told(run_cli, pets, options, said):
    (pets.parent / "empty").mkdir()
    before = sorted(Path().rglob("*"))
    err = adapt(run_cli, *options, "--target", "pets", fails=True)
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_the_size_of_a_domain_must_suit_the_weights(run_cli, pets):
    """vgg16's first hidden layer is tied to the image's size."""
    assert pets.is_dir()
    Path("domains/pets.yaml").write_text("name: pets\nfolder: ../pets\nimage_size: 64\n")
    err = adapt(run_cli, "--source", "cifar10", "--target", "pets", "--model", "vgg16", fails=True)
    assert "image_size 64: the weights of vgg16 fit only the 32x32 images of cifar10" in err


def test_dry_run_and_domains_know_folders(run_cli, pets):
    status, out, err = run_cli("domains", "show", "pets")
    assert (status, err) == (0, "")
    assert "20 for training, 5 for testing" in out
    assert str(pets) in str(Path(out.split("folder:")[1].split("\n")[0].strip()).resolve())
    assert run_cli("domains", "new", "zoo", "--folder", pets)[0] == 0
    assert "\nname: zoo\nfolder: " in Path("domains/zoo.yaml").read_text()
    status, out, err = run_cli("domains")
    assert status == 0
    assert "pets" in out
    new = ("domains", "new", "tools", "--folder", pets, "--classes", "dog,cat")
    status, out, err = run_cli(*new)
    assert status == 0, err
    assert load_domain(Path("domains/tools.yaml")).classes == ("dog", "cat")
    status, out, err = run_cli(
        "adapt", "--source", "cifar10", "--target", "tools", "--weights", source_weights(10),
        "--model", "simplecnn", "--dry-run",
    )  # fmt: skip
    assert status == 0, err
    assert "20 training and 5 test images" in out
    assert not Path("mlruns").exists()
