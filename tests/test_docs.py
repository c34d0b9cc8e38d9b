"""What the documentation shows exists: configs, commands, links."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmrlkd.config.compose import load_config, method_names

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
        if tool.startswith('benchmarks/'):  # they share options
            source += (ROOT / 'benchmarks/_measure.py').read_text()
        options = set(re.findall(r"'(--[\w-]+)'", source))
        options |= {f'--{flag}' for flag in re.findall(r"Sweep\(\s*'(\w+)'", source)}
        if 'add_method_argument(' in source:
            options.add('--method')
        option = None
        for word in words:
            if word.startswith('--'):
                option = word.partition('=')[0]
                if tool.endswith('.py'):
                    # argparse's BooleanOptionalAction has a --no-… for each.
                    assert {option, option.replace('--no-', '--')} & options, (
                        tool, option)
            elif option == '--method' and '/' not in word:
                assert word in method_names(), (tool, word)
            for path in expand(word):
                if path.startswith('configs/'):
                    assert (ROOT / path).is_file(), (tool, path)


def test_every_method_is_documented():
    """In the overview, and with what it does on a page of its own or more."""
    docs = ROOT / 'docs'
    table = (docs / 'README.md').read_text().partition('## Methods')[2]
    rows = re.findall(r'^\| \[.*?\|', table.partition('\n## ')[0], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r'`(\w+)`', row)]
    assert sorted(named) == method_names()
    pages = ''.join(page.read_text() for page in (docs / 'methods').glob('*.md'))
    for name in method_names():
        assert f'`{name}`' in pages, name


def test_the_readme_shows_the_pair_that_it_names():
    text = (ROOT / 'README.md').read_text()
    path = re.search(r'\[`(configs/detection/[^`]+)`\]', text)[1]
    shown = re.search(r'```python\n(.*?)```', text, re.DOTALL)[1]
    # But for the first two lines: the path of the method, where to search.
    assert shown.splitlines()[1:] == (
        ROOT / path).read_text().splitlines()[2:]
