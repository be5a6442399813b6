"""What a record computes and moves at least: flops of its matrix products, bytes of its operands, each once."""

import numpy as np

from plan import SIZES, Plan

# Operands of which a record reads a row for each row of this attribute.
INDEXED = {
    "embedding": {"word": "rows", "type": "rows", "position": "rows"},
    "embedding_int8": {"word": "rows", "scale": "rows", "type": "rows", "position": "rows"},
    "gather_rows": {"x": "to"},
}
# Products of each pair of a query and a key, in multiply-adds of the size of a head.
ATTENTION = {"attention": 2, "attention_backward": 5, "cross_attention": 2, "cross_attention_backward": 5}


def _rows(plan: Plan, index: int, name: str, counts) -> int:
    return int(counts[plan.records[index].value(name)])


def attention_pairs(plan: Plan, index: int, counts, io: np.ndarray) -> int:
    """Pairs of a query and a key, from the borders of the sequences. `io`: the bytes of the arena that they lie in."""
    record = plan.records[index]
    names = [operand.name for operand in record.op.operands]

    def lengths(name: str) -> np.ndarray:
        begin = record.operands[names.index(name)][1]
        borders = io[begin : begin + 4 * (_rows(plan, index, "seqs", counts) + 1)]
        return np.diff(borders.view(np.int32).astype(np.int64))

    if "cu_seqlens" in names:
        return int((lengths("cu_seqlens") ** 2).sum())
    return int((lengths("cu_queries") * lengths("cu_keys")).sum())


def flops(plan: Plan, index: int, counts, io: np.ndarray) -> int:
    """0 for what is bound by memory."""
    record = plan.records[index]
    name = record.op.name
    if name in ("linear", "linear_backward_data", "linear_int8"):
        return 2 * _rows(plan, index, "rows", counts) * record.value("K") * record.value("N")
    if name == "linear_backward_weight":
        there = record.operands[[operand.name for operand in record.op.operands].index("dw")] is not None
        return 2 * _rows(plan, index, "rows", counts) * record.value("K") * record.value("N") if there else 0
    if name in ATTENTION:
        return 2 * ATTENTION[name] * attention_pairs(plan, index, counts, io) * record.value("A") * record.value("D")
    return 0


def traffic(plan: Plan, index: int, counts) -> int:
    record = plan.records[index]
    indexed = INDEXED.get(record.op.name, {})
    total = 0
    for r in plan.ranges(index, counts):
        elements = r.elements
        if r.name in indexed:
            width = record.value("H") if r.name != "scale" else 1
            elements = min(elements, _rows(plan, index, indexed[r.name], counts) * width)
        both = record.op.name == "adamw" and r.output and r.name in ("w", "exp_avg", "exp_avg_sq")
        total += elements * SIZES[r.type] * (2 if both else 1)
    return total
