"""Recordings, as bench/cuda/recorder.mjs writes and describes them."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Case:
    name: str
    key: tuple  # the same for the same plan
    words: np.ndarray
    scalars: np.ndarray
    before: dict  # bytes by arena
    after: dict
    error: dict | None


class Recording:
    def __init__(self, folder: Path):
        with gzip.open(folder / "index.json.gz") as file:
            index = json.load(file)
        if index["format"] != 1:
            raise ValueError(f"{folder} is of format {index['format']}, expected 1")
        with gzip.open(folder / "data.bin.gz") as file:
            planes = np.frombuffer(file.read(), np.uint8).reshape(-1, 4, index["block"] // 4)
        self.piece = index["piece"]
        self.data = np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(-1)
        self.cases = index["cases"]

    def __len__(self) -> int:
        return len(self.cases)

    def _bytes(self, blob: dict) -> np.ndarray:
        parts = [self.data[first * self.piece : (first + count) * self.piece] for first, count in blob["runs"]]
        return np.concatenate(parts)[: blob["bytes"]] if parts else np.empty(0, np.uint8)

    def __getitem__(self, index: int) -> Case:
        case = self.cases[index]
        arenas = lambda blobs: {int(arena): self._bytes(blob) for arena, blob in blobs.items()}
        return Case(
            name=case["name"],
            key=tuple(map(tuple, case["words"]["runs"])),
            words=self._bytes(case["words"]).view(np.int32),
            scalars=self._bytes(case["scalars"]).view(np.float64),
            before=arenas(case["before"]),
            after=arenas(case["after"]),
            error=case.get("error"),
        )
