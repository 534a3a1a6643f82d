"""The corpus room: raw sources in; cleaned, masked, deduplicated documents out.

Others use `build.build_corpus` (the stage), `signature.source_signature` (have the inputs changed?),
and `documents.read_documents` (batches of a finished corpus). They are imported from those modules,
so that importing the room costs nothing.
"""
