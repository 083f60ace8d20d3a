"""A head in one HTML file: its radiance field as bytes, and the page around it.

`page/` contains the page's own files: HTML, style, scripts and shader, in
readable form. Imports the same packages as `apps`.
"""
