"""How the levels of an image are weighed against each other."""
