"""Reads and writes PyTorch files; the only place that knows their formats."""

import my3dgen_jax._startup  # noqa: F401 (says what is missing)
