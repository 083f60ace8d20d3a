"""A head in one HTML file: its radiance field as bytes, and the page around it.

`page/` holds what a browser runs: HTML, style, script and shader, readable as
they are. Imports what `apps` may.
"""
