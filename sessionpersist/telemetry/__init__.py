"""How the app tells how it is: readiness, metrics, traces and the lines of its log."""
