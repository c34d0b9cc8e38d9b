"""What earlier versions had is answered with what gives the same."""

import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmrlkd.config.compose import add_method_argument, load_config, method_names
from mmrlkd.config.removed import CONFIGS, METHODS

ROOT = Path(__file__).parents[2]
PAIR = ROOT / 'configs/demo/detection.py'


@pytest.mark.parametrize('name', METHODS)
def test_a_methods_new_form_is_a_command_that_changes_what_it_says(name):
    parser = ArgumentParser()
    add_method_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args(shlex.split(METHODS[name]))
    assert name not in method_names()
    cfg = load_config(PAIR, args.method, args.cfg_options)
    base = load_config(PAIR, args.method)
    for key, value in args.cfg_options.items():
        node = cfg
        for part in key.split('.'):
            node = node[part]
        assert node == value
    assert (cfg.model, cfg.get('search')) != (base.model, base.get('search'))


@pytest.mark.parametrize('name', ['ppo_one_step', 'manual-deep'])
def test_the_old_name_of_a_method_is_answered_with_the_new_form(name):
    with pytest.raises(ValueError, match='was removed; accepted: --method '
                                         '(ppo|uniform) --cfg-options'):
        load_config(PAIR, name)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_that_inherits_one_is_answered_likewise(name, tmp_path):
    assert not (ROOT / 'configs' / name).exists()
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = ['mmrlkd::{name}']\n")
    with pytest.raises(FileNotFoundError) as error:
        load_config(path)
    assert str(error.value) == f'{name} was removed; accepted: {CONFIGS[name]}'


def test_another_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='opposite.py'):
        load_config(tmp_path / 'methods/opposite.py')
    with pytest.raises(FileNotFoundError, match=(
            r'^CONFIG gone\.py \(relative to /.*\) is not a file; accepted')):
        load_config('gone.py')
