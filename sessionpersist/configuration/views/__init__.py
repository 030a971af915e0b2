"""The views of the page: one module for each thing that staff can do."""
