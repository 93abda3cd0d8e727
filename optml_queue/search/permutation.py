"""A random order of 0 … size − 1 that needs no memory."""

from __future__ import annotations

from hashlib import blake2b, shake_256
from math import isqrt

_ROUNDS = 6


class Permutation:
    """A bijection of range(size) chosen by a key: a Feistel network on two digits, of radix about √size.

    What lands outside of the range is sent through again ("cycle walking"), which is seldom: the digits hold at most
    about 2 √size numbers too many. After J. Black and P. Rogaway (2002), Ciphers with Arbitrary Finite Domains,
    CT-RSA 2002, with a keyed hash as the round function; so it is the same on every platform and for ever.
    """

    def __init__(self, size: int, key: int | str) -> None:
        self._size = size
        self._left = isqrt(max(size - 1, 0)) + 1
        self._right = -(-size // self._left)
        self._keys = [f"{key}/{number}/" for number in range(_ROUNDS)]

    def __getitem__(self, index: int) -> int:
        """Where an index comes to lie. Raises IndexError outside of the range."""
        if not 0 <= index < self._size:
            raise IndexError(f"index {index} of a permutation of {self._size}")
        image = self._once(index)
        while image >= self._size:
            image = self._once(image)
        return image

    def index(self, image: int) -> int:
        """Which index comes to lie there: the inverse. Raises IndexError outside of the range."""
        if not 0 <= image < self._size:
            raise IndexError(f"{image} in a permutation of {self._size}")
        index = self._back(image)
        while index >= self._size:
            index = self._back(index)
        return index

    def _back(self, image: int) -> int:
        left, right = divmod(image, self._right)
        for rounds, key in reversed(list(enumerate(self._keys))):
            if rounds % 2:
                right = (right - _hash(f"{key}{left}", self._right)) % self._right
            else:
                left = (left - _hash(f"{key}{right}", self._left)) % self._left
        return left * self._right + right

    def _once(self, number: int) -> int:
        left, right = divmod(number, self._right)
        for rounds, key in enumerate(self._keys):
            if rounds % 2:
                right = (right + _hash(f"{key}{left}", self._right)) % self._right
            else:
                left = (left + _hash(f"{key}{right}", self._left)) % self._left
        return left * self._right + right


def _hash(text: str, radix: int) -> int:
    """A digit: a hash of so many bits that its remainder is as good as uniform."""
    if radix < 1 << 64:
        return int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big") % radix
    return int.from_bytes(shake_256(text.encode()).digest(radix.bit_length() // 8 + 8), "big") % radix
