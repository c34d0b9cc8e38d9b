"""Real pixels without the internet: objects to place and photos to place on.

``fashion-mnist``: 70 000 product photos from Debian's package
``dataset-fashion-mnist``, used where it is installed and otherwise fetched
into the user's cache by ``apt-get download`` and ``dpkg -x`` (no root).
``digits``: the 1797 scanned digits inside scikit-learn's wheel.
"""

import gzip
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

SOURCES = ('fashion-mnist', 'digits')
SPLITS = ('train', 'val')

_PACKAGE = 'dataset-fashion-mnist'
_INSTALLED = Path('usr/share/datasets/fashion-mnist')
_FASHION_LABELS = ('t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal',
                   'shirt', 'sneaker', 'bag', 'ankle-boot')
#: Five classes that differ in shape. The ten differ in details (shirt and
#: coat) that no detector sees in a dozen pixels.
_FASHION_GROUPS = {
    't-shirt': 'top', 'pullover': 'top', 'coat': 'top', 'shirt': 'top',
    'sandal': 'shoe', 'sneaker': 'shoe', 'ankle-boot': 'shoe',
    'trouser': 'trouser', 'dress': 'dress', 'bag': 'bag'}


class SourceUnavailable(RuntimeError):
    """A source of images cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class ObjectSource:
    """Grey images of single objects on black, in two disjoint pools.

    Attributes:
        name: ``'fashion-mnist'`` or ``'digits'``.
        images: (N, H, W) uint8, 0 where there is no object.
        classes: (K,) names in alphabetical order, which is the order of
            category ids and of the classification folders.
        pools: for each split, K arrays of indices into ``images``.
        threshold: intensity from which a pixel belongs to the object.
    """

    name: str
    images: np.ndarray
    classes: tuple[str, ...]
    pools: dict[str, tuple[np.ndarray, ...]]
    threshold: int

    def cut_out(self, index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Crop an object to its bounds and scale its longer side.

        Args:
            index: index into ``images``.
            side: longer side of the result, in pixels.

        Returns:
            Intensity and coverage, each (h, w) float32 in [0, 1]. The object
            is where coverage is at least one half.
        """
        image = self.images[index]
        rows, columns = np.nonzero(image >= self.threshold)
        grey = image[rows.min():rows.max() + 1,
                     columns.min():columns.max() + 1].astype(np.float32)
        coverage = np.minimum(grey / (2 * self.threshold), 1)
        scale = side / max(grey.shape)
        height, width = (max(1, round(n * scale)) for n in grey.shape)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return tuple(
            np.clip(cv2.resize(x, (width, height), interpolation=how), 0, 1)
            for x in (grey / 255, coverage))


def load_source(name: str, num_classes: int = 5) -> ObjectSource:
    """Load a source of objects.

    Args:
        name: one of ``SOURCES``, or ``'auto'`` for the first that is
            available.
        num_classes: 5 (garments grouped by shape; digits 0 to 4) or 10 (every
            class of the source).

    Raises:
        SourceUnavailable: if the source cannot be had here.
    """
    if name == 'auto':
        try:
            return load_source('fashion-mnist', num_classes)
        except SourceUnavailable as error:
            print_log(f'{error} Using scanned digits instead.', 'current')
            return load_source('digits', num_classes)
    if name == 'fashion-mnist':
        return _fashion_mnist(num_classes)
    if name == 'digits':
        return _digits(num_classes)
    raise ValueError(f'source must be auto, {", ".join(SOURCES)}; '
                     f'got {name!r}.')


def load_photos() -> tuple[np.ndarray, ...]:
    """Load the two photos inside scikit-learn's wheel.

    Returns:
        Arrays of (427, 640, 3) uint8, BGR.
    """
    datasets = _scikit_learn()
    return tuple(np.ascontiguousarray(datasets.load_sample_image(name)[..., ::-1])
                 for name in ('china.jpg', 'flower.jpg'))


