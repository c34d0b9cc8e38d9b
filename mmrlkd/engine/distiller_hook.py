"""What tells the hooks of a method from those of a user."""

from mmengine.hooks import Hook


class DistillerHook(Hook):
    """A hook that belongs to a distillation method.

    It needs a :class:`~mmrlkd.distillation.PyramidDistiller`, so it is left
    out where the student is run alone; and it is replaced with the method
    (``--method``), other hooks are not.
    """
