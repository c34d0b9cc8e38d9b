"""What the documentation shows exists: configs, commands, links."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmrlkd.config.compose import load_config

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')])
GUIDE = ROOT / 'docs/distil_your_own_pair.md'
#: Files that the guide tells the reader to write, by name.
WRITTEN = {
    name: f'{name}{text}' for name, text in re.findall(
        r'```python\n(# my_\w+\.py)(.*?)```', GUIDE.read_text(), re.DOTALL)
}


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize('name', WRITTEN)
def test_the_guides_configs_build_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location(
        'check', ROOT / 'tools/check.py')
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    config = tmp_path / name.removeprefix('# ')
    config.write_text(WRITTEN[name])
    cfg = load_config(config, cfg_options={'model.probe_size': 128})
    model = check.build(cfg, skip_weights=True)
    assert check.describe(model).row_count == len(model.levels) == 4


def test_the_guide_has_a_config_for_each_library():
    assert WRITTEN.keys() == {
        '# my_pair.py', '# my_segmentor.py', '# my_classifier.py'}


# -- links ----------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What headings are called in an address, as code hosts do it."""
    headings = re.findall(
        r'^#+ (.*)$', re.sub(r'```.*?```', '', page.read_text(),
                             flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
            for heading in headings}


@pytest.mark.parametrize('name', names(PAGES))
def test_links_lead_somewhere(name):
    page = ROOT / name
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'\w+:', link):  # another site
            continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


# -- commands -------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Every call of a tool in a block of shell lines, split into words."""
    blocks = re.findall(
        r'```(?:bash|sh|shell)\n(.*?)```', page.read_text(), re.DOTALL)
    for line in '\n'.join(blocks).replace('\\\n', ' ').splitlines():
        words = shlex.split(line, comments=True)
        for i, word in enumerate(words):
            if re.fullmatch(r'(\./)?(tools|benchmarks)/[\w/]+\.(py|sh)', word):
                yield words[i:]
                break


def expand(word: str) -> list[str]:
    """``a/{b,c}.py`` as a shell reads it."""
    match = re.search(r'\{([^{}]*,[^{}]*)\}', word)
    return [word] if match is None else [
        word.replace(match[0], part) for part in match[1].split(',')]


@pytest.mark.parametrize('name', names(
    [page for page in PAGES if any(commands(page))]))
def test_commands_name_tools_options_and_configs_that_exist(name):
    for tool, *words in commands(ROOT / name):
        source = (ROOT / tool).read_text()
        for word in words:
            if word.startswith('--') and tool.endswith('.py'):
                option = word.partition('=')[0]
                assert f"'{option}'" in source, (tool, option)
            for path in expand(word):
                if path.startswith('configs/'):
                    assert (ROOT / path).is_file(), (tool, path)
