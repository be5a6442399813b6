"""Single ops at BERT's shapes: plans of one op many times over, what they must give, and what PyTorch calls for the same."""

from dataclasses import dataclass, field

import numpy as np

from compare import halves
from ops import Ops
from plan import Builder, Plan

# Together the operands of all copies are larger than any cache, so that each copy reads memory.
UNCACHED = 200 << 20
TILE = 1 << 22


def normals(elements: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Float32 with a normal distribution: four million of them, again and again."""
    random = np.random.default_rng(seed)
    tile = random.standard_normal(min(elements, TILE), dtype=np.float32)
    return np.resize(tile, elements) * np.float32(scale)


def stored(values: np.ndarray, kind: str) -> np.ndarray:
    return halves(values) if kind == "bfloat16" else values


@dataclass
class Operand:
    place: tuple
    kind: str
    shape: tuple
    data: np.ndarray | None


@dataclass
class Kernel:
    """`copies` records of an op, each with operands of its own as far as there are sets."""

    name: str
    plan: Plan
    scalars: np.ndarray
    sets: list  # of operands by name
    copies: int
    flops: float = 0
    bytes: float = 0
    before: Plan | None = None  # runs once, on the same memory
    peak: str = "bfloat16"
    # from (torch, tensors of the inputs of a set): what the outputs must be as float32, or their first elements
    reference: object = None
    allowed: float = 6e-3
    # from the same: what to call for one copy; by name
    peers: dict = field(default_factory=dict)


class Maker:
    def __init__(self, ops: Ops, quick: bool):
        self.ops, self.quick = ops, quick

    def tokens(self, count: int) -> int:
        return 96 if self.quick else count

    def width(self, count: int) -> int:
        return min(count, 64) if self.quick else count

    def repeat(self, name: str, capacity: dict, set_bytes: int, seconds: float, operands, record, before=None, scalars=None, **more) -> Kernel:
        """
        `operands(i)`: by name (shape, kind, data or None) of a set. `record`: (op, attributes), or several that make a copy.
        `before`: (op, attributes, its operands by their names here). `seconds`: that a copy takes, about.
        """
        sets = max(1, min(16, -(-UNCACHED // max(1, set_bytes)))) if not self.quick else 2
        copies = max(sets, min(64, int(4e-3 / seconds))) if not self.quick else 2
        copies = -(-copies // sets) * sets
        builder = Builder(self.ops, **capacity)
        placed = []
        for i in range(sets):
            made = {}
            for key, (shape, kind, data) in operands(i).items():
                made[key] = Operand(builder.place(int(np.prod(shape)), kind), kind, shape, data)
            placed.append(made)
        first = Builder(self.ops, **capacity)
        first.sizes = builder.sizes
        for one in placed if before else []:
            first.add(before[0], {key: one[operand].place for key, operand in before[2].items()}, before[1])
        for copy in range(copies):
            places = {key: operand.place for key, operand in placed[copy % sets].items()}
            for op, attributes in [record] if isinstance(record, tuple) else record:
                builder.add(op, places, attributes)
        plan = builder.plan()
        run = np.zeros(plan.scalars)
        for row, number in self.ops.rows.items():
            run[number] = capacity.get(row, 0)
        run[self.ops.scalars["group0"] :] = [1e-5, 0.01, 0.1, 0.0316]  # learning rate, decay, corrections of a first step
        for key, value in (scalars or {}).items():
            run[self.ops.scalars[key]] = value
        return Kernel(name, plan, run, placed, copies, before=first.plan() if before else None, **more)

    # ---- products

    def linear(self, label: str, tokens: int, K: int, N: int, kind: str = "bfloat16") -> Kernel:
        T, K, N = self.tokens(tokens), self.width(K), self.width(N)
        packed = kind == "bfloat16"  # weights are float32; a packed one is what the product reads
        size = 2 if packed else 4
        words = K * N // 2

        def operands(i):
            made = {
                "x": ((T, K), kind, stored(normals(T * K, 2 * i), kind)),
                "w": ((N, K), "float32", normals(N * K, 2 * i + 1, 0.02)),
                "y": ((T, N), kind, None),
            }
            return {**made, "packed": ((words,), "float32", None)} if packed else made

        attributes = {"rows": "tokens", "K": K, "N": N, "words": words if packed else 1, "type": int(packed), "to": int(packed)}
        pack = {"N": N, "K": K, "words": words, "product": 1}
        flops = 2.0 * T * K * N
        return self.repeat(
            f"linear {label} {T}x{K}->{N} {kind}", {"tokens": T}, size * (T * K + N * K + T * N), flops / 4e14, operands,
            ("linear", attributes), ("pack_weight", pack, {"w": "w", "packed": "packed"}) if packed else None,
            flops=flops, peak=kind,
            reference=lambda torch, x, w, **_: {"y": x.float() @ w.to(x.dtype).float().T},
            peers={"torch.matmul": lambda torch, x, w, **_: (lambda w=w.to(x.dtype).T: torch.matmul(x, w))},
        )  # fmt: skip

    def linear_backward_data(self, label: str, tokens: int, K: int, N: int) -> Kernel:
        T, K, N, words = self.tokens(tokens), self.width(K), self.width(N), self.width(K) * self.width(N) // 2

        def operands(i):
            return {
                "dy": ((T, N), "bfloat16", stored(normals(T * N, 2 * i), "bfloat16")),
                "w": ((N, K), "float32", normals(N * K, 2 * i + 1, 0.02)),
                "packed": ((words,), "float32", None),
                "dx": ((T, K), "bfloat16", None),
            }

        attributes = {"rows": "tokens", "K": K, "N": N, "words": words, "add": 0, "type": 1, "to": 1}
        pack = {"N": N, "K": K, "words": words, "product": 1}
        flops = 2.0 * T * K * N
        return self.repeat(
            f"linear_backward_data {label} {T}x{N}->{K}", {"tokens": T}, 2 * (T * K + N * K + T * N), flops / 4e14, operands,
            ("linear_backward_data", attributes), ("pack_weight", pack, {"w": "w", "packed": "packed"}), flops=flops,
            reference=lambda torch, dy, w, **_: {"dx": dy.float() @ w.to(dy.dtype).float()},
            peers={"torch.matmul": lambda torch, dy, w, **_: (lambda w=w.to(dy.dtype): torch.matmul(dy, w))},
        )  # fmt: skip

    def linear_backward_weight(self, label: str, tokens: int, K: int, N: int) -> Kernel:
        T, K, N = self.tokens(tokens), self.width(K), self.width(N)

        def operands(i):
            return {
                "dy": ((T, N), "bfloat16", stored(normals(T * N, 2 * i), "bfloat16")),
                "x": ((T, K), "bfloat16", stored(normals(T * K, 2 * i + 1), "bfloat16")),
                "dw": ((N, K), "float32", None),
                "dbias": ((N,), "float32", None),
            }

        attributes = {"rows": "tokens", "K": K, "N": N, "T": N, "first": 0, "accumulate": 0, "type": 1, "to": 1}
        flops = 2.0 * T * K * N
        return self.repeat(
            f"linear_backward_weight {label} {N}x{T}->{K}", {"tokens": T}, 2 * (T * K + T * N) + 4 * N * K, flops / 4e14, operands,
            ("linear_backward_weight", attributes), flops=flops,
            reference=lambda torch, dy, x, **_: {"dw": dy.float().T @ x.float(), "dbias": dy.float().sum(0)},
            peers={"torch.matmul": lambda torch, dy, x, **_: (lambda: torch.matmul(dy.T, x))},
        )  # fmt: skip

    # ---- passes over memory

    def layer_norm(self, tokens: int, H: int) -> Kernel:
        T, H = self.tokens(tokens), self.width(H)

        def operands(i):
            matrix = lambda seed: ((T, H), "bfloat16", stored(normals(T * H, seed), "bfloat16"))
            return {
                "x": matrix(3 * i), "residual": matrix(3 * i + 1),
                "gamma": ((H,), "float32", 1 + normals(H, 5, 0.1)), "beta": ((H,), "float32", normals(H, 6, 0.1)),
                "sum": ((T, H), "bfloat16", None), "y": ((T, H), "bfloat16", None),
                "mean": ((T,), "float32", None), "rstd": ((T,), "float32", None),
            }  # fmt: skip

        def reference(torch, x, residual, gamma, beta, **_):
            total = (x.float() + residual.float()).to(x.dtype).float()
            return {"y": torch.nn.functional.layer_norm(total, (H,), gamma, beta, 1e-12)}

        def peer(torch, x, residual, gamma, beta, **_):
            weight, bias = gamma.to(x.dtype), beta.to(x.dtype)
            return lambda: torch.nn.functional.layer_norm(x + residual, (H,), weight, bias, 1e-12)

        moved = 8.0 * T * H + 8 * T
        return self.repeat(
            f"layer_norm with a residual {T}x{H}", {"tokens": T}, int(moved), moved / 2.5e12, operands,
            ("layer_norm", {"rows": "tokens", "H": H, "eps": 1e-12, "p": 0.0, "site": 1, "type": 1}),
            bytes=moved, peak="memory", reference=reference, peers={"torch add, layer_norm": peer},
        )  # fmt: skip

    def layer_norm_backward(self, tokens: int, H: int, whole: bool = False) -> Kernel:
        """`whole`: the gradients of its weights too, two records that are launched together."""
        T, H = self.tokens(tokens), self.width(H)

        def operands(i):
            total = stored(normals(T * H, 2 * i + 1), "bfloat16")
            values = (total.astype(np.uint32) << 16).view(np.float32).reshape(T, H)
            mean = values.mean(1)
            return {
                "dy": ((T, H), "bfloat16", stored(normals(T * H, 2 * i), "bfloat16")), "sum": ((T, H), "bfloat16", total),
                "mean": ((T,), "float32", mean), "rstd": ((T,), "float32", (1 / values.std(1)).astype(np.float32)),
                "gamma": ((H,), "float32", 1 + normals(H, 5, 0.1)),
                "dx": ((T, H), "bfloat16", None), "dresidual": ((T, H), "bfloat16", None),
                **({"dgamma": ((H,), "float32", None), "dbeta": ((H,), "float32", None)} if whole else {}),
            }  # fmt: skip

        def reference(torch, dy, sum, gamma, **_):
            given = {"dx": sum.float(), "dgamma": gamma.clone(), "dbeta": torch.zeros_like(gamma)}
            x, weight, bias = (value.requires_grad_() for value in given.values())
            y = torch.nn.functional.layer_norm(x, (H,), weight, bias, 0)
            gradients = dict(zip(given, torch.autograd.grad(y, (x, weight, bias), dy.float())))
            return gradients if whole else {"dx": gradients["dx"]}

        records = [("layer_norm_backward", {"rows": "tokens", "H": H, "p": 0.0, "site": 1, "add": 0, "type": 1})]
        if whole:
            records.insert(0, ("layer_norm_backward_weight", {"rows": "tokens", "H": H, "accumulate": 0, "type": 1}))
        moved = 8.0 * T * H + 8 * T
        return self.repeat(
            f"layer_norm_backward{' whole' if whole else ''} {T}x{H}", {"tokens": T}, int(moved), moved / 2.5e12, operands, records,
            bytes=moved, peak="memory", reference=reference,
        )  # fmt: skip

    def adamw(self, n: int) -> Kernel:
        n = 5000 if self.quick else n
        group = self.ops.scalars["group0"]

        def operands(i):
            return {
                "g": ((n,), "float32", normals(n, 1)), "norm": ((2,), "float32", np.array([3, 0.5], np.float32)),
                "w": ((n,), "float32", normals(n, 2, 0.02)), "exp_avg": ((n,), "float32", normals(n, 3, 0.1)),
                "exp_avg_sq": ((n,), "float32", np.abs(normals(n, 4))),
            }  # fmt: skip

        moved = 28.0 * n
        return self.repeat(
            f"adamw {n}", {}, int(moved), moved / 2.5e12, operands,
            ("adamw", {"n": n, "W": n, "G": n, "group": group, "N": 1, "K": 1}),
            scalars={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}, bytes=moved, peak="memory",
            peers={"torch fused AdamW": adamw_peer},
        )  # fmt: skip


def adamw_peer(torch, g, w, **_):
    weight = torch.nn.Parameter(w.clone())
    weight.grad = g.clone()
    optimizer = torch.optim.AdamW([weight], lr=1e-4, fused=True, capturable=weight.is_cuda)
    return optimizer.step
