#!/usr/bin/env python3
"""Times the library on a device, beside PyTorch in the same run. What it times is verified first, and by driver.py before.

  python3 bench/cuda/bench.py --library FILE --part kernels|steps|trace|peers|table --json OUT [--sessions FOLDER...]

kernels: peaks, then single ops at BERT's shapes with their peers. steps: recorded sessions (record-plan --plan-only), whole and by op.
trace: their kernels one by one.
peers: the same steps in PyTorch. table: what the file of results has. Exit status 1 where a kernel gave what it should not.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import ops as op_table
from attention import attention
from compare import floats
from kernels import Kernel, Maker
from library import BertkitError, Engine, open_engine
from measure import ROOT, Prepared, Results, Torch, median_seconds, table, warm_up
from plan import SIZES
from recording import Recording
from steps import Session, disagreements, run_session, sessions

# Elements of an output that are compared, at either end of it.
COMPARED = 1 << 21


def peaks(engine: Engine, torch: Torch | None, results: Results, quick: bool) -> dict:
    """Flops and bytes per second that this device reaches at most."""
    found = {name: engine.peak(name, 0.01 if quick else 0.3) for name in (("float32", "bfloat16") if quick else ("float32", "bfloat16", "memory", "read"))}
    if torch:
        n = 256 if quick else 8192
        a, b = (torch.torch.randn(n, n, device=torch.device, dtype=torch.torch.bfloat16) for _ in range(2))
        found["matmul"] = 2 * n**3 / torch.seconds(lambda: a @ b)
        source = torch.torch.empty(1 << (16 if quick else 31), dtype=torch.torch.uint8, device=torch.device)
        target = torch.torch.empty_like(source)
        found["copy"] = 2 * source.numel() / torch.seconds(lambda: target.copy_(source))
        del a, b, source, target
        torch.free()
    results.add("peaks", **{f"{name}_per_s": float(value) for name, value in found.items()})
    products = max(found["bfloat16"], found.get("matmul", 0))
    return {"bfloat16": products, "float32": found["float32"], "memory": max(found.get("memory", 1), found.get("copy", 0))}


def check(kernel: Kernel, prepared: Prepared, torch: Torch) -> float:
    """The largest relative error of the outputs of the first set, at their beginnings and ends."""
    one = kernel.sets[0]
    inputs = {key: torch.tensor(operand.data, operand.kind, operand.shape) for key, operand in one.items() if operand.data is not None}
    worst = 0.0
    for key, want in kernel.reference(torch.torch, **inputs).items():
        operand, wanted = one[key], want.detach().reshape(-1)
        size, (arena, begin) = SIZES[operand.kind], operand.place
        some = min(COMPARED, wanted.numel())
        for first in {0, wanted.numel() - some}:
            got = floats(prepared.memory.read(arena, begin + first * size, some * size), operand.kind).astype(np.float64)
            expected = wanted[first : first + some].float().cpu().numpy().astype(np.float64)
            error = np.linalg.norm(got - expected) / np.linalg.norm(expected) if np.isfinite(got).all() else np.inf
            worst = max(worst, float(error))
    return worst


def peer_seconds(kernel: Kernel, make, torch: Torch) -> float:
    """Of one copy."""
    calls = []
    for one in kernel.sets:
        inputs = {key: torch.tensor(operand.data, operand.kind, operand.shape) for key, operand in one.items() if operand.data is not None}
        calls.append(make(torch.torch, **inputs))
    return torch.seconds(lambda: [calls[copy % len(calls)]() for copy in range(kernel.copies)] and None) / kernel.copies


def time_kernel(engine: Engine, kernel: Kernel, torch: Torch | None, peak: dict, results: Results, peers: bool) -> bool:
    prepared = Prepared(engine, kernel.plan, kernel.scalars)
    try:
        for one in kernel.sets:
            for operand in one.values():
                if operand.data is not None:
                    prepared.memory.write(*operand.place, operand.data)
        if kernel.before:
            before = Prepared(engine, kernel.before, kernel.scalars, prepared.memory)
            before.run()
            before.program.free()
        prepared.run()
        error = check(kernel, prepared, torch) if kernel.reference and torch else None
        ok = error is None or error <= kernel.allowed
        warm_up(prepared.run)
        seconds = median_seconds(prepared.run, 10) / kernel.copies
        alone = float(np.median(prepared.run(timed=True)))
    finally:
        prepared.free()
    values = {"ms": 1e3 * seconds, "alone_ms": 1e3 * alone, "copies": kernel.copies}
    if kernel.flops:
        values |= {"tflops": kernel.flops / seconds / 1e12, "of_peak": kernel.flops / seconds / peak[kernel.peak]}
    if kernel.bytes:
        values |= {"gbytes": kernel.bytes / seconds / 1e9, "of_peak": kernel.bytes / seconds / peak["memory"]}
    for name, make in kernel.peers.items() if torch and peers else ():
        try:
            other = peer_seconds(kernel, make, torch)
        except Exception as failure:  # noqa: BLE001: of any kind
            values[name] = f"failed: {str(failure).splitlines()[0][:80]}"
            continue
        finally:
            torch.free()
        values[name] = 1e3 * other
        if values.get("peer_ms", np.inf) > 1e3 * other:  # the fastest
            values |= {"peer_ms": 1e3 * other, "ratio": other / seconds}
    results.add(kernel.name, **values, **({} if error is None else {"error": error, "verified": ok}))
    return ok


def kernels(maker: Maker, only: str):
    """The most wanted first. Each is made when its turn comes: its operands are large."""
    if "attention".startswith(only):
        for length in (2048, 512):
            for dropout in (0.0, 0.1):
                yield from attention(maker, 16384, length, 16, 64, dropout)
    if "linear".startswith(only):
        for name, H, I, tokens in (("large", 1024, 4096, 16384), ("base", 768, 3072, 2048)):
            for part, K, N in (("qkv", H, 3 * H), ("out", H, H), ("up", H, I), ("down", I, H)):
                yield maker.linear(f"{name} {part}", tokens, K, N)
                yield maker.linear_backward_data(f"{name} {part}", tokens, K, N)
                yield maker.linear_backward_weight(f"{name} {part}", tokens, K, N)
        yield maker.linear("base up", 2048, 768, 3072, "float32")
    if "adamw".startswith(only):
        yield maker.adamw(110_000_000)
    if "layer_norm".startswith(only):
        yield maker.layer_norm(16384, 1024)
        yield maker.layer_norm_backward(16384, 1024)
        yield maker.layer_norm_backward(16384, 1024, whole=True)


def run_kernels(engine: Engine, ops, options, torch, results) -> bool:
    peak = peaks(engine, torch, results, options.quick)
    stop, ok = time.monotonic() + options.seconds, True
    for kernel in kernels(Maker(ops, options.quick), options.only):
        if time.monotonic() > stop:
            print("the time is up: the other kernels are left out")
            break
        try:
            ok &= time_kernel(engine, kernel, torch, peak, results, not options.no_peers)
        except BertkitError as error:
            ok = False
            results.add(kernel.name, failed=str(error))
            if error.number == 6:
                break
    return ok


def run_steps(engine: Engine, ops, options, torch, results) -> bool:
    stop, ok, firsts = time.monotonic() + options.seconds, True, {}
    for name, cases in sessions([Recording(folder) for folder in options.sessions]).items():
        if time.monotonic() > stop:
            print(f"the time is up: {name} is left out")
            continue
        try:
            firsts[name] = run_session(engine, ops, name, cases, results, 0.1 if options.quick else 2)
        except (BertkitError, ValueError) as error:
            ok = False
            results.add(name, failed=str(error))
    for problem in disagreements(firsts):
        ok = False
        print(f"FAILED {problem}")
    return ok


def run_traces(engine: Engine, ops, options, torch, results) -> bool:
    from kernel_trace import trace

    for name, cases in sessions([Recording(folder) for folder in options.sessions]).items():
        session = Session(engine, ops, cases)
        try:
            trace(session, name, torch, results)
        finally:
            session.free()
    return True


def run_peers(options, torch, results) -> bool:
    from peers import Peer

    peer = Peer(torch, results, 0.1 if options.quick else 2)
    if options.quick:
        peer.train("nano", 2, 32, "ragged")
        peer.infer("nano", 2, 32)
        return True
    stop = time.monotonic() + options.seconds
    for call in (
        lambda: peer.train("large", 32, 512, "full", "layers"),
        lambda: peer.train("large", 32, 512, "full"),
        lambda: peer.train("base", 16, 128, "ragged"),
        lambda: peer.infer("base", 8, 128, "reduce-overhead"),
        lambda: peer.infer("base", 256, 128, "default"),
        lambda: peer.train("base", 16, 128, "full"),
        lambda: peer.infer("base", 8, 128),
        lambda: peer.infer("base", 256, 128),
        lambda: peer.train("base", 16, 128, "full", "model"),
        lambda: peer.train("base", 16, 128, "ragged", "model"),
        lambda: peer.train("large", 32, 512, "full", "model"),
    ):
        if time.monotonic() > stop:
            print("the time is up: the other peers are left out")
            break
        call()
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", dest="file", metavar="FILE")
    parser.add_argument("--part", choices=["kernels", "steps", "trace", "peers", "table"], required=True)
    parser.add_argument("--json", type=Path, help="results are added to this file")
    parser.add_argument("--sessions", nargs="*", type=Path, default=[])
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing after this long")
    parser.add_argument("--only", default="", choices=["", "attention", "linear", "adamw", "layer_norm"], help="these kernels alone")
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--no-peers", action="store_true", help="verify by PyTorch, but do not time it")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try this program out")
    options = parser.parse_args()
    if options.part == "table":
        table([json.loads(line) for line in options.json.read_text().splitlines()])
        return 0
    torch = None
    if not options.no_torch:
        try:
            torch = Torch()
        except ImportError:
            print("PyTorch is not installed: nothing is compared with it")
    if options.part in ("peers", "trace") and not torch:
        print(f"the part {options.part} needs PyTorch")
        return 2
    if options.part == "peers":
        return 0 if run_peers(options, torch, Results(None, options.json)) else 2
    ops = op_table.load(ROOT / "native" / "ops.def")
    engine = open_engine(options.file, ops)
    results = Results(engine, options.json)
    run = {"kernels": run_kernels, "steps": run_steps, "trace": run_traces}[options.part]
    return 0 if run(engine, ops, options, torch, results) else 1


if __name__ == "__main__":
    sys.exit(main())
