import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import pytest

from mmrlkd.evaluation.results import Results
from mmrlkd.visualization import FIGURES, render, save_figures
from mmrlkd.visualization.style import to_svg

ROOT = Path(__file__).parents[2]


class Links(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.targets += [value for name, value in attrs
                         if name in ('href', 'src', 'xlink:href')]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize('seeds', [1, 3])
def test_the_page_is_whole_and_self_contained(make_results, seeds) -> None:
    before = dict(matplotlib.rcParams)
    page = render(make_results(ppo=(.40, .41, .43)[:seeds]))
    links = Links(page)
    assert 'http' not in page and '@import' not in page
    assert not re.search(r'url\((?!#)', page)
    assert all(t.startswith(('#', 'data:')) for t in links.targets)
    text = ' '.join(links.words)
    for name in ('teacher', 'student alone', 'uniform', 'PPO'):
        assert name in links.words
    for shown in FIGURES.values():
        assert shown.caption in text and shown.missing not in text
    assert page.count('<svg') == len(FIGURES)
    assert 'data:image/png' in page  # the examples
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(('task', 'axis', 'missing'), [
    ('segmentation', 'mIoU', []), ('instance', 'mask mAP', []),
    ('classification', 'top-1 accuracy', ['examples'])])
def test_every_task_has_its_page(make_results, task, axis, missing) -> None:
    results = make_results(kd=(.36, ), task=task)
    page = render(results)
    assert [name for name, shown in FIGURES.items()
            if shown.missing in page] == missing
    panel = FIGURES['cost_quality'].draw(results).axes[0]
    assert panel.get_ylabel() == f'{axis} of the student'
    titles = [panel.get_title(loc='left')
              for panel in FIGURES['curves'].draw(results).axes]
    assert 'logit loss, weighted' in titles


def test_the_same_results_give_the_same_figure(make_results) -> None:
    results = make_results()
    draw = FIGURES['selection'].draw
    assert to_svg(draw(results), 'a') == to_svg(draw(results), 'a')


def test_what_is_missing_is_said(make_results) -> None:
    full = make_results()
    bare = Results({}, [r for r in full.runs if not r.distils])
    page = render(bare)
    for name, shown in FIGURES.items():
        assert (shown.missing in page) == (name != 'curves')


def test_images_that_are_gone_are_left_out(make_results) -> None:
    results = make_results()
    assert FIGURES['examples'].draw(results) is not None
    Path(results.examples[0].path).unlink()
    assert FIGURES['examples'].draw(results) is None


def test_names_are_escaped(make_results) -> None:
    full = make_results()
    bare = Results({'command': 'demo <script>'}, full.runs[:1])
    assert '<script>' not in render(bare)


def test_figures_for_the_readme(make_results, tmp_path: Path) -> None:
    written = save_figures(make_results(), tmp_path / 'images')
    assert [path.name for path in written] == [
        'cost_quality.png', 'selection.png', 'examples.png']
    assert all(path.read_bytes().startswith(b'\x89PNG') for path in written)


def test_the_tool_needs_the_file_alone(
        make_results, tmp_path: Path, capsys) -> None:
    main = runpy.run_path(str(ROOT / 'tools/analysis/report.py'))['main']
    results = make_results()
    file = tmp_path / 'results.json'
    file.write_text(results.dumps())
    main([str(file)])
    assert 'report.html is written' in capsys.readouterr().out
    page = (tmp_path / 'report.html').read_text()
    assert page.count('<svg') == len(FIGURES)

    file.write_text('{}')
    with pytest.raises(SystemExit, match='these are no results'):
        main([str(file)])
