"""``make setup``, with a Python that only writes down what it is asked for."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: torchvision fits from the beginning, once it was installed, or never.
PYTHON = '''#!/bin/sh
echo "$*" >> calls
case "$*" in
    *"import torchvision"*) test -f fits ;;
    *partition*) echo "--index-url https://download.pytorch.org/whl/cpu" ;;
    *force-reinstall*torchvision*) test {when} != never && touch fits ;;
esac
'''


@pytest.mark.parametrize(
    ('when', 'reinstalled', 'told'),
    [('always', 0, False), ('installed', 1, False), ('never', 1, True)])
def test_setup_installs_the_torchvision_that_fits_torch_or_says_it(
        tmp_path: Path, when: str, reinstalled: int, told: bool) -> None:
    for name in ('Makefile', 'setup.py', 'pyproject.toml', 'requirements',
                 'mmrlkd/version.py'):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    python = tmp_path / '.venv/bin/python'
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(when=when))
    python.chmod(0o755)
    if when == 'always':
        (tmp_path / 'fits').touch()

    done = subprocess.run(['make', 'setup'], cwd=tmp_path, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / 'calls').read_text().splitlines()
    installs = [call for call in calls
                if '--force-reinstall' in call and 'torchvision==' in call]
    assert len(installs) == reinstalled
    assert all(' --index-url https://download.pytorch.org/whl/cpu '
               'torchvision==' in call for call in installs)
    assert ('same build as torch' in done.stderr) == told
    assert (tmp_path / '.venv/.done/setup').is_file()
