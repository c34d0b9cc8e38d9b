"""Build ``mmrlkd``, with its configs and tools inside as OpenMMLab expects.

``mim`` and ``_base_ = 'mmrlkd::…'`` look for ``mmrlkd/.mim/``. An editable
install links it to this checkout; a wheel carries copies.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_PARTS = ('configs', 'tools', 'model-index.yml')
#: Tools that need projects/, which is not installed.
CHECKOUT_ONLY = ('demo.py', 'compare.py', 'study.py', 'pilot.py', 'meta_study.py',
                 'analysis', 'make_scenes.py')


class BuildWithMim(build_py):
    """``build_py`` that adds ``.mim``.

    setuptools runs it for wheels and for editable installs and says which in
    ``editable_mode``; ``sys.argv``, where OpenMMLab's ``setup.py`` looks, does
    not say it in a PEP 517 build.
    """

    def run(self) -> None:
        super().run()
        add_mim_extension(
            ROOT if self.editable_mode else Path(self.build_lib),
            link=self.editable_mode)


def add_mim_extension(library: Path, link: bool) -> None:
    """Put configs, tools and the model index in ``library/mmrlkd/.mim``."""
    mim = library / 'mmrlkd' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)  # does not follow links
    mim.mkdir(parents=True)
    for part in MIM_PARTS:
        source, target = ROOT / part, mim / part
        if link:
            try:
                # Relative, so that a moved checkout still works.
                target.symlink_to(os.path.relpath(source, mim))
                continue
            except OSError:  # Windows without the right to link
                pass
        if source.is_dir():
            shutil.copytree(
                source, target,
                ignore=shutil.ignore_patterns(
                    '__pycache__', '*.py[cod]',
                    *(CHECKOUT_ONLY if part == 'tools' else ())))
        else:
            shutil.copy2(source, target)


def read_version() -> str:
    text = (ROOT / 'mmrlkd' / 'version.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)
    if match is None:
        raise ValueError("mmrlkd/version.py has no line __version__ = '…'")
    return match.group(1)


def read_requirements(name: str) -> list[str]:
    text = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8')
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


EXTRAS = {
    'mim': read_requirements('mminstall'),
    'seg': read_requirements('seg'),
    'cls': read_requirements('cls'),
    'demo': read_requirements('demo'),
    'search': read_requirements('search'),
    'balancing': read_requirements('balancing'),
    'budget': read_requirements('budget'),
    'cache': read_requirements('cache'),
    'optional': read_requirements('optional'),
    'tests': read_requirements('tests'),
}
EXTRAS['all'] = sorted({line for lines in EXTRAS.values() for line in lines})

readme = ROOT / 'README.md'

setup(
    name='mmrlkd',
    version=read_version(),
    description='Feature-pyramid distillation for OpenMMLab that learns, for '
    'each image, which levels are worth their cost',
    long_description=readme.read_text('utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['computer vision', 'knowledge distillation',
              'reinforcement learning', 'object detection',
              'semantic segmentation', 'image classification'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmrlkd', 'mmrlkd.*']),
    package_dir={'': '.'},  # an editable install is then one plain path
    include_package_data=False,
    python_requires='>=3.11',
    install_requires=read_requirements('runtime'),
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
