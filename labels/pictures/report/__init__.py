"""The report over all rounds: tables, charts, the page."""
