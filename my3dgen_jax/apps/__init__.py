"""What one does with a generator: each application a function or two."""
