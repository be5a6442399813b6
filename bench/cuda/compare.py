"""Whether an operand is what was expected: bits where there are whole numbers, the relative error in the L2 norm elsewhere."""

from dataclasses import dataclass

import numpy as np

# What one record may differ by where another compiler and other tensor cores compute it. Outputs of bfloat16 are rounded from sums that
# differ a little, so that some are the next value, 2^-8 away.
ONE = {"float32": 2e-5, "bfloat16": 6e-3}
# A whole plan, in which what one record rounds differently goes through all that follow: without bfloat16, and with it.
WHOLE = {False: {"float32": 2e-4, "bfloat16": 0}, True: {"float32": 5e-2, "bfloat16": 5e-2}}


def floats(data: np.ndarray, kind: str) -> np.ndarray:
    if kind == "float32":
        return data.view(np.float32)
    return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def halves(values: np.ndarray) -> np.ndarray:
    """Rounded to bfloat16, as bits: to the nearest, ties to even. Of finite values."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


@dataclass
class Difference:
    error: float  # inf where it cannot be told in numbers
    text: str


def difference(kind: str, got: np.ndarray, want: np.ndarray, scale: float = 0.0) -> Difference:
    """Of two operands as bytes. `scale`: a size of one element that errors are measured by where the expected ones are smaller."""
    if kind in ("int32", "int8"):
        width = np.dtype(kind)
        wrong = np.flatnonzero(got.view(width) != want.view(width))
        if len(wrong) == 0:
            return Difference(0.0, "")
        at = wrong[0]
        return Difference(np.inf, f"{len(wrong)} of {len(got.view(width))} differ, the first is element {at}: {got.view(width)[at]}, not {want.view(width)[at]}")
    with np.errstate(invalid="ignore"):  # signalling NaNs
        a, b = floats(got, kind).astype(np.float64), floats(want, kind).astype(np.float64)
        finite = np.isfinite(b)
        same = np.isfinite(a) == finite
        same &= finite | (np.isnan(a) & np.isnan(b)) | (a == b)
    if not same.all():
        at = int(np.argmin(same))
        return Difference(np.inf, f"element {at} is {a[at]}, not {b[at]}; {int((~same).sum())} of {len(a)} such")
    a, b = a[finite], b[finite]
    if len(b) == 0:
        return Difference(0.0, "")
    error = np.linalg.norm(a - b) / max(np.linalg.norm(b), scale * np.sqrt(len(b)), 1e-30)
    at = int(np.argmax(np.abs(a - b)))
    return Difference(float(error), f"relative L2 error {error:.3g} of {len(b)}; most at {at}: {a[at]:.9g}, not {b[at]:.9g}")
