"""A cache gives the maps that the teacher would compute, or none."""

import copy
import gc
import itertools
import multiprocessing
import random
import shutil
import sys
import time

import lmdb
import pytest
import torch
import xxhash
from mmengine.registry import init_default_scope

from mmrlkd.distillation.features.levels import choose_levels
from mmrlkd.distillation.teacher.cache import entries, read_settings
from mmrlkd.distillation.teacher.cache.store import Store
from mmrlkd.distillation.teacher.online import Teacher
from tests.conftest import LEVELS

IMAGES = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def build(tiny_teacher, tmp_path):
    """Build the tiny teacher, with a cache in a folder of its own."""
    init_default_scope('mmdet')

    def teacher(dtype='exact', config=tiny_teacher['config'], **cache):
        settings = dict(path=str(tmp_path / 'cache'), dtype=dtype, **cache)
        built = Teacher(copy.deepcopy(config), tiny_teacher['checkpoint'],
                        cache=settings if dtype else None)
        built.levels = choose_levels(built.adapter, LEVELS)
        return built

    return teacher


def run(teacher, images=IMAGES, index=None, levels=range(4)):
    """Maps of the levels, and how many images each was computed for."""
    pyramid = teacher.extract(images)
    pyramid.begin()
    return [pyramid.level(i, index) for i in levels], pyramid.computed


def assert_same(maps, others):
    for each, other in zip(maps, others, strict=True):
        assert torch.equal(each, other)


@pytest.fixture
def backbone_runs():
    """Sizes of the batches that a teacher's backbone ran for."""
    def watch(teacher):
        sizes = []
        teacher.model.backbone.register_forward_hook(
            lambda module, inputs, output: sizes.append(len(inputs[0])))
        return sizes
    return watch


# -- maps --------------------------------------------------------------------


@pytest.mark.parametrize('size', [(64, 64), (96, 64), (96, 96)])
def test_a_map_does_not_depend_on_its_batch(build, size):
    """What the exact cache rests on; of two images or more, see
    CachedPyramid."""
    teacher = build(dtype=None)
    images = torch.randn(6, 3, *size)
    whole, _ = run(teacher, images)
    for rows in ([0, 1], [5, 2, 3], [1, 0, 2, 4, 5]):
        index = torch.tensor(rows)
        assert_same([maps[index] for maps in whole],
                    run(teacher, images[index])[0])
    for rows in ([4, 1], [0, 2, 5]):
        index = torch.tensor(rows)
        assert_same([maps[index] for maps in whole],
                    run(teacher, images, index)[0])


def test_an_image_wanted_alone_has_the_map_of_a_teacher_without_cache(build):
    plain, one = build(dtype=None), torch.tensor([3])
    expected, computed = run(plain, index=one)
    assert computed == [1] * 4
    teacher = build()
    for known in (0, 1):  # computed, then read
        maps, computed = run(teacher, index=one)
        assert_same(maps, expected)
        assert computed == [1 - known] * 4
        teacher.cache.store.flush()
    # In a batch of several it is another map, which is not taken for this one.
    assert_same(run(teacher)[0], run(plain)[0])
    assert_same(run(teacher, index=one)[0], expected)


def test_maps_are_those_of_a_teacher_without_cache(build, backbone_runs):
    plain, teacher = build(dtype=None), build()
    ran = backbone_runs(teacher)
    first = run(teacher, IMAGES[:3])
    assert (first[1], ran) == ([3] * 4, [3])
    # Three images are known and three are not, in another order.
    mixed = IMAGES[torch.tensor([4, 0, 3, 2, 5, 1])]
    maps, computed = run(teacher, mixed)
    assert_same(maps, run(plain, mixed)[0])
    assert (computed, ran) == ([3] * 4, [3, 3])
    # From the disk, in another batch; the backbone does not run.
    teacher.cache.store.flush()
    again, computed = run(build(), IMAGES)
    assert_same(again, run(plain)[0])
    assert computed == [0] * 4
    run(teacher)
    assert ran == [3, 3]
    # One image of a batch that is unknown.
    other = torch.cat([IMAGES[:3], torch.randn(1, 3, 64, 64)])
    assert_same(run(teacher, other)[0], run(plain, other)[0])


