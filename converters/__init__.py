"""PyTorch files in and out; the only place that knows their formats."""
