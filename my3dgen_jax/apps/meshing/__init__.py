"""Surfaces of latents, with vertex colors or a texture, and their files.

Coordinates are those of the world that `apps.rendering` draws.
"""
