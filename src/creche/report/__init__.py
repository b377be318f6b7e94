"""A run on one page of HTML, made from a `History`.

`_phases`, `_critical`, `_lanes` and `_use` work out what the events say; `_columns` is what the page's
scripts get, `_overview` what stands in its text; `_page` puts both into the files of `page/`.
"""
