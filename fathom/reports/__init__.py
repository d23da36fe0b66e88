"""Numbers become pages. In: results and episodes. Out: tables, plots, one self-contained HTML page."""
