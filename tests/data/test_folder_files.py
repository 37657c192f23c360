"""Image folders: which files are taken, how they are divided, and what is told of bad ones."""

from pathlib import Path

import pytest

from workbench.data.folder_files import class_names, list_folder
from workbench.domains.domain import load_domain
from workbench.errors import DataError, DomainError

COUNTS = {"cat": 10, "dog": 15}


@pytest.fixture
def pets(tmp_path, draw_folder):
    return draw_folder(tmp_path / "pets", COUNTS)


def domain(**fields):
    """A domain file pets.yaml with these fields; None leaves one out."""
    lines = {"name": "pets", "folder": "pets", **fields}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)
    Path("pets.yaml").write_text(text)
    return Path("pets.yaml")


def problems(**fields):
    with pytest.raises(DomainError) as error:
        load_domain(domain(**fields))
    for line in error.value.problems:
        assert line.startswith("pets.yaml"), line
        assert "; " in line, f"no remedy: {line}"
    return "\n".join(error.value.problems)


@pytest.mark.usefixtures("pets")
def test_a_class_is_a_subfolder_and_a_fraction_of_each_is_tested_on():
    found = load_domain(domain(test_fraction=0.4))
    assert found.classes == ("cat", "dog")
    assert found.folder.counts("test") == (4, 6)
    assert found.folder.counts("train") == (6, 9)
    assert found.images() == (15, 10)
    assert set(found.folder.files("train")).isdisjoint(found.folder.files("test"))


@pytest.mark.usefixtures("pets")
def test_one_fifth_is_tested_on_where_nothing_is_said():
    assert load_domain(domain()).folder.counts("test") == (2, 3)


@pytest.mark.usefixtures("pets")
def test_the_seed_draws_another_share_of_the_same_size():
    first, again, other = (load_domain(domain(seed=seed)).folder for seed in (0, 0, 1))
    assert first == again
    assert first.test != other.test
    assert first.counts("test") == other.counts("test")


def test_a_new_file_moves_at_most_one_other_across(pets, draw_folder):
    before = set(list_folder(pets).files("test"))
    (pets / "cat" / "new.png").write_bytes((pets / "cat" / "000.png").read_bytes())
    after = set(list_folder(pets).files("test"))
    assert len(before - after) <= 1


def test_the_split_does_not_depend_on_where_the_folder_lies(pets):
    moved = pets.rename(pets.with_name("moved"))
    (moved.parent / "pets").symlink_to(moved)
    names = [
        [path.relative_to(root) for path, _ in list_folder(root).files("test")]
        for root in (moved, pets)
    ]
    assert names[0] == names[1]


def test_train_and_test_folders_are_taken_as_they_are(tmp_path, draw_folder):
    draw_folder(tmp_path / "pets" / "train", {"dog": 5, "cat": 4})
    draw_folder(tmp_path / "pets" / "test", {"dog": 1, "cat": 3})
    found = load_domain(domain())
    assert found.folder.counts("train") == (4, 5)
    assert found.folder.counts("test") == (3, 1)
    said = problems(test_fraction=0.3, seed=2)
    assert "pets.yaml:3: test_fraction: has no effect" in said
    assert "pets.yaml:4: seed: has no effect" in said


@pytest.mark.usefixtures("pets")
def test_named_classes_are_taken_in_their_order():
    assert load_domain(domain(classes="[dog, cat]")).classes == ("dog", "cat")
    assert "class 'dgo' is not in pets; did you mean 'dog'?" in problems(classes="[cat, dgo]")


@pytest.mark.usefixtures("pets")
def test_the_set_of_a_folder_may_have_a_name_of_its_own():
    assert load_domain(domain()).source == "folder"
    assert load_domain(domain(source="garden")).source == "garden"


