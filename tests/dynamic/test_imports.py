"""What the latency budget must not know."""

import ast
from pathlib import Path

import mmrlkd.dynamic


def test_it_imports_no_distiller():
    for path in Path(mmrlkd.dynamic.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            module = getattr(node, 'module', None)
            names = [each.name for each in getattr(node, 'names', ())]
            for name in [module, *names]:
                assert not str(name).startswith(
                    ('mmrlkd.distillation', 'projects', 'tools')), path
