"""What a session is: how it is sealed, how parallel saves merge, and how another engine's session is taken over."""
