"""Command lines with wrong values of options, which change nothing when they are right."""

import random

from typer.main import get_command

from workbench.cli.commands import app

_DIGITS = ("--source", "digits", "--target", "digits-3v8")
#: Commands that only look; each with words that make it complete.
_COMPLETE = {
    "adapt": (*_DIGITS, "--dry-run"),
    "shrink": (*_DIGITS, "--dry-run"),
    "domains check": ("digits-3v8",),
    "predict": ("NETWORK", "FOLDER/a/000.png"),
    "compare": (),
}
_VALUES = (
    "", " ", "-", "--", "0", "1", "-1", "2", "1.5", "0.5", "1e9", "-0.0", "nan", "inf", "-inf",
    "1e999", "9" * 30, "9" * 5000, "0x10", "1_000", "٣", "½", "true", "null", ",", ",,", "a,b",
    "1,2,3", "0.1,0.1", "all", "digits", "digits-3v8", "cifar100", "R1", "vgg16", "simplecnn",
    "torchvision:resnet18", "timm:", "os:system", ":", "a:b:c", "pfa-kl", "pfa-en", "uniform",
    "int8", "int8,int8", "full-fine", "full-fine,pfa-fine", "cpu", "cuda", "bf16", "PIPE", "FOLDER",
    "NETWORK", "/dev/zero", "/dev/full", "/", ".", "..", "~", "~nobody/x", "x" * 300, "x" * 5000,
    "a\nb", "\x1b[31m", "\u202e", "\udcff", "é", "../../../etc/passwd", "http://localhost:1",
    "http://", "sqlite:///", "sqlite:///NETWORK", "file:///tmp", "postgresql://x", "s3://b", "[]",
    "{}", "*", "features.0=3", "features.0", "=", "%s%n", "$(id)", "2h", "2.5M", "50%",
)  # fmt: skip


def command_lines(seed, number):
    """Yield numbers and command lines; each has one to three options with a drawn value."""
    names = list(_COMPLETE)
    options = {name: _options(name) for name in names}
    for place in range(number):
        drawing = random.Random(f"options {place} {seed}")
        name = drawing.choice((*names, "adapt", "adapt", "shrink"))
        complete = list(_COMPLETE[name])
        values = [at for at, word in enumerate(complete) if not word.startswith("--")]
        if values and drawing.random() < 0.3:
            complete[drawing.choice(values)] = drawing.choice(_VALUES)
        words = [*name.split(), *complete]
        for _ in range(drawing.choice((1, 1, 2, 3)) if options[name] else 0):
            option, is_flag = drawing.choice(options[name])
            words += [option] if is_flag else [option, drawing.choice(_VALUES)]
        yield place, words


def _options(name):
    """Options of a command, and whether they are flags; those that write are left out."""
    command = get_command(app)
    for word in name.split():
        command = command.commands[word]
    left_out = {"--help", "--out", "--figure"}  # the tests must not write to drawn places
    return [
        (max(each.opts, key=len), each.is_flag)
        for each in command.params
        if each.param_type_name == "option" and not left_out & set(each.opts)
    ]
