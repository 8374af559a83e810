"""Benchmarks: each measures its own limit, the bare cost of the same work, in the same run."""
