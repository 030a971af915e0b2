"""The site in real processes (gunicorn, several workers and threads), and clients that use it."""
