"""Surfaces of latents, in colors or with a texture, and their files.

They lie in the world that `apps.rendering` draws.
"""
