"""The same steps in PyTorch and Transformers: padded batches, SDPA, autocast to bfloat16 over float32 weights, fused AdamW."""

import statistics
import time

import numpy as np

from measure import DATASHEET, Results, Torch

# hidden, layers, heads, intermediate; as bench/shapes.mjs
MODELS = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096), "nano": (128, 2, 2, 256)}


def ragged(batch: int, length: int, seed: int) -> list:
    """bench/batches.mjs: log-normal, median 0.3 of the length."""
    random = np.random.default_rng(seed)
    drawn = np.exp(np.log(0.3 * length) + 0.6 * random.standard_normal(batch))
    return [int(n) for n in np.clip(drawn, 8, length)]


def flops_of(size, lengths) -> float:
    H, L, _, I = size
    return sum(2 * n * L * (4 * H * H + 2 * H * I) + 4 * L * n * n * H for n in lengths)


def config_of(name: str, length: int):
    from transformers import BertConfig

    hidden, layers, heads, intermediate = MODELS[name]
    return BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=intermediate,
        num_labels=2, max_position_embeddings=max(512, length), attn_implementation="sdpa",
    )  # fmt: skip


class Peer:
    def __init__(self, torch: Torch, results: Results, seconds: float):
        self.t, self.torch, self.results, self.limit = torch, torch.torch, results, seconds

    def batch(self, lengths, length: int):
        """Padded to the longest; without a mask where nothing is padded."""
        torch, longest = self.torch, max(lengths)
        ids = torch.randint(1000, 30000, (len(lengths), longest), device=self.t.device)
        inputs = {"input_ids": ids, "labels": torch.randint(0, 2, (len(lengths),), device=self.t.device)}
        if min(lengths) < longest:
            borders = torch.tensor(lengths, device=self.t.device)[:, None]
            inputs["attention_mask"] = (torch.arange(longest, device=self.t.device)[None] < borders).long()
        return inputs

    def time(self, name: str, call, batches, work: float, real: int):
        """`call(batch)` returns a tensor, whose value is waited for as a program would."""
        start = time.perf_counter()
        for _ in range(2):
            for batch in batches:
                call(batch).float().sum().item()
        warm = time.perf_counter() - start
        taken, stop = [[] for _ in batches], time.perf_counter() + self.limit
        while time.perf_counter() < stop or not taken[0]:
            for index, batch in enumerate(batches):
                start = time.perf_counter()
                call(batch).float().sum().item()
                taken[index].append(time.perf_counter() - start)
        total = sum(statistics.median(of) for of in taken)
        self.results.add(
            name, ms=1e3 * total / len(batches), tflops=work / total / 1e12, mfu=work / total / DATASHEET,
            tokens_per_s=real / total, runs=len(taken[0]), warm_s=warm,
        )  # fmt: skip

    def train(self, model: str, batch: int, length: int, kind: str, compiled: str = ""):
        """`compiled`: the whole "model", or "layers": each alone, which are compiled once, where the whole would take minutes."""
        from transformers import BertForSequenceClassification

        torch, size = self.torch, MODELS[model]
        drawn = [[length] * batch if kind == "full" else ragged(batch, length, seed) for seed in range(4)]
        batches = [self.batch(lengths, length) for lengths in drawn]
        net = BertForSequenceClassification(config_of(model, length)).to(self.t.device).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-5, weight_decay=0.01, fused=True)
        forward = torch.compile(net, dynamic=kind != "full") if compiled == "model" else net
        if compiled == "layers":
            for layer in net.bert.encoder.layer:
                layer.compile(dynamic=kind != "full")

        def step(inputs):
            with torch.autocast(self.t.device, dtype=torch.bfloat16):
                loss = forward(**inputs).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.detach()

        how = {"": "torch", "model": "torch.compile", "layers": "torch.compile of layers"}[compiled]
        name = f"{how} train {model} {batch}x{length} {kind} bfloat16"
        self.guard(name, lambda: self.time(name, step, batches, 3 * sum(flops_of(size, n) for n in drawn), sum(map(sum, drawn))))

    def infer(self, model: str, batch: int, length: int, compiled: str | None = None):
        from transformers import BertModel

        torch, size = self.torch, MODELS[model]
        net = BertModel(config_of(model, length), add_pooling_layer=True).to(self.t.device, torch.bfloat16).eval()
        forward = torch.compile(net, mode=None if compiled == "default" else compiled) if compiled else net
        inputs = {"input_ids": self.batch([length] * batch, length)["input_ids"]}

        def call(inputs):
            with torch.inference_mode():
                return forward(**inputs).last_hidden_state[0, 0]

        name = f"torch{f'.compile {compiled}' if compiled else ''} infer {model} {batch}x{length} full bfloat16"
        self.guard(name, lambda: self.time(name, call, [inputs], flops_of(size, [length] * batch), batch * length))

    def guard(self, name: str, call):
        """What PyTorch cannot do is a line, and no end."""
        try:
            call()
        except Exception as error:  # noqa: BLE001: of any kind
            self.results.add(name, failed=str(error).splitlines()[0][:120] if str(error) else type(error).__name__)
        finally:
            self.torch.compiler.reset()
            self.t.free()
