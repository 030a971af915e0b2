"""What the page shows beside the form, a module for each panel.

All of it is read from the database, not from what this process remembers: staff who have just saved want to see it.
Only ``count=True`` asks the draining stores, and counts no further than is quick.
"""
