"""Pictures, videos and meshes of latents, and where cameras stand and go.

Every application draws with it.
"""
