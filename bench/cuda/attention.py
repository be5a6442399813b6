"""Attention at 16,384 tokens, forward and backward, beside PyTorch's scaled_dot_product_attention."""

import numpy as np

from kernels import Kernel, Maker, normals, stored


def attention(maker: Maker, tokens: int, length: int, heads: int, size: int, dropout: float) -> list:
    """The forward alone, and both."""
    if maker.quick:
        tokens, length, heads, size = 64, 32, 2, 32
    sequences, width = tokens // length, heads * size
    borders = np.arange(0, tokens + 1, length, dtype=np.int32)
    product = 2.0 * tokens * length * width  # flops of one of the products, over all heads
    attributes = {"rows": "tokens", "seqs": "sequences", "pairs": "pairs", "A": heads, "D": size, "causal": 0, "p": dropout, "site": 7, "type": 1}
    forward, backward = [(op, attributes) for op in ("attention", "attention_backward")]

    def operands(i):
        bits = lambda columns, seed: ((tokens, columns), "bfloat16", stored(normals(tokens * columns, seed), "bfloat16"))
        return {
            "qkv": bits(3 * width, 2 * i), "cu_seqlens": ((sequences + 1,), "int32", borders),
            "context": ((tokens, width), "bfloat16", None), "lse": ((tokens, heads), "float32", None),
            "dcontext": bits(width, 2 * i + 1), "dqkv": ((tokens, 3 * width), "bfloat16", None),
        }  # fmt: skip

    def parts(torch, qkv, dcontext):
        """[sequences, heads, length, size] of each, as PyTorch likes it best."""
        q, k, v = (part.contiguous() for part in qkv.reshape(sequences, length, 3, heads, size).permute(2, 0, 3, 1, 4))
        return q, k, v, dcontext.reshape(sequences, length, heads, size).transpose(1, 2).contiguous()

    def reference(torch, qkv, dcontext, **_):
        """Of the first sequence."""
        q, k, v, g = (part[:1].float().requires_grad_() for part in parts(torch, qkv, dcontext))
        context = torch.softmax(q @ k.transpose(-1, -2) / size**0.5, -1) @ v
        grads = torch.autograd.grad(context, (q, k, v), g)
        whole = torch.stack([grad[0].transpose(0, 1) for grad in grads], 1)  # [length, 3, heads, size]
        return {"context": context[0].transpose(0, 1).detach(), "dqkv": whole}

    def peer(backend: str, both: bool):
        def make(torch, qkv, dcontext, **_):
            from torch.nn.attention import SDPBackend, sdpa_kernel

            q, k, v, g = parts(torch, qkv, dcontext)
            chosen = getattr(SDPBackend, backend)

            def call():
                with sdpa_kernel([chosen]):
                    leaves = [part.detach().requires_grad_(both) for part in (q, k, v)]
                    out = torch.nn.functional.scaled_dot_product_attention(*leaves, dropout_p=dropout)
                    return torch.autograd.grad(out, leaves, g) if both else out

            return call

        return make

    def kernel(name: str, record, products: float, both: bool) -> Kernel:
        backends = ("FLASH_ATTENTION", "CUDNN_ATTENTION") if not maker.quick else ("MATH",)
        return maker.repeat(
            f"{name} {tokens} tokens s={length} d={size} h={heads}" + (f" dropout {dropout}" if dropout else ""),
            {"tokens": tokens, "sequences": sequences}, 2 * tokens * width * 9, products * product / 2.5e14, operands, record,
            flops=products * product, allowed=2e-2,
            reference=None if dropout else (reference if both else lambda *a, **b: {"context": reference(*a, **b)["context"]}),
            peers={f"torch {backend}": peer(backend, both) for backend in backends},
        )  # fmt: skip

    return [
        kernel("attention", forward, 2, False),
        # 7 products, as FlashAttention counts them: two and five
        kernel("attention forward + backward", [forward, backward], 7, True),
    ]
