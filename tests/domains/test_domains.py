"""Domain files: strict, told in full, and never run."""

import random
import re
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
import yaml

from workbench.data.catalog import SOURCES
from workbench.domains.checks import FIELDS
from workbench.domains.domain import Domain, load_domain
from workbench.domains.new_files import domain_text
from workbench.domains.search import domain_files, find_domain, search_path
from workbench.errors import DomainError

PACKAGED = search_path()[-1]


def text(**fields):
    """A valid file d.yaml with some fields replaced, one line a field; None leaves it out."""
    lines = {"name": "d", "source": "digits", "classes": "[3, 8]", "description": "text", **fields}
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)


def load(content, name="d.yaml"):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_domain(Path(name))


def problems(content, name="d.yaml"):
    """The lines of the error that a file gives; each is one line with place and remedy."""
    with pytest.raises(DomainError) as error:
        load(content, name)
    assert error.value.exit_code == 2
    for line in error.value.problems:
        assert line.startswith(name), line
        assert "; " in line, f"no remedy: {line}"
        assert line.isprintable(), line
    return list(error.value.problems)


def test_the_fields_of_a_file_are_those_of_the_domain():
    found = load(text(classes="[8, 3]", description="threes\n  and eights"))
    assert found == Domain("d", "digits", ("8", "3"), "threes and eights", Path("d.yaml"))
    assert FIELDS == ("name", "source", "classes", "description")


def test_the_description_may_be_missing():
    assert load(text(description=None)).description == ""


@pytest.mark.parametrize("classes", ["[3, 8]", "['3', '8']", '["3", 8]', "\n  - 3\n  - '8'"])
def test_a_bare_integer_is_a_class_name_where_the_source_has_it(classes):
    assert load(text(classes=classes)).classes == ("3", "8")


def test_a_bare_integer_is_no_label():
    (line,) = problems(text(source="cifar100", classes="[3, fox]"))
    assert "class '3' is not in cifar100" in line


