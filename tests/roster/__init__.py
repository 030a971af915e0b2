"""Where each user is signed in: entering, the limit."""
