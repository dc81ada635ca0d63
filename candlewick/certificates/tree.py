"""The Merkle tree over the leaves of a certificate, as in RFC 6962, section 2.1."""

import hashlib
from collections.abc import Sequence

_NODE_PREFIX = b"\x01"


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves, in their order; over none, the SHA-256 of nothing."""
    if not leaves:
        return hashlib.sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        # Pairs from the left, the odd one moves up as it is: the same tree as splitting at the largest power of two.
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(_NODE_PREFIX + left + right).digest() for left, right in pairs]
        level = above + level[len(above) * 2 :]
    return level[0]
