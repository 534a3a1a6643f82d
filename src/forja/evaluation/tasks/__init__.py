"""One module a task: each has `evaluate(subject, data)`. Which there are, by name, is in `registry.py`."""