@pytest.mark.parametrize('rows', [[1, 3, 4], [5]])
def test_the_teacher_runs_for_images_that_are_wanted_and_unknown(
        build, backbone_runs, rows):
    plain, teacher = build(dtype=None), build()
    run(teacher, IMAGES[:3])
    ran, rows = backbone_runs(teacher), torch.tensor(rows)
    pyramid = teacher.extract(IMAGES)
    pyramid.begin(rows)
    assert_same([pyramid.level(i, rows) for i in range(4)],
                run(plain, index=rows)[0])
    assert ran == [2]  # images 3 and 4, or image 5 twice over


def test_where_the_head_runs_an_image_is_computed_among_all(build):
    plain, one = build(dtype=None), torch.tensor([3])
    pyramid = plain.extract(IMAGES, head=True)
    expected = [pyramid.level(i, one) for i in range(4)]
    for _ in range(2):  # computed, then read
        pyramid = build().extract(IMAGES, head=True)
        assert_same([pyramid.level(i, one) for i in range(4)], expected)
        pyramid._entries.store.flush()


def test_only_what_was_asked_for_is_stored_and_later_added_to(build):
    teacher, plain = build(), build(dtype=None)
    index = torch.tensor([4, 1])
    run(teacher, index=index, levels=[3])
    # P5 of two images is there: only they can do without the backbone.
    maps, computed = run(teacher, levels=[3])
    assert computed == [0, 0, 0, 4]
    assert_same(maps, run(plain, levels=[3])[0])
    maps, computed = run(teacher, levels=[1, 3])
    assert computed == [0, 6, 0, 0]
    assert_same(maps, run(plain, levels=[1, 3])[0])
    assert len(teacher.cache.store._waiting) == 12


def test_hits_are_counted_once_for_an_image_and_level(build):
    teacher = build()
    run(teacher, IMAGES[:2])
    teacher.cache.take_counts()
    pyramid = teacher.extract(IMAGES[:4])
    for _ in range(2):
        pyramid.level(2)
        pyramid.level(3, torch.tensor([0, 3]))
    counts = teacher.cache.take_counts()
    assert (counts.asked, counts.found) == (6, 3)


def test_logits_of_a_detectors_head_are_exact(build, backbone_runs):
    plain, teacher = build(dtype=None), build('bfloat16')
    teacher.extract(IMAGES[:4]).score_maps()
    expected = plain.extract(IMAGES).score_maps()
    assert_same(teacher.extract(IMAGES).score_maps(), expected)
    ran = backbone_runs(teacher)
    warm = teacher.extract(IMAGES)
    assert_same(warm.score_maps(), expected)
    assert (ran, warm.ran_head) == ([], False)


def test_bfloat16_gives_the_same_maps_found_or_computed(build):
    plain, teacher = build(dtype=None), build('bfloat16')
    cold, warm = run(teacher)[0], run(teacher)[0]
    assert_same(cold, warm)
    assert_same(cold, [maps.bfloat16().float() for maps in run(plain)[0]])


# -- keys --------------------------------------------------------------------


