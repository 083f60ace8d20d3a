"""Pictures and videos of latents, and where cameras stand and go.

Every application draws with it.
"""
