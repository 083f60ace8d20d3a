"""Parts of `apps.enhance`: tasks, photos, masks and cases.

Imports `person`, `data`, `ops` and `training`, and nothing of `apps.enhance`.
"""
