"""Where each user is signed in: the record that lists it, the limit that goes by it, and how a session gets into it."""
