#!/usr/bin/env python3
"""What a process has to live through: no memory left, data that is refused, an end with a run in flight.

  python3 bench/cuda/bad_days.py --library FILE

Exit status 1 where something is not as it should be.
"""

import argparse
import ctypes
import os
import re
import subprocess
import sys

import numpy as np

import ops as op_table
from library import BertkitError, Engine, Memory, Program, open_engine
from measure import ROOT
from plan import Builder

MOST = 1 << 34  # bytes of an arena


class Gather:
    """A small plan whose index may be wrong: rows of x by their index."""

    def __init__(self, engine: Engine, ops):
        builder = Builder(ops, tokens=8, sequences=4)
        self.x, self.index, self.y = builder.place(8 * 3), builder.place(4, "int32"), builder.place(4 * 3)
        builder.add("gather_rows", {"x": self.x, "index": self.index, "y": self.y}, {"from": "tokens", "to": "sequences", "H": 3})
        self.plan = builder.plan()
        self.memory, self.program = Memory(engine), Program(engine, self.plan.words)
        self.memory.reserve(self.x[0], self.plan.arena_bytes[self.x[0]])
        self.memory.write(*self.x, np.arange(24, dtype=np.float32))

    def works(self, index=(7, 0, 3, 3)) -> bool:
        scalars = np.zeros(self.plan.scalars)
        scalars[:2] = 8, 4
        self.memory.write(*self.index, np.array(index, np.int32))
        self.program.run(self.memory, scalars)
        return np.array_equal(self.memory.read(*self.y, 48).view(np.float32).reshape(4, 3), np.arange(24).reshape(8, 3)[list(index)])


def no_memory(engine: Engine, gather: Gather) -> str | None:
    """Arenas until there are no more: an error that says what was asked for and what is free, and everything else goes on."""
    memories = []
    try:
        for _ in range(64):
            memories.append(Memory(engine))
            memories[-1].reserve(0, MOST)
    except BertkitError as error:
        if error.number != 2 or not re.search(r"arena of \d+ bytes: no memory; \d+ of the device's \d+ bytes are free", error.message):
            return str(error)
    else:
        return f"{len(memories)} arenas of {MOST} bytes were had"
    finally:
        for memory in memories:
            memory.free()
    memory = Memory(engine)
    memory.reserve(0, 1 << 20)
    empty = not memory.read(0, 0, 1 << 20).any()
    memory.free()
    return None if empty and gather.works() else "what was there before does not work any more"


def refused_data(engine: Engine, gather: Gather) -> str | None:
    """An index that is out of range is an error, and the next run is as if nothing had been."""
    for index in ((7, 8, 0, 0), (-1, 0, 0, 0), (2**31 - 1, 0, 0, 0)):
        try:
            gather.works(index)
            return f"{index} was not refused"
        except BertkitError as error:
            if error.number != 3 or "index" not in error.message:
                return str(error)
        if not gather.works():
            return f"after {index}, what is right does not work"
    return None


def leave_in_flight(library: str):
    """Starts more work than can be done at once, and returns: in a process of its own."""
    ops, engine = op_table.load(ROOT / "native" / "ops.def"), Engine(library)
    builder = Builder(ops, tokens=2048)
    x, w, y = builder.place(2048 * 64), builder.place(64 * 64), builder.place(2048 * 64)
    for _ in range(200):
        builder.add("linear", {"x": x, "w": w, "y": y}, {"rows": "tokens", "K": 64, "N": 64})
    plan = builder.plan()
    memory, program = Memory(engine), Program(engine, plan.words)
    memory.reserve(x[0], plan.arena_bytes[x[0]])
    scalars = np.zeros(plan.scalars)
    scalars[0] = 2048
    done = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(lambda *_: None)
    run, text = ctypes.c_void_p(), ctypes.create_string_buffer(512)
    pointer = scalars.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
    error = engine.c.bk_run_start(program.handle, memory.handle, pointer, len(scalars), None, done, None, ctypes.byref(run), text, 512)
    print("started" if error == 0 else text.value.decode(), flush=True)
    # the interpreter's own end would be waited for by the callback: this is the end of the process that exit() is
    ctypes.CDLL(None).exit(0) if error == 0 else os._exit(1)


def end_in_flight(library: str) -> str | None:
    """A process that ends while the device works ends at once, with the status that it asked for."""
    ended = subprocess.run([sys.executable, __file__, "--library", library, "--leave"], capture_output=True, text=True, timeout=60)
    if ended.returncode != 0 or "started" not in ended.stdout:
        return f"exit status {ended.returncode}: {ended.stdout}{ended.stderr}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", dest="file", metavar="FILE", required=True)
    parser.add_argument("--leave", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.leave:
        leave_in_flight(options.file)
    ops = op_table.load(ROOT / "native" / "ops.def")
    engine = open_engine(options.file, ops)
    gather, failed = Gather(engine, ops), 0
    for name, call in (
        ("refused data", lambda: refused_data(engine, gather)),
        ("no memory", lambda: no_memory(engine, gather)),
        ("an end in flight", lambda: end_in_flight(options.file)),
    ):
        problem = call()
        failed += problem is not None
        print(f"{name}: {'as it should be' if problem is None else 'FAILED: ' + problem}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
