"""Training an encoder on a generator's own pictures: what it learns from, and by.

`samples` are the pictures, `augmentation` what happens to photos, `metric` how
much a change of w shows, `objective` and `step` what is optimized.
"""
