"""How large the project is: config files, lines of the library, longest file.

    python benchmarks/house.py
"""

import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def count_lines(path: Path) -> tuple[int, int]:
    """Lines of code (neither blank, comment nor docstring) and of comments."""
    source = path.read_text(encoding='utf-8')
    code: set[int] = set()
    comments: set[int] = set()
    fresh = True  # at the start of a statement, where a string is a docstring
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            fresh = True
        elif token.type not in (tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER):
            if not (fresh and token.type == tokenize.STRING):
                code.update(range(token.start[0], token.end[0] + 1))
            fresh = False
    return len(code), len(comments)


def python_files(folder: str) -> list[Path]:
    """All Python files of ``folder``, without what installing puts there."""
    return [path for path in sorted((ROOT / folder).rglob('*.py'))
            if '.mim' not in path.parts]


def main() -> None:
    """Print one line for each part, then the longest file of the library."""
    print(f'{"folder":<12}{"files":>7}{"lines":>8}{"code":>8}{"comments":>10}')
    for folder in ('mmrlkd', 'projects', 'tools', 'configs', 'tests', 'benchmarks'):
        files = python_files(folder)
        lines = sum(len(path.read_text('utf-8').splitlines()) for path in files)
        counts = [count_lines(path) for path in files]
        code, comments = (sum(column) for column in zip(*counts or [(0, 0)]))
        print(f'{folder:<12}{len(files):>7}{lines:>8}{code:>8}{comments:>10}')
    longest = max(python_files('mmrlkd'),
                  key=lambda path: len(path.read_text('utf-8').splitlines()))
    number = len(longest.read_text('utf-8').splitlines())
    print(f'longest file of the library: {longest.relative_to(ROOT)}, {number} lines')


if __name__ == '__main__':
    main()