@pytest.mark.usefixtures("pets")
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"test_fraction": 0}, "test_fraction: '0' is not within (0, 1)"),
        ({"test_fraction": 1.0}, "test_fraction: '1.0' is not within (0, 1)"),
        ({"test_fraction": "half"}, "test_fraction: 'half' is not within (0, 1)"),
        ({"test_fraction": ".nan"}, "test_fraction: '.nan' is not within (0, 1)"),
        ({"seed": -1}, "seed: '-1' is not a whole number"),
        ({"image_size": 0}, "image_size: '0' is not a number of pixels"),
        ({"image_size": 4000}, "image_size: '4000' is not a number of pixels"),
        ({"image_size": "[64, 64]"}, "image_size: 'a list' is not a number of pixels"),
        ({"folder": "[a]"}, "folder: 'a list' is not a path"),
        ({"folder": "nowhere"}, "nowhere: no such folder"),
        ({"split": 3}, "split: unknown key"),
        ({"source": "cifar10"}, "source: 'cifar10' is a known data set, but these images come"),
        ({"source": "''"}, "source: '' is not a valid name for the images"),
        ({"folder": None, "source": "digits", "classes": "[3, 8]", "seed": 1}, "add 'folder: path"),
        ({"folder": None, "source": "pets", "classes": "[3, 8]"}, "or use your own images with"),
    ],
)
def test_a_wrong_field_is_told_with_its_line(fields, said):
    assert said in problems(**fields)


@pytest.mark.usefixtures("pets")
def test_all_mistakes_are_told_at_once():
    said = problems(test_fraction=2, seed="x", image_size=1, classes="[cat]")
    assert len(said.splitlines()) == 4


def test_an_empty_class_and_one_with_a_single_image_are_told(pets, draw_folder):
    (pets / "empty").mkdir()
    draw_folder(pets / "x", {"y": 1})
    (pets / "x" / "y").rename(pets / "one")
    (pets / "x").rmdir()
    said = problems().splitlines()
    assert len(said) == 2
    assert "pets/empty: has no images; add some or leave the class out" in said[0]
    assert "pets/one: 1 training image, training needs at least 2" in said[1]


def test_hidden_files_and_folders_are_no_images(pets):
    (pets / ".git").mkdir()
    (pets / ".git" / "config").touch()
    (pets / "cat" / ".DS_Store").touch()
    assert class_names(pets) == ["cat", "dog"]
    assert sum(list_folder(pets).counts("train") + list_folder(pets).counts("test")) == 25


def test_a_folder_without_classes_or_with_one_is_told(tmp_path, draw_folder):
    (tmp_path / "pets").mkdir()
    assert "has no subfolders" in problems()
    draw_folder(tmp_path / "pets", {"cat": 4})
    assert "has 1 class(es), two or more are needed" in problems()


def test_imagenets_val_stands_for_test(tmp_path, draw_folder):
    draw_folder(tmp_path / "net/train", {"cat": 3, "dog": 3})
    draw_folder(tmp_path / "net/val", {"cat": 1, "dog": 2})
    folder = list_folder(tmp_path / "net")
    assert (folder.counts("train"), folder.counts("test")) == ((3, 3), (1, 2))
    draw_folder(tmp_path / "net/test", {"cat": 2, "dog": 2})
    assert list_folder(tmp_path / "net").counts("test") == (2, 2)


@pytest.mark.parametrize("halves", [("train", "dev"), ("Train", "Test"), ("train", "x"), ("dev",)])
def test_a_division_is_not_taken_for_classes(tmp_path, draw_folder, halves):
    for half in halves:
        draw_folder(tmp_path / "pets" / half, {"cat": 3, "dog": 3})
    assert "rename to train/ and test/" in problems()


@pytest.mark.usefixtures("pets")
def test_notes_beside_the_images_are_no_test_images(tmp_path):
    before = set(load_domain(domain()).folder.files("test"))
    for number in range(30):
        (tmp_path / "pets" / "cat" / f"{number}.txt").touch()
    after = load_domain(domain()).folder
    assert set(after.files("test")) == before
    assert after.counts("train") == (38, 12)


@pytest.mark.usefixtures("pets")
def test_a_loop_of_links_and_an_unknown_home_are_told(tmp_path):
    (tmp_path / "pets" / "loop").symlink_to(tmp_path / "pets" / "loop")
    assert load_domain(domain()).classes == ("cat", "dog")
    assert "this home folder does not exist" in problems(folder="~nosuchuser/x")


def test_a_class_that_is_only_tested_on_is_told(tmp_path, draw_folder):
    draw_folder(tmp_path / "pets" / "train", {"cat": 3, "dog": 3})
    draw_folder(tmp_path / "pets" / "test", {"cat": 3, "dog": 3, "fox": 3})
    with pytest.raises(DataError, match="class 'fox' is not in"):
        list_folder(tmp_path / "pets")
