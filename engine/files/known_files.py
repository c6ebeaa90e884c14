"""Which files a run trains, validates and tests on: stored in its checkpoints, compared when it resumes.

A file is identified by an eight-byte hash of its name within the data set, so the data set may be moved.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.files.listing import Listing

LOOKED_AT = 64  # files per split whose size is compared as well

Known = Mapping[str, Mapping[str, Any]]  # by split: `names` (N,) int64, hashes in order, and `digest` of the rest


def hashes(listing: Listing) -> Tensor:
    """Return the hash (N,) int64 of each image's name."""
    names = (name.encode("utf-8", "surrogateescape") for name in listing.images)
    digests = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return torch.frombuffer(bytearray(digests), dtype=torch.int64) if digests else torch.zeros(0, dtype=torch.int64)


def known_files(listings: Mapping[str, Listing]) -> dict[str, dict[str, Any]]:
    """Return the hashes of names and the digest of each split, as plain values for a checkpoint."""
    return {split: {"names": hashes(listing), "digest": _digest(listing)} for split, listing in listings.items()}


def _digest(listing: Listing) -> str:
    """Return a digest of labels, numbers, boxes, partners' names, and the sizes of some files."""
    digest = hashlib.blake2b(digest_size=8)
    for table in (listing.labels, listing.numbers, None if listing.boxes is None else listing.boxes.values):
        digest.update(b"" if table is None else table.contiguous().numpy().tobytes())
    for name in listing.partners or ():
        digest.update(name.encode("utf-8", "surrogateescape"))
    for index in torch.linspace(0, len(listing) - 1, min(LOOKED_AT, len(listing))).long().tolist():
        try:
            digest.update(str(listing.image(index).stat().st_size).encode())
        except OSError:
            digest.update(b"?")
    return digest.hexdigest()


def as_known(value: Any) -> Known | None:
    """Return a checkpoint's entry about its files; None if it is not of that form."""
    if not isinstance(value, Mapping) or not all(isinstance(entry, Mapping) for entry in value.values()):
        return None
    names = [entry.get("names") for entry in value.values()]
    return value if all(isinstance(n, Tensor) and n.dtype == torch.int64 and n.ndim == 1 for n in names) else None


def changes(before: Known, now: Mapping[str, Mapping[str, Any]], listings: Mapping[str, Listing]) -> str | None:
    """Describe in a few words how the files differ from `before`; None if they do not."""
    same = before.keys() == now.keys() and all(torch.equal(before[s]["names"], now[s]["names"]) for s in now)
    if same:
        digests = all(before[split].get("digest") == now[split]["digest"] for split in now)
        return None if digests else "targets or file contents changed"
    old = torch.cat([entry["names"] for entry in before.values()])
    new = torch.cat([entry["names"] for entry in now.values()])
    gone, added = int((~torch.isin(old, new)).sum()), ~torch.isin(new, old)
    if not gone and not added.any():
        return "files moved to other splits or are in another order"
    first = ""
    if added.any():
        names = [(listing, i) for listing in listings.values() for i in range(len(listing))]
        listing, index = names[int(added.nonzero()[0])]
        first = f" (first: {listing.images[index]})"
    return f"{int(added.sum()):,} new{first}, {gone:,} gone"
