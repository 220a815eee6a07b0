"""One outside thing each. Siblings meet in app.py."""
