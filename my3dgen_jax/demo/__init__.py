"""The built-in demo: procedural people, their albums, and a prior of them."""
