"""Pictures and videos of latents, and camera positions and paths.

Every application renders with it.
"""
