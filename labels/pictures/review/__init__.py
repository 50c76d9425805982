"""The review page: its server, what it asks and is told, its files."""
