"""Attributes are replaced for a while, and are as before after it."""

import pytest
from torch import nn

from mmrlkd.dynamic.patching import Patches


def test_the_last_patch_holds_and_all_are_undone():
    module, other = nn.Identity(), nn.Identity()
    module.option = 1
    before = dict(vars(module))
    with Patches([(module, 'option', 2), (other, 'forward', abs)]):
        with Patches([(module, 'option', 3), (module, 'forward', abs),
                      (module, 'option', 4)]):
            assert module.option == 4 and module(-5) == other(-5) == 5
        assert module.option == 2 and module(-5) == -5 and other(-5) == 5
    assert vars(module) == before
    assert 'forward' not in vars(other)


def test_an_exception_undoes_them():
    module = nn.Identity()
    with pytest.raises(KeyError), Patches([(module, 'forward', abs)]):
        raise KeyError
    assert module(-5) == -5
