"""Random damage of the bytes of an input, for benchmarks/mutations.py."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

HUGE = (b"9" * 12, b"-1", b"1e999", b"NaN", b"0", b"[" * 2000, b"../../../x")
WORDS = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\1\0", b"\x80\0\0\0")


def mutated(draw: random.Random, seed: bytes, others: Sequence[bytes]) -> bytes:
    """Return a seed with one to six random changes."""
    data = bytearray(seed)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        at = draw.randrange(len(data) + 1)
        if draw.random() < 0.5:  # headers are at the start
            at = draw.randrange(min(len(data), 200) + 1)
        end = min(len(data), at + draw.choice((1, 1, 2, 4, 16, 400)))
        match draw.randrange(8):
            case 0 | 1:
                data[at:end] = draw.randbytes(end - at)
            case 2:
                data[at : at + 4] = draw.choice(WORDS)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * draw.choice((1, 2, 1000))
            case 5:
                numbers = list(re.finditer(rb"\d+", data))[:5000]
                if numbers:
                    number = draw.choice(numbers)
                    data[number.start() : number.end()] = draw.choice(HUGE)
            case 6:
                del data[at:]
            case 7:
                data[at:end] = (other := draw.choice(others))[min(at, len(other)) : end]
    return bytes(data)
