"""Training of an encoder on the generator's own images.

`samples` makes the images, `augmentation` degrades them like photos, `metric`
measures how visible a change of w is, `objective` and `step` are the loss and
the optimization.
"""
