"""What chooses the levels of an image, and what it is paid for."""
