"""native/api.h by ctypes: any library with that interface."""

import ctypes
import json
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int32, c_size_t, c_uint64, c_void_p

import numpy as np

PEAKS = {"float32": 0, "bfloat16": 1, "memory": 2, "read": 3}
TEXT = 512


class BertkitError(Exception):
    """A bk_error and its text."""

    def __init__(self, number: int, message: str):
        super().__init__(f"error {number}: {message}")
        self.number, self.message = number, message


SIGNATURES = {
    "bk_ops_hash": (c_uint64, []),
    "bk_open": (c_int, [c_char_p, c_int, POINTER(c_void_p), c_char_p, c_size_t]),
    "bk_close": (None, [c_void_p]),
    "bk_describe": (None, [c_void_p, c_char_p, c_size_t]),
    "bk_memory_create": (c_int, [c_void_p, POINTER(c_void_p)]),
    "bk_memory_free": (None, [c_void_p]),
    "bk_memory_reserve": (c_int, [c_void_p, c_int, c_uint64, c_char_p, c_size_t]),
    "bk_memory_release": (c_int, [c_void_p, c_int]),
    "bk_memory_write": (c_int, [c_void_p, c_int, c_uint64, c_void_p, c_uint64, c_char_p, c_size_t]),
    "bk_memory_read": (c_int, [c_void_p, c_int, c_uint64, c_void_p, c_uint64, c_char_p, c_size_t]),
    "bk_program_create": (c_int, [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_void_p), c_char_p, c_size_t]),
    "bk_program_free": (None, [c_void_p]),
    "bk_program_records": (c_size_t, [c_void_p]),
    "bk_run_start": (
        c_int,
        [c_void_p, c_void_p, POINTER(c_double), c_size_t, POINTER(c_double), c_void_p, c_void_p, c_void_p, c_char_p, c_size_t],
    ),
    "bk_measure_peak": (c_double, [c_void_p, c_int, c_double]),
}


def address(array: np.ndarray):
    if not array.flags.c_contiguous:
        raise ValueError("an array with gaps")
    return array.ctypes.data_as(c_void_p)


class Engine:
    def __init__(self, file: str, threads: int = 0):
        self.c = ctypes.CDLL(os.path.abspath(file))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        self.handle = c_void_p()
        self.call("bk_open", None, threads, byref(self.handle))

    def call(self, name: str, *arguments):
        """Calls a function that ends with a place for a message."""
        text = ctypes.create_string_buffer(TEXT)
        error = getattr(self.c, name)(*arguments, text, TEXT)
        if error:
            raise BertkitError(error, text.value.decode(errors="replace"))

    def check(self, name: str, *arguments):
        error = getattr(self.c, name)(*arguments)
        if error:
            raise BertkitError(error, name)

    @property
    def hash(self) -> int:
        return self.c.bk_ops_hash()

    def describe(self) -> dict:
        text = ctypes.create_string_buffer(4096)
        self.c.bk_describe(self.handle, text, len(text))
        return json.loads(text.value)

    def peak(self, name: str, seconds: float = 0.3) -> float:
        return self.c.bk_measure_peak(self.handle, PEAKS[name], seconds)

    def close(self):
        self.c.bk_close(self.handle)


def open_engine(file: str, ops) -> Engine:
    """For programs: the library of these ops, or a sentence and the end with exit status 2."""
    try:
        engine = Engine(file)
    except (BertkitError, OSError) as error:
        print(f"cannot open {file}: {error}")
        raise SystemExit(2) from None
    if engine.hash != ops.hash:
        print(f"{file} was built from another native/ops.def")
        raise SystemExit(2)
    return engine


class Memory:
    def __init__(self, engine: Engine):
        self.engine, self.sizes = engine, {}
        self.handle = c_void_p()
        engine.check("bk_memory_create", engine.handle, byref(self.handle))

    def reserve(self, arena: int, size: int):
        if size > self.sizes.get(arena, 0):
            self.engine.call("bk_memory_reserve", self.handle, arena, size)
            self.sizes[arena] = size

    def release(self, arena: int):
        self.engine.check("bk_memory_release", self.handle, arena)
        self.sizes.pop(arena, None)

    def write(self, arena: int, offset: int, array: np.ndarray):
        if array.nbytes:
            self.engine.call("bk_memory_write", self.handle, arena, offset, address(array), array.nbytes)

    def read(self, arena: int, offset: int, size: int) -> np.ndarray:
        target = np.empty(size, np.uint8)
        if size:
            self.engine.call("bk_memory_read", self.handle, arena, offset, address(target), size)
        return target

    def free(self):
        self.engine.c.bk_memory_free(self.handle)
        self.handle = None


class Program:
    def __init__(self, engine: Engine, words: np.ndarray):
        self.engine = engine
        self.handle = c_void_p()
        words = np.ascontiguousarray(words, np.int32)
        engine.call("bk_program_create", engine.handle, words.ctypes.data_as(POINTER(c_int32)), len(words), byref(self.handle))

    def run(self, memory: Memory, scalars: np.ndarray, timed: bool = False):
        """Runs, and waits. `timed`: the seconds of each record."""
        seconds = np.zeros(max(1, self.engine.c.bk_program_records(self.handle))) if timed else None
        doubles = POINTER(c_double)
        self.engine.call(
            "bk_run_start",
            self.handle,
            memory.handle,
            scalars.ctypes.data_as(doubles),
            len(scalars),
            seconds.ctypes.data_as(doubles) if timed else None,
            None,
            None,
            None,
        )
        return seconds

    def free(self):
        self.engine.c.bk_program_free(self.handle)
        self.handle = None
