"""Damage done to bytes, as disks, copies and people with bad intentions do it."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff" * 10, b"\xff\xff\xff\xff\x0f", b"\x80" * 9 + b"\x01", b"\x0a\x00", b"\x00" * 64]
INTERESTING += [(2**power).to_bytes(8, "little") for power in (31, 32, 60, 63)] + [b"\x12\xff\xff\xff\xff\x07", b"\x0b", b"\x0c", b"a{" * 200]


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return one of ``seeds``, damaged in one to four places."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        at = chance.randrange(len(content) + 1)
        end = min(len(content), at + chance.choice((1, 1, 2, 4, 16, 256, 4096)))
        match chance.randrange(9):
            case 0:
                del content[at:]
            case 1:
                del content[at:end]
            case 2 | 3 if at < len(content):
                content[at] ^= 1 << chance.randrange(8)
            case 4 if at < len(content):
                content[at] = chance.randrange(256)
            case 5:
                content[at:at] = content[at:end] * chance.choice((1, 2, 100))
            case 6:
                content[at:at] = chance.choice(INTERESTING)
            case 7:
                content[at:end] = chance.choice(INTERESTING)
            case _:
                other = chance.choice(seeds)
                start = chance.randrange(len(other) + 1)
                content[at:at] = other[start : start + chance.choice((4, 64, 1024))]
    return bytes(content[: 1 << 21])