def test_nothing_else_has_the_same_key(build, tiny_teacher_model):
    teacher = build()
    maps = run(teacher)[0]
    # One bit of one image, and other padding.
    changed = IMAGES.clone()
    changed[2, 0, 0, 0] = torch.nextafter(
        changed[2, 0, 0, 0], torch.tensor(9.0))
    # The one image is computed twice over, see CachedPyramid.
    assert run(teacher, changed)[1] == [2] * 4
    padded = torch.nn.functional.pad(IMAGES, (0, 32))
    assert run(teacher, padded)[1] == [6] * 4
    # Other weights, another config of the same weights, autocast.
    other = build()
    with torch.no_grad():
        other.model.neck.lateral_convs[0].conv.bias[0] += 1
    assert run(other)[1] == [6] * 4
    tiny_teacher_model['backbone']['style'] = 'caffe'
    assert run(build(config=tiny_teacher_model))[1] == [6] * 4
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert run(teacher)[1] == [6] * 4
        half, computed = run(teacher)
    assert (half[0].dtype, computed) == (torch.bfloat16, [0] * 4)
    assert_same(run(teacher)[0], maps)


@pytest.mark.parametrize(('cache', 'message'), [
    (dict(size_gb=3), r"cache=\{'size_gb': 3\}; accepted: a folder, or dict"),
    (dict(path='x', size=3), 'path, size_gb, dtype'),
    (dict(path=''), "cache.path=''; accepted: a folder"),
    (3, 'cache.path=3; accepted'),
    (dict(path='x', size_gb=0), 'cache.size_gb=0; accepted: a number > 0'),
    (dict(path='x', dtype='float16'), "'float16'; accepted: 'bfloat16', 'exact'"),
    (__file__, 'accepted: a folder, or one to be made'),
])
def test_wrong_settings_are_refused_in_a_sentence(cache, message):
    with pytest.raises(ValueError, match=message):
        read_settings(cache)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'lmdb', None)
    with pytest.raises(ValueError, match=r'lmdb.*pip install mmrlkd\[cache\]'):
        read_settings('x')


# -- files that are not as they should be -------------------------------------


@pytest.fixture
def warnings(monkeypatch):
    """Warnings of stores."""
    said = []
    monkeypatch.setattr(
        'mmrlkd.distillation.teacher.cache.store.print_log',
        lambda message, *_: said.append(message))
    return said


@pytest.fixture
def filled(build, tmp_path):
    """Folder of a cache with the maps of all images."""
    teacher = build()
    run(teacher)
    teacher.cache.store.flush()
    del teacher
    gc.collect()  # the file is opened anew
    return tmp_path / 'cache'


