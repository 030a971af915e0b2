"""What the site does without anybody asking: move what is left in a draining store, and clear expired sessions.

``threads`` begins with the first request that a process serves (or websocket, see ``sockets``), and runs until the
process ends. ``lease`` has one process at a time do it; ``mover`` and ``clearing`` are the work; ``progress`` tells how
far it is.
"""
