"""Timings, one script a question; each writes its table to BENCHMARKS.md."""
