"""Which documents are left out so that a source, or synthetic text, is no more than its share of the corpus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from forja.corpus.clusters import Clusters
from forja.corpus.staging import Staged
from forja.recipe import CorpusSection


def over_share(section: CorpusSection, staged: Staged, clusters: Clusters) -> npt.NDArray[np.int64]:
    """Places left out, rising. Ids are digests, so taking those of the least ids takes a fair sample."""
    limits = [
        (source.share, "sources", number) for number, source in enumerate(section.sources) if source.share is not None
    ]
    if section.synthetic_share < 1:
        limits.append((section.synthetic_share, "synthetic", 1))
    if not limits or not staged.places:
        return np.zeros(0, np.int64)
    every = np.arange(staged.places)
    sizes = np.asarray(staged.gather("sizes", every)).copy()
    sizes[clusters.left_out] = 0
    out = np.zeros(staged.places, bool)
    for share, name, value in limits:
        own = np.asarray(staged.gather(name, every)) == value
        rest = int(sizes[~own & ~out].sum())
        room = share / (1 - share) * rest if share < 1 else np.inf
        mine = np.flatnonzero(own & ~out)
        out[mine[np.cumsum(sizes[mine]) > room]] = True
    return np.flatnonzero(out)
