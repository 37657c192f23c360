"""Uploads: what is kept, and every kind of file that is rejected, made for real."""

import io
import stat
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from workbench.experiments.service import zip_uploads
from workbench.experiments.service.rejections import RejectionError
from workbench.experiments.service.upload_store import UploadStore, plain_name


def picture(shade=100, size=(12, 12)):
    content = io.BytesIO()
    Image.new("L", size, shade).save(content, "PNG")
    return content.getvalue()


def pets(top="", count=4):
    return {
        f"{top}{name}/{number}.png": picture(20 * number)
        for name in ("cat", "dog")
        for number in range(count)
    }


def zipped(files, **changed):
    """A zip archive; ``changed`` are attributes of the last entry."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.orig_filename = info.filename = name  # not made harmless
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == list(files)[-1]:
                for key, value in changed.items():
                    setattr(info, key, value)
            archive.writestr(info, data)
    return content.getvalue()


@pytest.fixture
def store(tmp_path):
    return UploadStore(tmp_path / "uploads", upload_mb=2, storage_mb=4)


@pytest.fixture
def rejected(store):
    """Upload a file that must be rejected: (status, problem); nothing may be left."""

    def add(name, content):
        with pytest.raises(RejectionError) as error:
            store.add(name, io.BytesIO(content))
        left = list(store.folder.rglob("*"))
        assert left == []
        return error.value.status, " ".join(error.value.problems)

    return add


@pytest.mark.parametrize("top", ["", "pets/", "pets/train/"])
def test_images_are_kept_with_their_classes(store, top):
    files = pets(top)
    if top == "pets/train/":
        files |= pets("pets/test/")
    files |= {"__MACOSX/cat/._0.png": b"x", "pets/.DS_Store": b"x"} if top else {}
    upload = store.add("My pets!.zip", io.BytesIO(zipped(files)))
    images = 8 if top == "pets/train/" else 4
    assert (upload.kind, upload.name) == ("images", "My-pets")
    assert upload.classes == {"cat": images, "dog": images}
    folder = store.path(upload)
    assert sorted(path.suffix for path in folder.rglob("*") if path.is_file()) == [".png"] * (
        2 * images
    )
    assert store.get(upload.id) == upload


def test_the_same_file_is_kept_once(store):
    content = zipped(pets())
    first, second = (store.add("pets.zip", io.BytesIO(content)) for _ in range(2))
    assert first == second
    assert store.all() == [first]
    assert store.add("other.zip", io.BytesIO(content)).id != first.id


def test_weights_are_kept(store):
    content = save({"a": np.zeros(3, dtype=np.float32)})
    upload = store.add("vgg.safetensors", io.BytesIO(content))
    assert upload.kind == "weights"
    assert store.path(upload).read_bytes() == content


@pytest.mark.parametrize(
    "name",
    ["../cat/0.png", "cat/../../0.png", "/cat/0.png", "C:/cat/0.png", "cat\\..\\0.png",
     "cat//0.png", "cat/./0.png", "cat/a\0.png", "cat/a\n.png", "a/b/c/d/e.png",
     f"cat/{'x' * 220}.png"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_rejected(rejected, tmp_path, name):
    status, problem = rejected("pets.zip", zipped({**pets(), name: picture()}))
    assert status == 422
    assert "is not allowed" in problem
    assert not list(tmp_path.rglob("0.png"))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_rejected(rejected, kind):
    content = zipped({**pets(), "cat/9.png": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    status, problem = rejected("pets.zip", content)
    assert status == 422
    assert "link or a special file" in problem


def test_a_bomb_that_declares_its_size_is_rejected(rejected):
    status, problem = rejected("pets.zip", zipped({**pets(), "cat/9.png": bytes(50_000_000)}))
    assert (status, "compressed" in problem) == (413, True)


def test_a_bomb_of_many_files_is_rejected(rejected):
    noise = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    bombs = {f"cat/x{number}.png": noise + bytes(900_000) for number in range(12)}
    status, problem = rejected("pets.zip", zipped({**pets(), **bombs}))
    assert (status, "8 MB are allowed" in problem) == (413, True)


def test_a_bomb_that_lies_about_its_size_is_rejected(rejected):
    """The headers declare 100 bytes; the data unpack to a megabyte."""
    content = bytearray(zipped({**pets(), "dog/z.png": bytes(1_000_000)}))
    size = struct.pack("<L", 1_000_000)
    assert content.count(size) == 2
    content = content.replace(size, struct.pack("<L", 100))
    status, _ = rejected("pets.zip", bytes(content))
    assert status in (413, 422)


def test_what_is_written_is_counted(tmp_path, monkeypatch):
    """Even if the library hands out more than the archive declares."""
    path = tmp_path / "pets.zip"
    path.write_bytes(zipped(pets()))
    opened = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda self, info: io.BytesIO(opened(self, info).read() + b"x")
    )
    with pytest.raises(RejectionError, match="larger than the archive declares") as error:
        zip_uploads.extract(path, tmp_path / "out", 2)
    assert error.value.status == 413


def test_too_many_entries_are_rejected_before_they_are_read(rejected, monkeypatch):
    content = bytearray(zipped(pets()))
    at = content.rindex(b"PK\x05\x06")
    struct.pack_into("<L", content, at + 12, 40_000_000)  # size of the list of names
    read = []
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: read.append(1))
    status, problem = rejected("pets.zip", bytes(content))
    assert (status, "too many entries" in problem, read) == (413, True, [])


@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_zip64_is_rejected_with_and_without_a_comment(rejected, comment):
    content = zipped(pets())
    end = content[-22:-2] + struct.pack("<H", len(comment)) + comment
    locator = b"PK\x06\x07" + bytes(16)
    assert rejected("pets.zip", content[:-22] + locator + end)[0] == 413


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({**pets(), "cat/run.sh": b"rm"}, "is not an image"),
        ({**pets(), "0.png": picture()}, "is in no folder"),
        ({}, "has no images"),
        ({f"cat/{number}.png": picture() for number in range(4)}, "two or more are needed"),
        ({**pets(), "dog/0.png/1.png": picture()}, "cannot be extracted"),
        ({**pets(count=1)}, "training image"),
    ],
)
def test_archives_without_a_usable_folder_are_rejected(rejected, files, said):
    status, problem = rejected("pets.zip", zipped(files))
    assert (status, said in problem) == (422, True), problem
    assert "uploads" not in problem  # no place on the server


def test_two_files_of_one_name_are_rejected(rejected):
    content = zipped({**pets(), "cat/X.png": picture()}).replace(b"cat/X.png", b"cat/0.png")
    assert rejected("pets.zip", content)[0] == 422


def test_an_encrypted_archive_is_rejected(rejected):
    content = bytearray(zipped(pets()))
    for signature, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(signature) + at] |= 1
    status, problem = rejected("pets.zip", bytes(content))
    assert (status, "encrypted" in problem) == (422, True)


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("weights.pt", b"x", 415),
        ("weights.safetensors", b"\x80\x02.", 422),
        ("weights.safetensors", save({}), 422),
        ("pets.tar.gz", b"x", 415),
        ("pets.zip", b"no zip", 422),
        ("pets.zip", zipped(pets())[:-30], 422),
        ("photo.png", picture(), 415),
        ("", b"", 415),
        ("big.safetensors", bytes(2_000_001), 413),
    ],
)
def test_other_files_are_rejected(rejected, name, content, status):
    assert rejected(name, content)[0] == status


def test_all_uploads_together_are_limited(store):
    for number in range(2):
        store.add(f"w{number}.safetensors", io.BytesIO(save({"a": np.zeros(450_000, np.float32)})))
    with pytest.raises(RejectionError) as error:
        store.add("w2.safetensors", io.BytesIO(save({"a": np.zeros(450_000, np.float32)})))
    assert error.value.status == 507
    assert len(store.all()) == 2


def test_uploads_are_removed_unless_a_job_needs_them(store):
    upload = store.add("pets.zip", io.BytesIO(zipped(pets())))
    with pytest.raises(RejectionError, match="needs this upload"):
        store.remove(upload.id, [upload.id])
    store.remove(upload.id, [])
    assert store.all() == []
    for name in (upload.id, "../jobs", "", "a" * 24):
        with pytest.raises(RejectionError, match="no upload"):
            store.get(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [("pets.zip", "pets"), ("a/b\\my pets.v2.zip", "my-pets-v2"), ("…", "upload"), ("pets", "pets"),
     ("-x-.zip", "x"), (f"{'n' * 99}.zip", "n" * 60)],
)  # fmt: skip
def test_names_become_names_of_domains(name, plain):
    assert plain_name(name) == plain
