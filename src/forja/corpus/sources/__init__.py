"""Where documents come from: one file a kind of source, each giving records in a fixed order."""
