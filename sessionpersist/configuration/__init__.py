"""What staff do: the form, the probe behind it, and what the page shows."""
