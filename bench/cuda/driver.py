#!/usr/bin/env python3
"""Replays recordings (recorder.mjs) on a library with native/api.h's functions, and compares.

  python3 bench/cuda/driver.py --library out/cuda/libbertkit_cuda.so FOLDER...

Each run is done twice, which must give the same bits, and once with the time of every record, which launches them one by one. What it
has not to write must stay as it was. Then runs of the same plan are mixed, with other row counts each time, and must go on giving
the bits that they gave at first. Needs Python 3.10 and NumPy. Exit status: 0, 1 where something differs, 2 where nothing can run.
"""

import argparse
import json
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import ops as op_table
from compare import ONE, WHOLE, difference, floats
from library import BertkitError, Engine, Memory, Program, open_engine
from plan import SIZES, Plan
from recording import Case, Recording

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 20


def size_beside(output, operands: list, case: Case) -> float:
    """The size of an element of what a mean is taken of: it may be near zero, and its error is relative to this."""
    beside = next((r for r in operands if output.name == "mean" and r.name == "sum"), None)
    if beside is None:
        return 0.0
    values = floats(case.after[beside.arena][beside.begin : beside.end], beside.type)
    return float(np.sqrt(np.mean(np.square(values[np.isfinite(values)], dtype=np.float64)))) if np.isfinite(values).any() else 0.0


class Line:
    """One line of the table."""

    def __init__(self):
        self.runs, self.worst, self.failed, self.at = 0, 0.0, 0, ""


class Verifier:
    def __init__(self, engine: Engine, ops, timed: bool = True, again: bool = True):
        self.engine, self.ops, self.timed, self.again = engine, ops, timed, again
        self.memory = Memory(engine)
        self.lines = defaultdict(Line)
        self.failures = []

    def fail(self, line: str, case: Case, text: str):
        self.lines[line].failed += 1
        self.failures.append(f"{line}: {case.name}: {text}")
        if len(self.failures) <= SHOWN:
            print("FAILED", self.failures[-1], flush=True)

    # ---- one run

    def load(self, plan: Plan, case: Case):
        for arena, size in enumerate(plan.arena_bytes):
            if case.before.get(arena) is not None:
                self.memory.reserve(arena, size)
                self.memory.write(arena, 0, case.before[arena])

    def contents(self, case: Case) -> dict:
        return {arena: self.memory.read(arena, 0, len(state)) for arena, state in case.before.items()}

    def case(self, case: Case):
        plan = Plan(self.ops, case.words)
        line = plan.records[0].op.name if len(plan.records) == 1 else f"plans: {case.name.split(' > ')[-1].split(':')[0]}"
        self.lines[line].runs += 1
        if any(len(state) < plan.arena_bytes[arena] for arena, state in case.before.items()) or not self.has_arenas(plan, case):
            return self.refused_for_memory(line, plan, case)
        self.load(plan, case)
        program = Program(self.engine, case.words)
        try:
            self.run(line, plan, case, program)
        except BertkitError as error:
            self.fail(line, case, f"unexpected {error}")
        finally:
            program.free()

    @staticmethod
    def has_arenas(plan: Plan, case: Case) -> bool:
        return all(size == 0 or arena in case.before for arena, size in enumerate(plan.arena_bytes))

    def refused_for_memory(self, line: str, plan: Plan, case: Case):
        """The memory was too small for the plan when this was recorded."""
        memory, program = Memory(self.engine), Program(self.engine, case.words)
        for arena, state in case.before.items():
            memory.reserve(arena, len(state))
        self.expect_error(line, case, program, memory)
        program.free()
        memory.free()

    def expect_error(self, line: str, case: Case, program: Program, memory: Memory):
        try:
            program.run(memory, case.scalars)
        except BertkitError as error:
            want = (case.error["number"], case.error["message"])
            if (error.number, error.message) != want:
                self.fail(line, case, f"{error}, expected error {want[0]}: {want[1]}")
        else:
            self.fail(line, case, f"succeeded, expected error {case.error['number']}: {case.error['message']}")

    def run(self, line: str, plan: Plan, case: Case, program: Program):
        if case.error:
            for _ in range(2 if self.again else 1):
                self.expect_error(line, case, program, self.memory)
            return
        program.run(self.memory, case.scalars)
        first = self.contents(case)
        self.compare(line, plan, case, first)
        for what in (["replayed"] if self.again else []) + (["timed"] if self.timed else []):
            self.load(plan, case)
            seconds = program.run(self.memory, case.scalars, timed=what == "timed")
            if seconds is not None and not (np.isfinite(seconds).all() and (seconds >= 0).all() and seconds.sum() > 0 or not len(plan.records)):
                self.fail(line, case, f"the seconds of its records are {seconds}")
            for arena, state in self.contents(case).items():
                if not np.array_equal(state, first[arena]):
                    at = int(np.flatnonzero(state != first[arena])[0])
                    self.fail(line, case, f"other bits when {what}, at byte {at} of arena {arena}")

    def compare(self, line: str, plan: Plan, case: Case, got: dict):
        """Each range by the record that wrote it last; what no record writes, with what was there."""
        owners = {arena: np.full(len(state), -1, np.int32) for arena, state in got.items()}
        written = []
        for index in range(len(plan.records)):
            inputs = plan.ranges(index, case.scalars)
            for r in inputs:
                if r.output and r.elements:
                    owners[r.arena][r.begin : r.end] = len(written)
                    written.append((plan.records[index].op.name, r, size_beside(r, inputs, case)))
        for arena, state in got.items():
            strayed = np.flatnonzero((owners[arena] < 0) & (state != case.before[arena]))
            if len(strayed):
                self.fail(line, case, f"wrote outside its outputs, at byte {strayed[0]} of arena {arena} ({len(strayed)} bytes)")
        halved = any(r.type == "bfloat16" for _, r, _ in written)
        for number, (op, r, scale) in enumerate(written):
            mine = owners[r.arena][r.begin : r.end : SIZES[r.type]] == number
            if not mine.any():
                continue
            cut = lambda state: state[r.begin : r.end].reshape(-1, SIZES[r.type])[mine].reshape(-1)
            found = difference(r.type, cut(got[r.arena]), cut(case.after[r.arena]), scale)
            allowed = (ONE if len(plan.records) == 1 else WHOLE[halved]).get(r.type, 0)
            self.note(line, case, f"{op} {r.name}", found, allowed)

    def note(self, line: str, case: Case, what: str, found, allowed: float):
        entry = self.lines[line]
        if found.error > entry.worst or entry.at == "":
            entry.worst, entry.at = max(entry.worst, found.error), what
        if not found.error <= allowed:
            self.fail(line, case, f"{what}: {found.text}, allowed {allowed:.3g}")

    # ---- many runs

    def mixed(self, cases: list, replays: int, seed: int, stop: float):
        """Runs of one plan in a random order, with other row counts each time."""
        plan = Plan(self.ops, cases[0].words)
        line = "mixed: " + ", ".join(sorted({record.op.name for record in plan.records}))[:40]
        program, random = Program(self.engine, cases[0].words), np.random.default_rng(seed)
        firsts = [None] * len(cases)
        try:
            for index in random.integers(len(cases), size=replays):
                if time.monotonic() > stop:
                    break
                case = cases[index]
                self.lines[line].runs += 1
                self.load(plan, case)
                program.run(self.memory, case.scalars)
                state = self.contents(case)
                if firsts[index] is None:
                    firsts[index] = state
                    self.compare(line, plan, case, state)
                elif not all(np.array_equal(state[arena], firsts[index][arena]) for arena in state):
                    return self.fail(line, case, "other bits than at first")
        except BertkitError as error:
            self.fail(line, case, f"unexpected {error}")
        finally:
            program.free()

    def table(self):
        print(f"{'':44} {'runs':>6} {'failed':>6} {'worst':>9}  at")
        for name, line in sorted(self.lines.items()):
            print(f"{name[:44]:44} {line.runs:6} {line.failed:6} {line.worst:9.2g}  {line.at}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--library", dest="file", metavar="FILE", required=True)
    parser.add_argument("--only", default="", help="ops, or parts of names, with commas between them")
    parser.add_argument("--every", type=int, default=1, help="each n-th case only")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after this long")
    parser.add_argument("--mixing", type=float, default=1e9, help="and the mixed runs this long after that")
    parser.add_argument("--replays", type=int, default=1000, help="runs of one plan, mixed")
    parser.add_argument("--once", action="store_true", help="each case once: neither replayed nor timed, nor mixed")
    parser.add_argument("--json", type=Path, help="the table and all failures")
    return parser.parse_args()


