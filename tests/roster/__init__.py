"""What a session is: policy."""