def damaged_copies(folder, tmp_path):
    """Copies of a cache, each damaged otherwise."""
    whole = (folder / 'data.mdb').read_bytes()
    chance = random.Random(0)
    contents = {
        'empty': b'', 'text': b'no cache at all' * 1000,
        'cut': whole[:len(whole) // 2], 'cut a little': whole[:-4096],
        'zeros': bytes(len(whole)), 'no metadata': bytes(8192) + whole[8192:]}
    for number in range(6):
        mixed = bytearray(whole)
        for _ in range(4 ** (number // 2 + 1)):
            place = chance.randrange(len(mixed) - 64)
            mixed[place:place + 64] = chance.randbytes(64)
        contents[f'noise {number}'] = bytes(mixed)
    for name, content in contents.items():
        copied = tmp_path / name
        copied.mkdir()
        (copied / 'data.mdb').write_bytes(content)
        yield copied


def test_a_damaged_file_never_gives_a_wrong_map(
        build, filled, tmp_path, warnings):
    expected, recomputed = run(build(dtype=None))[0], 0
    for folder in damaged_copies(filled, tmp_path):
        teacher = build()
        teacher.cache.settings = read_settings(
            dict(path=folder, dtype='exact'))
        maps, computed = run(teacher)
        assert_same(maps, expected)
        recomputed += sum(computed)
        if teacher.cache.store.readable:  # damaged entries are replaced
            teacher.cache.store.flush()
            assert run(teacher)[1] == [0] * 4
    assert recomputed and any('damaged' in each or 'read' in each
                              for each in warnings)


def test_an_entry_under_another_key_is_none():
    entry = entries.pack(b'one', [torch.ones(3)], [torch.float32])
    assert_same(entries.unpack(b'one', entry), [torch.ones(3)])
    assert entries.unpack(b'two', entry) is None
    assert entries.unpack(b'one', entry[:-1]) is None
    assert entries.unpack(b'one', b'') is None


def test_foreign_folders_are_left_alone(build, tmp_path, warnings):
    folder = tmp_path / 'cache'
    with lmdb.open(str(folder)) as env, env.begin(write=True) as txn:
        txn.put(b'somebody', b'else')
    assert run(build())[1] == [6] * 4
    assert 'entries of another program' in warnings[-1]
    with lmdb.open(str(folder)) as env, env.begin() as txn:
        assert txn.stat()['entries'] == 1
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / 'thesis.tex').write_text('')
    assert run(build())[1] == [6] * 4
    assert 'a folder of its own' in warnings[-1]
    assert [each.name for each in folder.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('path', ['/proc/cache', '/dev/null/cache'])
def test_a_folder_that_cannot_be_written_is_done_without(
        build, path, warnings):
    teacher = build()
    teacher.cache.settings = read_settings(dict(path=path))
    assert_same(run(teacher)[0], run(build(dtype=None))[0])
    assert 'goes on without it' in warnings[-1] and len(warnings) == 1


def test_the_size_is_kept(build, filled, tmp_path, warnings):
    size = (filled / 'data.mdb').stat().st_size
    teacher = build(size_gb=(size + 2**15) / 1e9)
    run(teacher, IMAGES + 1)
    teacher.cache.store.flush()
    assert 'is full' in warnings[-1]
    assert (filled / 'data.mdb').stat().st_size <= size + 2**15
    assert run(teacher, IMAGES + 1)[1] == [6] * 4
    assert run(teacher)[1] == [0] * 4  # what was there is used


def test_a_full_disk_ends_writing_alone(
        build, filled, monkeypatch, warnings):
    teacher = build()

    def full(*args, **kwargs):
        raise lmdb.DiskError('No space left on device')

    run(teacher, IMAGES + 1)
    with monkeypatch.context() as patched:
        patched.setattr(Store, '_begin', full)
        teacher.cache.store.flush()
    assert 'No space left' in warnings[-1]
    assert not teacher.cache.store.writable
    assert run(teacher)[1] == [0] * 4


def entries_of(number):
    """What a writer writes together, by key."""
    keys = [xxhash.xxh3_128_digest(b'%d %d' % (number, part))
            for part in range(8)]
    return {key: key * random.Random(number).randrange(1, 9000) for key in keys}


def write_forever(folder, first, finished):
    """Tell what is on the disk, until killed."""
    store = Store(folder, 1.0)
    for number in itertools.count(first):
        for key, entry in entries_of(number).items():
            store.write(key, entry)
        store.flush()
        finished.send(number)


def test_a_killed_writer_leaves_whole_entries(tmp_path):
    """Two writers at once, killed at random moments, several times."""
    folder, chance = tmp_path / 'cache', random.Random(1)
    fork = multiprocessing.get_context('fork')
    for attempt in range(5):
        pipes, writers = [], []
        for each in range(2):
            receiver, sender = fork.Pipe(duplex=False)
            writers.append(fork.Process(target=write_forever, args=(
                folder, (2 * attempt + each) * 10**6, sender)))
            writers[-1].start()
            sender.close()
            pipes.append(receiver)
        # The first entries of each, however slow the disk is.
        finished = [pipe.recv() for pipe in pipes]
        time.sleep(chance.random() / 5)
        for writer in writers:
            writer.kill()
            writer.join()
        for pipe in pipes:
            while True:
                try:
                    finished.append(pipe.recv())
                except EOFError:
                    break
        store = Store(folder, 1.0)
        assert store.readable and store.writable
        for number in finished:
            expected = entries_of(number)
            assert store.read(list(expected)) == list(expected.values())
        store.write(b'after', b'wards')
        store.flush()
        assert store.read([b'after']) == [b'wards']
        del store
