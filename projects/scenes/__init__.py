"""A generated data set: real objects on textured canvases, of known difficulty.

A config that reads it names the module of its library in ``custom_imports``:
``projects.scenes.detection`` or ``projects.scenes.segmentation``.
"""
