"""The pyramid levels of a network: finding them and reading their maps."""
