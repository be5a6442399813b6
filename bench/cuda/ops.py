"""native/ops.def, read again: what the operands and attributes of each op are."""

import re
from dataclasses import dataclass, field
from pathlib import Path

FNV_START, FNV_FACTOR, WORD = 14695981039346656037, 1099511628211, (1 << 64) - 1


@dataclass(frozen=True)
class Attribute:
    name: str
    kind: str  # r rows, d dimension, f float32, s scalar, e enumeration, i integer, t element type


@dataclass(frozen=True)
class Operand:
    name: str
    output: bool
    optional: bool
    dims: tuple  # of (index of an attribute or None, number, what is added)
    type: object  # 'float32', 'int32', or the index of an attribute


@dataclass
class Op:
    id: int
    name: str
    operands: list = field(default_factory=list)
    attributes: list = field(default_factory=list)

    def attribute(self, name: str) -> int:
        return next(i for i, a in enumerate(self.attributes) if a.name == name)


@dataclass
class Ops:
    by_id: dict
    by_name: dict
    rows: dict
    scalars: dict
    arenas: dict
    activations: dict
    hash: int


def _operand(op: Op, text: str, output: bool) -> Operand:
    name, optional, dims, kind = re.fullmatch(r"(\w+)(\??)\[([^\]]+)\](?::(\w+))?(?:=\w+)?", text).groups()
    parsed = []
    for dim in dims.split(","):
        number, attribute, plus = re.fullmatch(r"(\d*)(\w*?)(\+1)?", dim).groups()
        parsed.append((op.attribute(attribute) if attribute else None, int(number or 0), 1 if plus else 0))
    element = "float32" if kind is None else "int32" if kind == "i" else op.attribute(kind)
    return Operand(name, output, bool(optional), tuple(parsed), element)


def load(file: Path) -> Ops:
    text = re.sub(r"//[^\n]*", "", file.read_text())
    names = {}
    digest = FNV_START

    def mix(part: str):
        nonlocal digest
        for byte in (part + "\n").encode():
            digest = ((digest ^ byte) * FNV_FACTOR) & WORD

    ops = []
    for number, name, inputs, outputs, attributes in re.findall(r'^OP\((\d+), (\w+), "([^"]*)", "([^"]*)", "([^"]*)"\)', text, re.M):
        op = Op(int(number), name)
        op.attributes = [Attribute(*re.fullmatch(r"(\w+):([a-z])\d*", part).groups()) for part in attributes.split()]
        op.operands = [_operand(op, part, output) for list_, output in ((inputs, False), (outputs, True)) for part in list_.split()]
        ops.append(op)
        for part in (f"{op.id:02d}", name, inputs, outputs, attributes):
            mix(part)
    for kind in ("ROW", "SCALAR", "ARENA", "ACTIVATION"):
        names[kind] = {}
    for kind, number, name in re.findall(r"^(ROW|SCALAR|ARENA|ACTIVATION)\((\d+), (\w+)\)", text, re.M):
        names[kind][name] = int(number)
        mix(f"{kind} {number} {name}")
    return Ops(
        by_id={op.id: op for op in ops},
        by_name={op.name: op for op in ops},
        rows=names["ROW"],
        scalars=names["SCALAR"],
        arenas=names["ARENA"],
        activations=names["ACTIVATION"],
        hash=digest,
    )
