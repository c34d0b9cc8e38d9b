import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from projects.scenes import sources
from projects.scenes.sources import (
    ObjectSource,
    SourceUnavailable,
    load_photos,
    load_source,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on a machine without the package and without apt."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    monkeypatch.setattr(sources, '_INSTALLED', Path('mmrlkd-test/fashion'))
    return tmp_path


def write_fashion(cache: Path) -> Path:
    """Four images of each garment to train on, and one to validate on."""
    folder = cache / 'mmrlkd/dataset-fashion-mnist/mmrlkd-test/fashion'
    folder.mkdir(parents=True)
    for part, count in ('train', 40), ('t10k', 10):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 4:24, 8:20] = 200
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, data in ('images-idx3', images), ('labels-idx1', labels):
            header = bytes((0, 0, 8, data.ndim)) + struct.pack(
                f'>{data.ndim}I', *data.shape)
            (folder / f'{part}-{kind}-ubyte.gz').write_bytes(
                gzip.compress(header + data.tobytes()))
    return folder


def write_command(cache: Path, name: str, script: str) -> None:
    (cache / 'bin').mkdir(exist_ok=True)
    (cache / 'bin' / name).write_text(f'#!/bin/sh\n{script}\n')
    (cache / 'bin' / name).chmod(0o755)


def check_pools(source: ObjectSource) -> None:
    """The pools are disjoint, full, and every object can be cut out."""
    pooled = np.concatenate([p for pools in source.pools.values() for p in pools])
    assert len(np.unique(pooled)) == len(pooled)
    assert source.classes == tuple(sorted(source.classes))
    for pools in source.pools.values():
        assert len(pools) == len(source.classes)
        assert all(len(pool) for pool in pools)
        for pool in pools:
            for side in (5, 40):
                grey, coverage = source.cut_out(int(pool[0]), side)
                assert grey.shape == coverage.shape
                assert max(grey.shape) == side
                assert grey.min() >= 0 and grey.max() <= 1
                assert (coverage >= .5).any()


@pytest.mark.parametrize('num_classes', [5, 10])
def test_digits(num_classes: int) -> None:
    source = load_source('digits', num_classes)
    assert source.classes == tuple('0123456789'[:num_classes])
    check_pools(source)


@pytest.mark.parametrize(('num_classes', 'classes', 'tops'), [
    (5, 'bag dress shoe top trouser', [0, 2, 4, 6]),
    (10, 'ankle-boot bag coat dress pullover sandal shirt sneaker t-shirt '
         'trouser', [0])])
def test_fashion_mnist(cache: Path, num_classes: int, classes: str,
                       tops: list[int]) -> None:
    write_fashion(cache)
    source = load_source('auto', num_classes)
    assert source.name == 'fashion-mnist'
    assert source.classes == tuple(classes.split())
    check_pools(source)
    name = 'top' if num_classes == 5 else 't-shirt'
    pool = source.pools['train'][source.classes.index(name)]
    assert sorted(set(pool % 10)) == tops
    assert all(index < 40 for pool in source.pools['train'] for index in pool)
    assert all(index >= 40 for pool in source.pools['val'] for index in pool)


def test_without_apt_auto_uses_digits(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sources, 'print_log', lambda text, _: said.append(text))
    with pytest.raises(SourceUnavailable, match='no apt-get'):
        load_source('fashion-mnist')
    assert load_source('auto').name == 'digits'
    assert len(said) == 1
    assert said[0].endswith('Using scanned digits instead.')


def test_a_failed_download_is_one_sentence(cache: Path) -> None:
    write_command(cache, 'apt-get', 'echo "E: Unable to locate" >&2; exit 100')
    write_command(cache, 'dpkg', 'exit 1')
    with pytest.raises(SourceUnavailable, match='E: Unable to locate') as error:
        load_source('fashion-mnist')
    assert '\n' not in str(error.value)
    assert not any((cache / 'mmrlkd').iterdir())


def test_download_is_kept(cache: Path) -> None:
    made = write_fashion(cache / 'elsewhere').parents[1]
    write_command(cache, 'apt-get', ': > some.deb')
    write_command(cache, 'dpkg', f'/bin/cp -r {made} unpacked')
    assert load_source('fashion-mnist').name == 'fashion-mnist'
    write_command(cache, 'apt-get', 'exit 1')
    assert load_source('fashion-mnist').name == 'fashion-mnist'


def test_a_damaged_file_is_one_sentence(cache: Path) -> None:
    path = write_fashion(cache) / 'train-images-idx3-ubyte.gz'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceUnavailable, match='remove it to fetch it again'):
        load_source('fashion-mnist')


def test_unknown_source() -> None:
    with pytest.raises(ValueError, match="got 'imagenet'"):
        load_source('imagenet')


def test_photos() -> None:
    photos = load_photos()
    assert [p.shape for p in photos] == [(427, 640, 3)] * 2
    assert all(p.dtype == np.uint8 for p in photos)
