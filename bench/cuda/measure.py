"""Seconds of our plans and of PyTorch's calls, and what every result is printed with."""

import json
import os
import statistics
import subprocess
import time
from datetime import date
from pathlib import Path

import numpy as np

from library import Engine, Memory, Program

# Flops per second of dense bfloat16 that NVIDIA gives an H100 and an H200 (SXM): what whole steps are measured by, as `mfu`.
DATASHEET = 989e12

ROOT = Path(__file__).resolve().parents[2]


# A device that had nothing to do takes so long to be at its clock.
WARM_SECONDS = 0.25


def warm_up(call):
    """At least three times a call that returns when the device is done."""
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < WARM_SECONDS:
        call()
        calls += 1


def median_seconds(call, runs: int) -> float:
    """Of calls that return when the device is done."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Torch:
    """PyTorch on the device where there is one; on the CPU to try these programs out."""

    def __init__(self):
        import torch

        self.torch = torch
        self.cuda = torch.cuda.is_available()
        self.device = "cuda" if self.cuda else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = False

    def sync(self):
        if self.cuda:
            self.torch.cuda.synchronize()

    def tensor(self, array: np.ndarray, kind: str, shape):
        """Our operand: bfloat16 comes as its bits."""
        host = self.torch.from_numpy(np.ascontiguousarray(array.view(np.int16) if kind == "bfloat16" else array))
        return (host.view(self.torch.bfloat16) if kind == "bfloat16" else host).to(self.device).reshape(shape)

    def free(self):
        if self.cuda:
            self.torch.cuda.empty_cache()

    def seconds(self, call, runs: int = 20) -> float:
        """Of one call, launched as a graph where that can be captured, so that no time of the host is in it."""
        for _ in range(3):
            call()
        self.sync()
        if not self.cuda:
            return median_seconds(call, 3)
        replay = call
        try:
            side = self.torch.cuda.Stream()
            side.wait_stream(self.torch.cuda.current_stream())
            with self.torch.cuda.stream(side):
                call()
            self.torch.cuda.current_stream().wait_stream(side)
            graph = self.torch.cuda.CUDAGraph()
            with self.torch.cuda.graph(graph):
                call()
            replay = graph.replay
        except RuntimeError as error:
            print(f"not captured: {str(error).splitlines()[0]}", flush=True)
            self.sync()
        warm_up(lambda: (replay(), self.sync()))
        seconds = []
        for _ in range(runs):
            begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            replay()
            end.record()
            self.sync()
            seconds.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(seconds)


class Results:
    """JSON, an object a line; and a table of them."""

    def __init__(self, engine: Engine | None, file: Path | None):
        self.file = file
        self.lines = []
        # a choice of kernels by the environment is part of what was measured
        chosen = os.environ.get("BERTKIT_CUDA_KERNELS") if engine else None
        self.prefix = f"{chosen}: " if chosen else ""
        self.common = {"date": date.today().isoformat(), "commit": commit(), **machine()}
        if engine:
            self.common["device"] = engine.describe()["cpu"]

    def add(self, what: str, **values):
        line = {"what": self.prefix + what, **{key: round_to(value) for key, value in values.items()}}
        self.lines.append(line)
        text = " ".join(f"{key}={value}" for key, value in line.items() if key != "what")
        print(f"{line['what']}: {text}", flush=True)
        self._write({**line, **self.common})

    def note(self, what: str, **values):
        """Only into the file."""
        self._write({"note": what, **values})

    def _write(self, line: dict):
        if self.file:
            with open(self.file, "a") as file:
                file.write(json.dumps(line) + "\n")


def table(lines):
    """One line for each result; what of it there is."""
    columns = ["ms", "tflops", "gbytes", "of_peak", "mfu", "peer_ms", "ratio", "error"]
    print(f"{'':52}" + "".join(f"{column:>10}" for column in columns))
    for line in lines:
        if "what" in line:
            print(f"{line['what'][:52]:52}" + "".join(f"{line.get(column, ''):>10}" for column in columns))


def round_to(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


def commit() -> str:
    try:
        return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict:
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
        return {"gpu": subprocess.check_output(query, text=True, stderr=subprocess.DEVNULL).strip()}
    except (OSError, subprocess.CalledProcessError):
        return {"gpu": "none"}


class Prepared:
    """A program with the memory that it runs on."""

    def __init__(self, engine: Engine, plan, scalars: np.ndarray, memory: Memory | None = None):
        self.plan, self.scalars = plan, scalars
        self.memory = memory or Memory(engine)
        for arena, size in enumerate(plan.arena_bytes):
            if size:
                self.memory.reserve(arena, size)
        self.program = Program(engine, plan.words)

    def run(self, timed: bool = False):
        return self.program.run(self.memory, self.scalars, timed)

    def free(self):
        self.program.free()
        self.memory.free()
