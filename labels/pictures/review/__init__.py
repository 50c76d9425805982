"""The review page: its server, its requests, its files."""
