"""Speed, measured side by side: ``python -m benchmarks --help``.

Everything is compared in one run on the same real server, in turns, so that a busy machine slows all sides alike.
"""
