"""People and programs call it. In: runs. Out: HTTP services, tools for other agents, pages."""