@pytest.mark.parametrize("ending", ["\r\n", "\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "# a comment\n", "---\n"])
def test_files_of_other_editors_are_read(start, ending):
    assert load((start + text()).replace("\n", ending)).classes == ("3", "8")


WRONG = {
    "unknown key": (text(clases="[3]"), "d.yaml:5: clases", "did you mean 'classes'?"),
    "unlike any key": (text(x="1"), "d.yaml:5: x", "known: name, source, classes, description"),
    "no name": (text(name=None), "name: the key is missing", "name: ..."),
    "no source": (text(source=None), "source: the key is missing"),
    "no classes": (text(classes=None), "classes: the key is missing"),
    "number as name": (text(name="3"), "d.yaml:1: name", "'3'"),
    "list as name": (text(name="[d]"), "d.yaml:1: name", "list"),
    "nothing as name": (text(name=""), "d.yaml:1: name"),
    "another file's name": (text(name="e"), "d.yaml:1: name", "'e' differs", "'d'"),
    "path as name": (text(name="../d"), "d.yaml:1: name", "'../d'", "letters, digits"),
    "folder as name": (text(name="a/d"), "d.yaml:1: name", "'a/d'"),
    "blank in name": (text(name="'a b'"), "d.yaml:1: name", "'a b'"),
    "empty name": (text(name="''"), "d.yaml:1: name", "''"),
    "unknown source": (text(source="digit"), "d.yaml:2: source", "'digit'", "mean 'digits'?"),
    "list as source": (text(source="[digits]"), "d.yaml:2: source", "list"),
    "text as classes": (text(classes="fox"), "d.yaml:3: classes", "'fox' is not a list"),
    "mapping as classes": (text(classes="{3: 8}"), "d.yaml:3: classes", "is not a list"),
    "no class": (text(classes="[]"), "d.yaml:3: classes", "0 class", "two or more"),
    "one class": (text(classes="[3]"), "d.yaml:3: classes", "1 class", "two or more"),
    "duplicate class": (text(classes="[3, 8, '3']"), "d.yaml:3: classes[2]", "'3' is listed twice"),
    "unknown class": (text(classes="[3, 8, 33]"), "d.yaml:3: classes[2]", "'33'", "mean '3'?"),
    "typing error": (
        text(source="cifar100", classes="[foxx, boy]"),
        "d.yaml:3: classes[0]: class 'foxx' is not in cifar100; did you mean 'fox'?",
    ),
    "other case": (text(source="cifar100", classes="[Fox, boy]"), "'Fox'", "mean 'fox'?"),
    "class on its own line": (text(classes="\n  - 3\n  - 33"), "d.yaml:5: classes[1]", "'33'"),
    "true as class": (text(classes="[true, 3, 8]"), "d.yaml:3: classes[0]", "bool"),
    "fraction as class": (text(classes="[3, 8.0, 9]"), "d.yaml:3: classes[1]", "'8.0'"),
    "nothing as class": (text(classes="[3, 8, ~]"), "d.yaml:3: classes[2]"),
    "date as class": (text(classes="[3, 8, 2026-01-01]"), "d.yaml:3: classes[2]", "2026-01-01"),
    "list as class": (text(classes="[3, 8, [9]]"), "d.yaml:3: classes[2]", "list"),
    "number as description": (text(description="3"), "d.yaml:4: description", "'3'"),
    "nothing as description": (text(description=""), "d.yaml:4: description"),
    "impossible date": (text(name="2026-99-99"), "d.yaml", "timestamp"),
    "duplicate key": (text() + "name: d\n", "d.yaml:5: name", "is listed twice"),
    "alias": (text(source="&s digits", description="*s"), "d.yaml:2", "alias"),
    "alias of itself": ("&all {name: *all}", "d.yaml:1", "alias"),
    "local tag": (text(name="!secret d"), "d.yaml:1", "'!secret' is not allowed"),
    "tag without a reader": (text(name="!!frob d"), "d.yaml", "frob"),
    "tag that does not fit": (text(name="!!int d"), "d.yaml", "'d'"),
    "nothing": ("", "d.yaml", "empty", "name, source, classes"),
    "comments only": ("# nothing\n\n", "d.yaml", "empty"),
    "a word": ("digits", "d.yaml:1", "'key: value'"),
    "a list": ("- 3\n- 8\n", "d.yaml:1", "'key: value'"),
    "two documents": (text() + "---\n" + text(), "d.yaml:5", "not YAML", "another document"),
    "tab": ("name: d\nsource:\n\tdigits\n", "d.yaml:3", "not YAML", "'\\t'"),
    "open bracket": (text(classes="[3, 8"), "d.yaml:4", "not YAML"),
    "open quote": (text(name="'d"), "d.yaml", "not YAML"),
    "control character": (text(name="\x00"), "d.yaml", "not YAML", "#x0000"),
    "Latin-1": (text(description="caf\xe9").encode("latin-1"), "d.yaml", "not UTF-8", "0xe9"),
    "UTF-16": (text().encode("utf-16"), "d.yaml", "not UTF-8", "0xff"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line_with_place_value_and_remedy(case):
    content, *wanted = WRONG[case]
    (line,) = problems(content)
    for part in wanted:
        assert part in line


KNOWN_BUGS = {
    "list as key": text() + "? [a]\n: 4\n",
    "mapping as key": text() + "? {a: 1}\n: 4\n",
    "!!bool of a word": text(name="!!bool d"),
    "!!timestamp of a word": text(name="!!timestamp d"),
    "!!int of nothing": text(name="!!int ''"),
    "!!float of nothing": text(name="!!float ''"),
    "impossible character": text(name='"\\UFFFFFFFF"'),
    "merge key": "name: d\n<<: {source: digits}\nclasses: [3, 8]\n",
    "octal number": text(classes="[010, 3]"),
    "hexadecimal number": text(classes="[0x3, 8]"),
    "line break in a value": text(source='"a\\nb"'),
    "line break in a key": text() + '"a\\nb": 3\n',
    "escape sequence in a value": text(source='"\\e[31m"'),
}


@pytest.mark.parametrize("case", KNOWN_BUGS)
def test_an_odd_file_is_one_line_too(case):
    (line,) = problems(KNOWN_BUGS[case])
    assert "\n" not in line


FAULTS = {
    "name": ("e", "'e' differs"),
    "source": ("digit", "unknown source 'digit'"),
    "classes": ("[3, 3, 1.5]", "'3' is listed twice"),
    "description": ("[]", "d.yaml:4: description"),
    "color": ("red", "color: unknown key"),
}


@pytest.mark.parametrize("wrong", list(product([False, True], repeat=len(FAULTS)))[1:])
def test_all_mistakes_of_a_file_are_told_at_once(wrong):
    faults = {key: FAULTS[key] for key, is_wrong in zip(FAULTS, wrong, strict=True) if is_wrong}
    lines = problems(text(**{key: value for key, (value, _) in faults.items()}))
    for _, said in faults.values():
        assert sum(said in line for line in lines) == 1
    assert len(lines) == len(faults) + ("classes" in faults)  # the classes have two mistakes
    assert any("'1.5'" in line for line in lines) == ("classes" in faults)


@pytest.mark.parametrize("more", ["name: d\n", "color: !!frob red\n", "color: 2026-99-99\n"])
def test_duplicate_keys_and_tags_hide_no_other_mistake(more):
    assert any("'33'" in line for line in problems(text(classes="[3, 33]") + more))


TAGS = [
    "!!python/object/apply:os.system ['touch ran']",
    "!!python/object/new:os.system ['touch ran']",
    "!!python/object/apply:subprocess.check_call [[touch, ran]]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/tuple [a, b]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch ran']",
]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("place", ["name: {}\n", "classes: [3, {}]\n", "a: {{b: {}}}\n", "{}\n"])
def test_a_tag_that_builds_objects_is_rejected_and_never_run(tag, place):
    assert problems(place.format(tag))
    assert not Path("ran").exists()


def test_a_tag_under_another_handle_is_rejected_too():
    head = "%TAG ! tag:yaml.org,2002:python/\n---\n"
    (line,) = problems(head + text(name="!object/apply:os.system ['touch ran']"))
    assert "python/object/apply:os.system' is not allowed" in line
    assert not Path("ran").exists()


NESTED = {
    "brackets": "[" * 10_000,
    "closed brackets": "name: " + "[" * 1_000 + "]" * 1_000,
    "braces": "name: " + "{a: " * 1_000 + "}" * 1_000,
    "dashes": "- " * 2_000,
    "indents": "\n".join(" " * depth + "a:" for depth in range(1_000)),
    # Parsed without trouble, yet too deep for a careless walk.
    "moderate": text(name="[" * 300 + "]" * 300),
}


@pytest.mark.parametrize("case", NESTED)
def test_deep_nesting_is_a_mistake_and_no_crash(case):
    (line,) = problems(NESTED[case])
    assert any(part in line for part in ("not YAML", "d.yaml:1: name", "larger than 64 kB"))


def test_a_huge_file_is_rejected_unread(monkeypatch):
    Path("d.yaml").write_text(text() + "#" * 2_000_000)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(DomainError, match=r"d\.yaml: larger than 64 kB; .* a few lines"):
        load_domain(Path("d.yaml"))


def test_a_file_full_of_mistakes_does_not_flood_the_screen():
    Path("d.yaml").write_text(text(classes="[" + ", ".join(f"z{i}" for i in range(3_000)) + "]"))
    with pytest.raises(DomainError) as error:
        load_domain(Path("d.yaml"))
    assert len(error.value.problems) < 50
    assert "more" in error.value.problems[-1]


def test_what_is_no_file_is_told():
    Path("d.yaml").mkdir()
    with pytest.raises(DomainError, match=r"^d\.yaml: cannot be read \(Is a directory\); check"):
        load_domain(Path("d.yaml"))
    with pytest.raises(DomainError, match=r"^e\.yaml: no such file; 'workbench domains new'"):
        load_domain(Path("e.yaml"))


def test_no_damage_to_a_file_makes_a_traceback():
    rng = random.Random(0)
    whole = text(classes="\n  - 3\n  - '8'", description="text # and more text")
    pieces = [*":-?*&!|>%@`'\"#,~=<[]{}\t\n ", "? ", "- ", "<<: ", "!!bool ", "!!int ", '"\\n"']
    pieces += ["\u2028", "\x85", "é", "0x", "1:1", "1e", "null", "no"]
    read = 0
    for _ in range(400):
        damaged = list(whole)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(damaged))
            damaged[place : place + rng.randint(0, 2)] = [rng.choice(pieces)]
        Path("d.yaml").write_text("".join(damaged), encoding="utf-8", newline="")
        with suppress(DomainError):
            found = load_domain(Path("d.yaml"))
            read += 1
            assert (found.name, found.source, set(found.classes)) == ("d", "digits", {"3", "8"})
    assert 30 < read < 300  # neither all rejected nor all taken


def test_a_domain_has_two_or_more_different_classes():
    for classes in [(), ("3",), ("3", "3")]:
        with pytest.raises(ValueError, match="two or more different"):
            Domain("d", "digits", classes)


def test_a_domain_knows_how_many_images_it_has():
    source = SOURCES["cifar100"]
    assert Domain("d", "cifar100", ("fox", "boy", "worm")).images() == (1500, 300)
    assert Domain("all", "cifar100", source.classes).images() == (50_000, 10_000)
    assert Domain("all", "cifar10", SOURCES["cifar10"].classes).images() == (50_000, 10_000)
    assert Domain("d", "cifar10", ("cat", "dog")).images() == (10_000, 2_000)
    assert Domain("all", "digits", SOURCES["digits"].classes).images() == (1437, 360)


# --- where they are looked for --------------------------------------------------------------


def put(folder, name="d", classes="[3, 8]"):
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{name}.yaml").write_text(text(name=name, classes=classes))


def test_an_earlier_folder_hides_a_later_one(monkeypatch):
    monkeypatch.setenv("WORKBENCH_DOMAINS", "env")
    for number, folder in enumerate(["asked", "env", "domains"]):
        put(folder, "digits-3v8", f"[{number}, 9]")
        put(folder, f"only-in-{folder}")
    assert {"only-in-asked", "only-in-env", "only-in-domains", "S2"} <= domain_files(
        Path("asked")
    ).keys()
    for number, folder in enumerate(["asked", "env", "domains"]):
        found = find_domain("digits-3v8", Path("asked"))
        assert found.classes == (str(number), "9")
        assert found.path == Path(folder) / "digits-3v8.yaml"
        found.path.unlink()
    assert find_domain("digits-3v8", Path("asked")).classes == ("3", "8")
    assert search_path(Path("asked")) == [Path("asked"), Path("env"), Path("domains"), PACKAGED]


def test_without_folders_there_are_the_packaged_domains():
    assert search_path() == [PACKAGED]
    assert domain_files().keys() == {path.stem for path in PACKAGED.glob("*.yaml")}
    assert {"R1", "R2", "S1", "S2", "S3", "S4", "digits-3v8"} <= domain_files().keys()


def test_a_folder_that_is_asked_for_must_be_there(monkeypatch):
    Path("file").touch()
    for folder in ("nowhere", "file"):
        with pytest.raises(DomainError, match=f"--domains {folder}: no such folder; create it"):
            domain_files(Path(folder))
        monkeypatch.setenv("WORKBENCH_DOMAINS", folder)
        with pytest.raises(DomainError, match=rf"\$WORKBENCH_DOMAINS {folder}: no such folder;"):
            find_domain("S2")
        monkeypatch.delenv("WORKBENCH_DOMAINS")


def test_a_domain_that_is_nowhere_is_told_with_the_nearest(monkeypatch):
    put("domains", "pets")
    with pytest.raises(DomainError) as error:
        find_domain("pet")
    (line,) = error.value.problems
    assert line.startswith("no domain 'pet' in domains, ")
    assert str(PACKAGED) in line
    assert "did you mean 'pets'?" in line
    assert "'workbench domains'" in line


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", ".", "a/b"])
def test_a_name_reaches_no_file_outside_the_folders(name):
    put(".", "secret")
    put("domains", "pets")
    with pytest.raises(DomainError, match="no domain '"):
        find_domain(name)


def test_a_broken_domain_hides_a_good_one_and_is_told():
    Path("domains").mkdir()
    Path("domains/S2.yaml").write_text("name: S2\n")
    with pytest.raises(DomainError, match=r"domains/S2\.yaml: source: the key is missing"):
        find_domain("S2")


@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_packaged_domains_are_valid_and_say_how_to_run_them(path):
    domain = load_domain(path)
    assert domain.description
    wanted = f"#\\s+Run it:\\s+workbench adapt --source {domain.source} --target {domain.name}\n"
    assert re.search(wanted, path.read_text())


def test_the_papers_domains_have_the_papers_sizes():
    sizes = {name: len(find_domain(name).classes) for name in ("R1", "R2", "S1", "S2", "S3", "S4")}
    assert sizes == {"R1": 10, "R2": 10, "S1": 2, "S2": 2, "S3": 2, "S4": 2}


# --- writing --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d", "3", "yes", "null", "1e3", "0x3", "2026-01-01", "a_b-c"])
@pytest.mark.parametrize(
    "description",
    ["", "cats: and 'dogs' # \"pets\"", "3", "null", "---", "{", "é 日本", " x" * 200],
)
def test_a_written_domain_is_read_back_as_it_was(name, description):
    written = domain_text(name, "digits", ["8", "3"], description)
    assert written.startswith("# ")
    assert f"--source digits --target {name}\n" in written
    found = load(written, f"{name}.yaml")
    assert (found.name, found.source, found.classes) == (name, "digits", ("8", "3"))
    assert found.description == description.strip()


@pytest.mark.parametrize("source", SOURCES)
def test_every_class_of_every_source_can_be_written(source):
    classes = SOURCES[source].classes
    assert load(domain_text("d", source, classes)).classes == classes


@pytest.mark.parametrize("description", ["a\nname: e", "a\rb: c", "a\x85b: c", "\x1b[31m", "\x07"])
def test_no_description_gets_out_of_its_comment(description):
    assert load(domain_text("d", "digits", ["3", "8"], description)).name == "d"
    assert set(yaml.safe_load(Path("d.yaml").read_text())) == set(FIELDS)


def test_a_domain_that_would_not_be_valid_is_not_written():
    with pytest.raises(DomainError) as error:
        domain_text("a b", "digits", ["3", "33", "3"])
    assert len(error.value.problems) == 3
    with pytest.raises(DomainError, match=r"unknown source 'digit'; did you mean 'digits'\?"):
        domain_text("d", "digit", ["3", "8"])
