"""Measurements, one script per question; some write tables to BENCHMARKS.md."""
