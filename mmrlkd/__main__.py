"""Run another library's script on configs that inherit from this package's.

    python -m mmrlkd SCRIPT [ARGUMENTS …]

mmengine resolves ``_base_ = ['mmrlkd::…']`` only once this package has been
imported, which mmdet's ``tools/train.py`` and the like do not do.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(f'{__doc__}\nSCRIPT is not a file: '
                 f'{sys.argv[1] if len(sys.argv) > 1 else "(none)"} '
                 f'(relative to {Path.cwd()}).')
    del sys.argv[0]
    # ``python SCRIPT`` puts the script's folder first on the path, too.
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
