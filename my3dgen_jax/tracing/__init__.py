"""How functions are traced: by platform, derivative, mesh and dtype.

Knows no models; `ops` and everything above it use it.
"""