def wanted(ops, case: Case, only: str) -> bool:
    first = ops.by_id[int(case.words[6 + len(ops.rows) + 1 + len(ops.arenas)])].name
    return not only or any(part == first or part in case.name for part in only.split(","))


def groups_of(ops, recordings) -> list:
    """Indices of runs of the same plan with different row counts, the plans of most records first."""
    groups = defaultdict(list)
    for recording in recordings:
        for index in range(len(recording)):
            case = recording.cases[index]
            if not case.get("error") and case["after"]:
                groups[id(recording), str(case["words"])].append((recording, index))
    several = [group for group in groups.values() if len(group) > 1]
    rows = len(ops.rows)
    counts = lambda group: {tuple(recording[index].scalars[:rows]) for recording, index in group}
    return sorted((group for group in several if len(counts(group)) > 1), key=lambda group: -len(group[0][0][group[0][1]].words))


def main() -> int:
    options = parse()
    ops = op_table.load(ROOT / "native" / "ops.def")
    engine = open_engine(options.file, ops)
    print(json.dumps(engine.describe()))
    recordings = [Recording(folder) for folder in options.folders]
    verifier = Verifier(engine, ops, timed=not options.once, again=not options.once)
    start, done, total = time.monotonic(), 0, sum(map(len, recordings))
    stop = start + options.seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a limit of time: what was found is told all the same
    ended = ""
    try:
        for recording in recordings:
            for index in range(0, len(recording), options.every):
                case = recording[index]
                if time.monotonic() > stop:
                    break
                if (case.after or case.error) and wanted(ops, case, options.only):  # others are recorded to be timed
                    verifier.case(case)
                    done += 1
        for group in [] if options.once else groups_of(ops, recordings)[:3]:
            verifier.mixed([recording[index] for recording, index in group[:8]], options.replays, 1, stop + options.mixing)
    except KeyboardInterrupt:
        ended = ", interrupted"
    verifier.table()
    failed = len(verifier.failures)
    print(f"{done} of {total} recorded runs in {time.monotonic() - start:.1f} s, {failed} failures{ended}")
    if options.json:
        lines = {name: vars(line) for name, line in verifier.lines.items()}
        options.json.write_text(json.dumps({"lines": lines, "failures": verifier.failures, "runs": done}, indent=1))
    engine.close()
    return 1 if failed or ended else 0


if __name__ == "__main__":
    sys.exit(main())
