"""Reading, composing and checking configs."""
