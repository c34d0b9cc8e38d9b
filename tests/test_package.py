"""What a user gets by installing: the right files, versions and a quick import."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mmrlkd

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / 'requirements'


def python(code: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, **kwargs)


def read_requirements(path: Path) -> list[Requirement]:
    lines = (line.partition('#')[0].strip()
             for line in path.read_text(encoding='utf-8').splitlines())
    return [Requirement(line) for line in lines if line]


def a_base_config() -> str:
    configs = ROOT / 'configs'
    first = min((configs / '_base_').rglob('*.py'))
    return first.relative_to(configs).as_posix()


# --- import -----------------------------------------------------------------


def test_version_is_the_installed_one():
    assert mmrlkd.__version__ == version('mmrlkd')


def test_version_has_an_entry_in_the_changelog():
    changelog = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert f'\n## [{mmrlkd.__version__}]' in changelog


def test_import_is_quiet_and_loads_nothing_heavy():
    done = python(
        'import mmrlkd, sys\n'
        "heavy = {'torch', 'torchvision', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain',"
        " 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        'assert not heavy, heavy')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


# --- configs in the installed package -----------------------------------------


def test_base_config_by_package_name(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f"_base_ = 'mmrlkd::{a_base_config()}'\nmine = 1\n")
    cfg = Config.fromfile(config)
    assert cfg.mine == 1
    assert len(cfg) > 1


def test_get_config_reads_the_model_index():
    assert len(get_config(f'mmrlkd::{a_base_config()}')) > 0


def test_files_named_by_the_model_index_exist():
    index = Config.fromfile(ROOT / 'model-index.yml')
    assert index.Import
    for path in index.Import:
        metafile = Config.fromfile(ROOT / path)
        for model in metafile.Models:
            if not model.get('Published'):  # others are other packages'
                assert (ROOT / model.Config).is_file(), model.Name


# --- the wheel ----------------------------------------------------------------


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of the tree that has one more config, ``probe.py``."""
    tree = tmp_path_factory.mktemp('tree') / 'mmrlkd'
    shutil.copytree(
        ROOT, tree, symlinks=True, ignore=lambda folder, names: {
            name for name in names
            if name in ('__pycache__', '.venv', '.git')
            or (Path(folder) == ROOT and name in ('data', 'work_dirs', 'build'))})
    (tree / 'configs' / '_base_' / 'probe.py').write_text('probe = 1\n')
    out = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-qq', '--no-deps',
         '--no-build-isolation', '--disable-pip-version-check', '-w', out, tree],
        check=True)
    return next(out.glob('*.whl'))


def test_wheel_has_code_configs_and_tools_only(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {'mmrlkd/__init__.py', 'mmrlkd/.mim/model-index.yml',
            'mmrlkd/.mim/configs/_base_/probe.py',
            'mmrlkd/.mim/tools/dist_train.sh'} <= names
    tops = {name.split('/')[0] for name in names}
    assert tops == {'mmrlkd', f'mmrlkd-{mmrlkd.__version__}.dist-info'}
    assert not [name for name in names if '__pycache__' in name]
    modules = {path.relative_to(ROOT).as_posix()
               for path in (ROOT / 'mmrlkd').rglob('*.py')
               if '.mim' not in path.parts}
    assert modules <= names  # a folder without __init__.py would be left out


def test_wheel_resolves_its_configs_where_it_is_installed(wheel, tmp_path):
    site = tmp_path / 'site'
    zipfile.ZipFile(wheel).extractall(site)
    done = python(
        'import mmrlkd\n'
        'from mmengine.config import Config\n'
        f'assert mmrlkd.__file__.startswith({str(site)!r}), mmrlkd.__file__\n'
        "text = \"_base_ = 'mmrlkd::_base_/probe.py'\"\n"
        "assert Config.fromstring(text, '.py').probe == 1",
        cwd=tmp_path, env={'PYTHONPATH': str(site)})
    assert done.returncode == 0, done.stderr


# --- requirements -------------------------------------------------------------


@pytest.mark.parametrize(
    'path', sorted(REQUIREMENTS.glob('*.txt')), ids=lambda path: path.stem)
def test_requirements_parse(path):
    assert read_requirements(path)


@pytest.mark.parametrize(
    'name', ['build', 'mminstall', 'runtime', 'seg', 'cls', 'balancing', 'tests'])
def test_what_setup_installs_is_pinned(name):
    pins = {canonicalize_name(r.name): r
            for r in read_requirements(REQUIREMENTS / 'constraints.txt')}
    for requirement in read_requirements(REQUIREMENTS / f'{name}.txt'):
        pin = str(pins[canonicalize_name(requirement.name)].specifier)
        assert re.fullmatch(r'==[\w.]+', pin), requirement.name
        assert requirement.specifier.contains(pin.removeprefix('=='))
