"""Plans (native/runtime/plan.h): read, taken apart, and made of single ops."""

from dataclasses import dataclass

import numpy as np

from ops import Op, Ops

MAGIC, VERSION, UNIT = 0x4B42504C, 1, 64


@dataclass
class Record:
    op: Op
    operands: list  # (arena, byte offset), or None where it is absent
    attributes: list

    def value(self, name: str) -> int:
        return self.attributes[self.op.attribute(name)]


@dataclass
class Range:
    """An operand of a record in memory, for the row counts of a run."""

    name: str
    output: bool
    arena: int
    begin: int  # bytes
    elements: int
    type: str  # float32, bfloat16, int32, int8

    @property
    def end(self) -> int:
        return self.begin + self.elements * SIZES[self.type]


SIZES = {"float32": 4, "int32": 4, "bfloat16": 2, "int8": 1}
TYPES = ("float32", "bfloat16")


class Plan:
    def __init__(self, ops: Ops, words: np.ndarray):
        self.ops, self.words = ops, words
        rows, arenas = len(ops.rows), len(ops.arenas)
        self.header = 6 + rows + 1 + arenas
        if words[0] != MAGIC or words[1] != VERSION:
            raise ValueError("not a plan")
        if (int(words[2]) & 0xFFFFFFFF) | (int(words[3]) & 0xFFFFFFFF) << 32 != ops.hash:
            raise ValueError("a plan for another list of ops: record it again")
        self.capacity = [int(n) for n in words[6 : 6 + rows]]
        self.scalars = int(words[6 + rows])
        self.arena_bytes = [int(n) * UNIT for n in words[7 + rows : self.header]]
        self.records, self.starts = [], []
        at = self.header
        while at < len(words):
            op = ops.by_id[int(words[at])]
            self.starts.append(at)
            operands = [self._place(int(word)) for word in words[at + 2 : at + 2 + len(op.operands)]]
            first = at + 2 + len(op.operands)
            self.records.append(Record(op, operands, [int(n) for n in words[first : first + len(op.attributes)]]))
            at += int(words[at + 1])

    @staticmethod
    def _place(word: int):
        return None if word == -1 else ((word & 0xFFFFFFFF) >> 28, (word & 0x0FFFFFFF) * UNIT)

    def ranges(self, index: int, rows) -> list:
        """The operands of a record that are there."""
        record = self.records[index]
        found = []
        for operand, place in zip(record.op.operands, record.operands):
            if place is None:
                continue
            elements = 1
            for attribute, number, plus in operand.dims:
                value = number
                if attribute is not None:
                    value = record.attributes[attribute]
                    if record.op.attributes[attribute].kind == "r":
                        value = int(rows[value])
                elements *= value + plus
            kind = operand.type if isinstance(operand.type, str) else TYPES[record.attributes[operand.type]]
            kind, elements = self._inside_words(record, operand.name, kind, elements)
            found.append(Range(operand.name, operand.output, place[0], place[1], elements, kind))
        return found

    @staticmethod
    def _inside_words(record: Record, name: str, kind: str, elements: int):
        """What the words of a packed weight are."""
        op = record.op
        if name == "packed":
            packs = any(attribute.name == "product" for attribute in op.attributes)  # else it reads what is packed
            return (TYPES[1], elements * 2) if record.value("product" if packs else "type") == 1 else (kind, elements)
        if op.name == "quantize_rows" and name == "w":
            return "int8", elements * 4
        return kind, elements

    def single(self, index: int) -> np.ndarray:
        """The plan of one record alone, which needs the arenas that it touches."""
        start = self.starts[index]
        body = self.words[start : start + int(self.words[start + 1])]
        header = self.words[: self.header].copy()
        header[4] = 1
        header[5] = self.header + len(body)
        touched = {place[0] for place in self.records[index].operands if place}
        for arena in range(len(self.arena_bytes)):
            if arena not in touched:
                header[self.header - len(self.arena_bytes) + arena] = 0
        return np.concatenate([header, body])


class Builder:
    """A plan of records that are written down one after another. Operands lie where `place` puts them."""

    def __init__(self, ops: Ops, **capacity: int):
        self.ops = ops
        self.capacity = [capacity.get(name, 0) for name in ops.rows]
        self.sizes = [0] * len(ops.arenas)
        self.body, self.count = [], 0

    def place(self, elements: int, kind: str = "float32", arena: str = "io"):
        number = self.ops.arenas[arena]
        begin = self.sizes[number]
        self.sizes[number] = begin + (elements * SIZES[kind] + UNIT - 1) // UNIT * UNIT
        return number, begin

    def add(self, name: str, operands: dict, attributes: dict):
        op = self.ops.by_name[name]
        words = []
        for operand in op.operands:
            place = operands.get(operand.name)
            if place is None and not operand.optional:
                raise ValueError(f"{name}: {operand.name} is missing")
            words.append(-1 if place is None else np.array(place[0] << 28 | place[1] // UNIT, np.uint32).astype(np.int32))
        for attribute in op.attributes:
            value = attributes.get(attribute.name, 1 if attribute.name.endswith("words") else 0)
            if attribute.kind == "r":
                value = self.ops.rows[value]
            words.append(np.float32(value).view(np.int32) if attribute.kind == "f" else value)
        self.body += [op.id, 2 + len(words), *words]
        self.count += 1

    def plan(self, groups: int = 1) -> Plan:
        scalars = self.ops.scalars["group0"] + 4 * groups
        units = [size // UNIT for size in self.sizes]
        low, high = np.array([self.ops.hash & 0xFFFFFFFF, self.ops.hash >> 32], np.uint32).astype(np.int32)
        header = [MAGIC, VERSION, low, high, self.count, 0, *self.capacity, scalars, *units]
        header[5] = len(header) + len(self.body)
        return Plan(self.ops, np.array(header + self.body, np.int32))
