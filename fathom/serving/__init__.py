"""People and programs call it. In: a run. Out: HTTP services."""