def _fashion_mnist(num_classes: int) -> ObjectSource:
    """The photos of Xiao et al. 2017 (https://arxiv.org/abs/1708.07747)."""
    folder = _fashion_mnist_folder()
    try:
        images, labels = zip(*(
            (_read_idx(folder / f'{part}-images-idx3-ubyte.gz'),
             _read_idx(folder / f'{part}-labels-idx1-ubyte.gz'))
            for part in ('train', 't10k')))
    except (OSError, EOFError, ValueError) as error:
        raise SourceUnavailable(
            f'Fashion-MNIST in {folder} cannot be read ({error}); remove it '
            f'to fetch it again.') from error
    names = [_FASHION_LABELS[i] for i in np.concatenate(labels)]
    if num_classes == 5:
        names = [_FASHION_GROUPS[n] for n in names]
    is_val = np.arange(len(names)) >= len(labels[0])
    return _split_source(
        'fashion-mnist', np.concatenate(images), np.array(names), is_val,
        threshold=16)


def _digits(num_classes: int) -> ObjectSource:
    """Alpaydin and Kaynak's digits, 8 × 8 with 17 grey levels."""
    digits = _scikit_learn().load_digits()
    kept = digits.target < num_classes
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # 8 x 8 is too coarse to threshold: draw the strokes' outline first.
    images = np.stack([
        cv2.resize(i, (32, 32), interpolation=cv2.INTER_CUBIC) for i in images])
    is_val = np.arange(len(images)) % 5 == 4
    return _split_source('digits', images[kept], digits.target[kept].astype(str),
                         is_val[kept], threshold=96)


def _split_source(name: str, images: np.ndarray, labels: np.ndarray,
                  is_val: np.ndarray, threshold: int) -> ObjectSource:
    """Sort images into pools by split and class; drop those nearly empty."""
    visible = (images >= threshold).mean(axis=(1, 2)) > 0.05
    classes = tuple(sorted(set(labels.tolist())))
    pools = {
        split: tuple(np.flatnonzero(visible & (is_val == chosen) & (labels == c))
                     for c in classes)
        for split, chosen in zip(SPLITS, (False, True))}
    return ObjectSource(name, images, classes, pools, threshold)


def _fashion_mnist_folder() -> Path:
    """Find Fashion-MNIST on this machine, or fetch it into the cache."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    target = cache / 'mmrlkd' / _PACKAGE
    for root in (Path('/'), target):
        if (root / _INSTALLED).is_dir():
            return root / _INSTALLED
    if not (shutil.which('apt-get') and shutil.which('dpkg')):
        raise SourceUnavailable(
            f'Fashion-MNIST comes as the Debian package {_PACKAGE}, and this '
            f'machine has no apt-get and dpkg to fetch it with.')
    print_log(f'Fetching the Debian package {_PACKAGE} (31 MB) into {target}.',
              'current')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as tmp:
            _call('apt-get', 'download', _PACKAGE, cwd=tmp)
            package, = Path(tmp).glob('*.deb')
            _call('dpkg', '-x', package.name, 'unpacked', cwd=tmp)
            Path(tmp, 'unpacked').replace(target)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [str(error)]
        raise SourceUnavailable(
            f'The Debian package {_PACKAGE} could not be fetched '
            f'({lines[-1]}); it may need `sudo apt-get update`.') from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SourceUnavailable(
            f'The Debian package {_PACKAGE} could not be fetched into '
            f'{target} ({error}).') from error
    return target / _INSTALLED


def _call(*command: str, cwd: str) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=300, text=True,
                   capture_output=True)


def _read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes (http://yann.lecun.com/exdb/mnist)."""
    data = gzip.decompress(path.read_bytes())
    dimensions = data[3]
    shape = np.frombuffer(data, '>u4', dimensions, offset=4)
    return np.frombuffer(
        data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _scikit_learn():
    """scikit-learn's ``datasets`` module."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise SourceUnavailable(
            'Photos and digits come inside scikit-learn, which is not '
            'installed: `pip install scikit-learn`.') from error
    return datasets
