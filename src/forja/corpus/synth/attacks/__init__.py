"""The intrusions by name: each a function of a site, a stream of numbers, and whether it happens."""

from __future__ import annotations

from collections.abc import Callable

from forja.corpus.synth.attacks import identity, network, processes, unix, web, windows
from forja.corpus.synth.grammar import Draw
from forja.corpus.synth.site import Site, Story

ATTACKS: dict[str, Callable[[Site, Draw, bool], Story]] = {
    **unix.ATTACKS,
    **windows.ATTACKS,
    **processes.ATTACKS,
    **web.ATTACKS,
    **network.ATTACKS,
    **identity.ATTACKS,
}
