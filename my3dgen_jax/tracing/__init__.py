"""How functions are traced: by platform, derivative, mesh and number type.

Knows of no model; `ops` and all above are written with it.
"""
