"""tools/analysis/cache_size.py tells what a cache of the teacher's maps takes."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools/analysis/cache_size.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location('cache_size', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_add_up(tool, run_config, tmp_path, plain_config_text, capsys):
    config = tmp_path / 'config.py'
    config.write_text(run_config().pretty_text)
    tool.main([str(config), '--size', '64', '96', '--images', '1000'])
    rows = [line.replace('│', ' ').split()
            for line in capsys.readouterr().out.splitlines()]
    # 16 channels at strides of 4 to 32, two bytes and four.
    kilobytes = [16 * 6 * 4**k * 2 / 1e3 for k in (3, 2, 1, 0)]
    found = {row[0]: list(map(float, row[1:])) for row in rows
             if row and row[0] in ('P2', 'P3', 'P4', 'P5', 'all')}
    for name, kb in zip(found, [*kilobytes, sum(kilobytes)], strict=True):
        assert found[name] == pytest.approx(
            [kb, kb / 1e3, 2 * kb, 2 * kb / 1e3], abs=0.051)
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(config), '--size', '0', '96'])
