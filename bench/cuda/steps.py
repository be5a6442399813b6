"""Steps and forwards of whole models, from recordings that have plans and batches but no weights: filled, run and timed."""

import statistics
import time
from collections import defaultdict

import numpy as np

from kernels import normals
from library import Engine, Memory, Program
from measure import DATASHEET, Results
from ops import Ops
from plan import Plan, Range
from recording import Recording
from work import flops, traffic

PIECE = 1 << 24
INPUT = 1 << 16  # bytes: 16,384 token ids
ALLOWED = {"loss": 0.02, "norm": 0.05}


class Run:
    def __init__(self, engine: Engine, ops: Ops, case, meta: dict, programs: dict):
        self.plan = Plan(ops, case.words)
        self.scalars, self.meta = case.scalars, meta
        self.io = case.before.get(ops.arenas["io"], np.empty(0, np.uint8))
        names = {record.op.name for record in self.plan.records}
        self.packs, self.updates = names == {"pack_weight"}, "gradient_norm" in names
        if case.key not in programs:
            programs[case.key] = Program(engine, case.words)
        self.program = programs[case.key]
        # found once, not in each step that is timed: going through a plan takes as long as a small model's forward
        self.outputs = {name: self._written(name) for name in ("loss", "norm")}

    def _written(self, name: str) -> Range | None:
        for index in reversed(range(len(self.plan.records))):
            for r in self.plan.ranges(index, self.scalars):
                if r.output and r.name == name:
                    return r
        return None


def sessions(recordings) -> dict:
    """Cases of each session of recordings to be timed, in their order."""
    found = defaultdict(list)
    for recording in recordings:
        for index, case in enumerate(recording.cases):
            if "session" in case and not case["after"]:
                found[case["session"]].append((recording, index))
    return found


class Session:
    """A model in the device's memory, with random weights."""

    def __init__(self, engine: Engine, ops: Ops, cases):
        self.ops, self.memory, self.programs = ops, Memory(engine), {}
        self.runs = [Run(engine, ops, recording[index], recording.cases[index], self.programs) for recording, index in cases]
        for arena in range(len(ops.arenas)):
            size = max(run.plan.arena_bytes[arena] for run in self.runs)
            if size:
                self.memory.reserve(arena, size)
        self.fill()
        self.steps = defaultdict(list)
        for run in self.runs:
            if run.packs:
                run.program.run(self.memory, run.scalars)
            else:
                self.steps[run.meta["step"]].append(run)
        self.steps = list(self.steps.values())

    def fill(self):
        weights = self.ops.arenas["weights"]
        size = self.memory.sizes[weights]
        values = normals(PIECE, 1, 0.02)
        for begin in range(0, size, PIECE * 4):
            self.memory.write(weights, begin, values[: min(PIECE, (size - begin) // 4)])
        for run in self.runs:
            for record in run.plan.records:
                if record.op.name == "layer_norm":
                    names = [operand.name for operand in record.op.operands]
                    arena, begin = record.operands[names.index("gamma")]
                    self.memory.write(arena, begin, np.ones(record.value("H"), np.float32))

    def once(self, step) -> float:
        """A step as a program does it: the batch is written, the programs run, loss and norm are read."""
        start = time.perf_counter()
        for run in step:
            self.write(run)
            run.program.run(self.memory, run.scalars)
            self.output(run, "loss")
            self.output(run, "norm")
        return time.perf_counter() - start

    def write(self, run: Run):
        """The batch, in pieces, as a program writes its inputs one by one."""
        for begin in range(0, len(run.io), INPUT):
            self.memory.write(self.ops.arenas["io"], begin, run.io[begin : begin + INPUT])

    def output(self, run: Run, name: str) -> float | None:
        found = run.outputs[name]
        return None if found is None else float(self.memory.read(found.arena, found.begin, 4).view(np.float32)[0])

    def profile(self, step) -> list:
        """Seconds of the records of a step by op, the longest first, and what they reached."""
        sums = defaultdict(lambda: [0, 0.0, 0, 0])
        for run in step:
            self.write(run)
            seconds = run.program.run(self.memory, run.scalars, timed=True)
            for index, record in enumerate(run.plan.records):
                rows = [run.plan.ops.rows[name] for name in ("selected", "labelled", "sequences")]
                small = any(a.kind == "r" and value in rows for a, value in zip(record.op.attributes[:1], record.attributes[:1]))
                line = sums[record.op.name + (" (few rows)" if small else "")]
                work = flops(run.plan, index, run.scalars, run.io)
                for i, value in enumerate((1, seconds[index], work, 0 if work else traffic(run.plan, index, run.scalars))):
                    line[i] += value
        return sorted(((name, *line) for name, line in sums.items()), key=lambda line: -line[2])

    def free(self):
        for program in self.programs.values():
            program.free()
        self.memory.free()


def run_session(engine: Engine, ops: Ops, name: str, cases, results: Results, seconds: float, profile: bool = True):
    """Times a session for about `seconds`; the profile is of its first step."""
    session = Session(engine, ops, cases)
    try:
        training = any(run.updates for run in session.runs)
        firsts = {}  # loss and norm of the first step
        for step in session.steps:
            session.once(step)
            if training:
                found = {"loss": session.output(step[0], "loss"), "norm": session.output(step[-1], "norm")}
                if not (np.isfinite(found["loss"]) and np.isfinite(found["norm"]) and found["norm"] > 0):
                    raise ValueError(f"{name}: {found}")
                firsts = firsts or found
        taken, stop = defaultdict(list), time.perf_counter() + seconds
        while time.perf_counter() < stop or not taken:
            for index, step in enumerate(session.steps):
                taken[index].append(session.once(step))
        medians = [statistics.median(of) for of in taken.values()]
        work, real = (sum(step[0].meta[key] for step in session.steps) for key in ("flops", "tokens"))
        total = sum(medians)
        results.add(
            name, ms=1e3 * total / len(medians), tflops=work / total / 1e12, mfu=work / total / DATASHEET, tokens_per_s=real / total,
            runs=len(taken[0]), **firsts,
        )  # fmt: skip
        if profile:
            print_profile(name, session.profile(session.steps[0]), results)
        return firsts
    finally:
        session.free()


def disagreements(firsts: dict) -> list:
    """Sessions that differ by their dtype have the same weights, batches and masks: loss and norm are the same but for rounding."""
    wrong = []
    for name, found in firsts.items():
        exact = firsts.get(name.replace("bfloat16", "float32"), {})
        for what, value in found.items():
            if what in exact and abs(value - exact[what]) > ALLOWED[what] * abs(exact[what]):
                wrong.append(f"{name}: {what} {value}, in float32 {exact[what]}")
    return wrong


def print_profile(name: str, lines, results: Results):
    total = sum(line[2] for line in lines)
    print(f"{name}: records one by one, {1e3 * total:.3f} ms")
    for op, calls, seconds, work, moved in lines:
        if seconds == 0:
            rate = "    with those before them"  # launched together (native/cuda/recorder.cu)
        else:
            rate = f"{work / seconds / 1e12:8.1f} TF/s" if work else f"{moved / seconds / 1e9:8.0f} GB/s"
        print(f"  {op:44} {calls:5} {1e3 * seconds:9.3f} ms {100 * seconds / max(total, 1e-12):5.1f} % {rate}")
    named = [dict(op=op, calls=calls, ms=1e3 * seconds, flops=work, bytes=moved) for op, calls, seconds, work, moved in lines]
    results.note(f"profile of {name}", records=named)
