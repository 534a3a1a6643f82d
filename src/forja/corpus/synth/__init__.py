"""Security text made to order: policy passages, phishing mails, intrusion logs and prompt injections, each attack
with its innocent twin. `read_synth` gives an order's documents as records; `measure_variety` measures them."""

from __future__ import annotations

from forja.corpus.synth.order import Place, make_document, places, read_synth
from forja.corpus.synth.variety import Variety, measure_variety, skeleton

__all__ = ["Place", "Variety", "make_document", "measure_variety", "places", "read_synth", "skeleton"]
