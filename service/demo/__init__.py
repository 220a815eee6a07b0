"""The demo: one command that runs the whole service, with a database and a broker of its own."""
