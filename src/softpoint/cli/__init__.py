"""What the commands beside it share; nothing here is run by itself."""
