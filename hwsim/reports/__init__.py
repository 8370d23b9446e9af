"""Reports for people and for tools: one HTML page, CSV, a Perfetto trace.

`system_page` and `design_page` decide what a page shows, `charts` what a chart is made of, the templates only lay it out.
"""
