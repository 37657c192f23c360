"""Damage to files: of bytes, of text, and of data whose form stays readable."""

import json
import struct
import zlib

#: Values that a field should not have, and some that it may.
VALUES = (
    None, True, False, 0, -1, 1, 2, 7, 64, 255, 256, 65536, 2**31, 2**63, 10**30, -0.0, 0.5, 1e-300,
    1e300, "", " ", "0", "-1", "nan", "inf", "1e999", "digits", "cifar100", "imagenet", "vgg16",
    "torchvision:resnet18", "timm:../x", "os:system", "/dev/zero", "/", ".", "~nobody", "$HOME",
    "../../../../etc/passwd", "a\nb", "\x00", "\x1b[2J", "\u202e", "\ud7ff", "é" * 300, "x" * 5000,
    "%s%n{0}", "<b>", "pfa-kl", "pfa-fine", [], [[]], [1, 1], ["a"] * 40, {}, {"a": {}}, [None],
)  # fmt: skip
#: Pieces of text that parsers of YAML and JSON treat in a way of their own.
PIECES = (
    "!!python/object/apply:os.system [x]", "&a [*a, *a]", "*a", "<<: *a", "? ", "- ", ": ", "{",
    "[", "}", "]", '"', "'", "|", ">", "%YAML 9", "---\n", "...\n", "\t", "\r", "\ufeff", "\x85",
    "\\u0000", '"\\UFFFFFFFF"', "\\ud800", "~", ".nan", "-.inf", "0o17", "0x1F", "1_000", "null",
    "2026-01-01", "12:30:45", "1e999", "NaN", "Infinity", "#", "\0", "9" * 5000, "[" * 3000,
    "{a: " * 900,
)  # fmt: skip


def damaged_bytes(drawing, content):
    """Flip, cut, repeat, zero or overwrite a few bytes."""
    found = bytearray(content)
    for _ in range(drawing.choice((1, 1, 2, 8))):
        at = drawing.randrange(len(found) + 1)
        end = min(len(found), at + drawing.choice((1, 1, 2, 4, 8, 64)))
        kind = drawing.randrange(7)
        if kind == 0:
            del found[at:]
        elif kind == 1:
            del found[at:end]
        elif kind == 2:
            found[at:at] = found[at:end] * drawing.choice((1, 2, 50))
        elif kind == 3:
            found[at:end] = bytes(end - at)
        elif kind == 4:
            found[at:end] = b"\xff" * (end - at)
        elif kind == 5:
            found[at:end] = drawing.randbytes(end - at)
        elif at < len(found):
            found[at] ^= 1 << drawing.randrange(8)
    return bytes(found)


def damaged_text(drawing, content):
    """Change lines and words of a text, and add pieces that mean something to a parser."""
    text = content.decode("utf-8")
    for _ in range(drawing.choice((1, 1, 2, 4))):
        lines = text.splitlines(keepends=True) or [""]
        line = drawing.randrange(len(lines))
        kind = drawing.randrange(7)
        if kind == 0:
            del lines[line]
        elif kind == 1:
            lines.insert(drawing.randrange(len(lines) + 1), lines[line])
        elif kind == 2:
            key, colon, _ = lines[line].partition(":")
            lines[line] = f"{key}{colon} {drawing.choice(PIECES)}\n"
        elif kind == 3:
            key, colon, _ = lines[line].partition(":")
            lines[line] = f"{key}{colon} {_plain(drawing.choice(VALUES))}\n"
        elif kind == 4:
            at = drawing.randrange(len(lines[line]) + 1)
            lines[line] = lines[line][:at] + drawing.choice(PIECES) + lines[line][at:]
        elif kind == 5:
            lines[line] = lines[line].replace(":", drawing.choice((" :", "", "::", " - ")), 1)
        else:
            words = lines[line].split(" ")
            drawing.shuffle(words)
            lines[line] = " ".join(words)
        text = "".join(lines)
    found = text.encode("utf-8", "surrogatepass")
    return damaged_bytes(drawing, found) if drawing.random() < 0.15 else found


def damaged_json(drawing, content):
    """Change values and names of JSON; some mutants are then damaged as text, too."""
    tree = damaged_tree(drawing, json.loads(content))
    found = json.dumps(tree).encode()
    return damaged_text(drawing, found) if drawing.random() < 0.25 else found


def damaged_tree(drawing, tree):
    """Change a few values or names of nested lists and mappings."""
    tree = {"root": _copied(tree)}
    for _ in range(drawing.choice((1, 1, 2, 3))):
        holder, key = drawing.choice(list(_places(tree)))
        kind = drawing.randrange(6)
        if kind == 0 and holder is not tree:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict) and holder is not tree:
            holder[str(_plain(drawing.choice(VALUES)))] = holder.pop(key)
        elif kind == 2:
            other, place = drawing.choice(list(_places(tree)))
            holder[key] = _copied(other[place])
        elif kind == 3 and isinstance(holder[key], (int, float)):
            holder[key] *= drawing.choice((-1, 2, 1000, 0.5))
        elif kind == 4:
            holder[key] = _copied([holder[key]] * drawing.choice((1, 2, 30)))
        else:
            holder[key] = _copied(drawing.choice(VALUES))
    return tree["root"]


def _places(tree):
    """Every holder and key of nested data."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _copied(value):
    """A copy without shared parts, which could come to hold themselves."""
    return json.loads(json.dumps(value))


def _plain(value):
    return value if isinstance(value, str) else json.dumps(value)


def damaged_tensors(drawing, content):
    """Change the header of a safetensors file, its texts, or its bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = drawing.randrange(8)
    if kind == 0:
        return damaged_bytes(drawing, content)
    if kind == 1:
        header = damaged_tree(drawing, header)
    elif kind == 2:
        data = damaged_bytes(drawing, data).ljust(len(data), b"\0")[: len(data)]
    elif kind == 3:
        name = drawing.choice([name for name in header if name != "__metadata__"])
        header[name] = damaged_tree(drawing, header[name])
    else:
        texts = header["__metadata__"]
        name = drawing.choice([name for name, text in texts.items() if text[:1] == "{"])
        texts[name] = damaged_json(drawing, texts[name].encode()).decode("utf-8", "replace")
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def damaged_png(drawing, content):
    """Damage bytes, or fields of a PNG's chunks with checksums that fit."""
    if not content.startswith(b"\x89PNG") or drawing.random() < 0.5:
        return damaged_bytes(drawing, content)
    found, at = [content[:8]], 8
    while at < len(content):
        length = struct.unpack(">I", content[at : at + 4])[0]
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if drawing.random() < 0.4:
            body = _damaged_chunk(drawing, kind, body)
        found.append(_chunk(kind, body) * drawing.choice((0, 1, 1, 1, 1, 1, 2)))
        at += 12 + length
    return b"".join(found)


def _damaged_chunk(drawing, kind, body):
    if kind != b"IHDR":
        return damaged_bytes(drawing, body)
    sides = [drawing.choice((0, 1, 16, 4000, 13000, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
    form = [drawing.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5)]
    return struct.pack(">II5B", *sides, *form) if drawing.random() < 0.5 else body[:8] + bytes(form)


def _chunk(kind, body):
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum
