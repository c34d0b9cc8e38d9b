"""Ways of running the frozen teacher: what each changes, and what it does not."""

import copy
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch.nn.modules.batchnorm import _BatchNorm

from mmrlkd.distillation.teacher import execution
from mmrlkd.distillation.teacher.execution import Execution
from mmrlkd.structures import Phase

IMAGES = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
SOME = torch.tensor([2, 0])
AS_BUILT = dict(fold=False)
#: Options, and the largest relative difference from the teacher as built.
OPTIONS = [
    (dict(), 1e-5), (dict(fold=False, channels_last=True), 1e-5),
    (dict(channels_last=True, stream=True), 1e-5),
    (dict(dtype='bfloat16'), 0.05), (dict(dtype='float16'), 0.01),
    (dict(dtype='bfloat16', channels_last=True), 0.05),
    (dict(dtype='bfloat16', fold=False), 0.05),
]


@pytest.fixture
def build(build_distiller, tiny_teacher):
    """A distiller whose teacher has the given options."""
    def build(options, **overrides):
        return build_distiller(
            teacher=dict(tiny_teacher, **options), **overrides)
    return build


def maps(model):
    """All levels of the images, for all of them and for some."""
    pyramid = model.teacher.extract(IMAGES)
    pyramid.begin()
    return [pyramid.level(i, index) for i in range(len(model.levels))
            for index in (SOME, None)]


@pytest.mark.parametrize(('options', 'tolerance'), OPTIONS, ids=str)
def test_maps_are_those_of_the_teacher_as_built(build, options, tolerance):
    for own, plain in zip(
            maps(build(options)), maps(build(AS_BUILT)), strict=True):
        assert own.dtype == torch.float32 and own.is_contiguous()
        assert (own - plain).norm() <= tolerance * plain.norm()


@pytest.mark.parametrize('options', [
    {}, dict(channels_last=True), dict(dtype='bfloat16', channels_last=True)])
def test_maps_do_not_depend_on_the_batch(build, options):
    """So that a cache may give them for another: to the last bit, on a CPU."""
    teacher = build(options).teacher
    whole, part = (teacher.extract(images)
                   for images in (IMAGES, IMAGES[SOME]))
    for i in range(len(teacher.levels)):
        assert torch.equal(whole.level(i)[SOME], part.level(i))


def test_a_lower_precision_rounds_and_the_default_does_not(build):
    plain, folded, lower = (maps(build(options))[0] for options in (
        AS_BUILT, {}, dict(dtype='bfloat16')))
    assert (lower - plain).norm() > 1e-3 * plain.norm()
    assert (folded - plain).norm() < 1e-5 * plain.norm()


def test_what_runs_in_a_lower_precision(build):
    teacher = build(dict(dtype='bfloat16', fold=False)).teacher.model
    for module in teacher.modules():
        expected = (torch.float32 if isinstance(module, _BatchNorm)
                    else torch.bfloat16)
        assert {each.dtype for each in module.parameters(recurse=False)} <= {
            expected}


def test_by_default_batch_normalisation_is_folded(build):
    def norms(options):
        return sum(isinstance(each, _BatchNorm)
                   for each in build(options).teacher.modules())
    assert norms({}) == 0 and norms(AS_BUILT) == 20


@pytest.mark.parametrize('options', [dict(dtype='bfloat16'), {}])
def test_autocast_has_no_say_where_the_config_has(build, options):
    """Under AMP, ``dtype`` alone decides; without it, AMP does."""
    model = build(options)
    expected = maps(model)
    with torch.autocast('cpu', dtype=torch.float16):
        again = maps(model)
    same = all(torch.equal(*each) for each in zip(expected, again, strict=True))
    assert same == bool(options)


@pytest.mark.parametrize(('key', 'value', 'accepted'), [
    ('fold', 1, 'True or False'), ('channels_last', 'yes', 'True or False'),
    ('compile', None, 'True or False'), ('stream', 2, 'True or False'),
    ('dtype', 'half', "'float32', 'bfloat16', 'float16'"),
    ('dtype', torch.bfloat16, "'float32', 'bfloat16', 'float16'"),
    ('dtype', ['bfloat16'], "'float32', 'bfloat16', 'float16'"),
])
def test_refused(key, value, accepted):
    with pytest.raises(ValueError) as error:
        Execution(**{key: value})
    assert str(error.value) == f'teacher: {key}={value!r}; accepted: {accepted}.'


def test_numbers_beyond_float16_are_refused(build, tiny_teacher):
    state = torch.load(tiny_teacher['checkpoint'], weights_only=True)
    state['state_dict']['backbone.conv1.weight'] *= 1e9
    state['state_dict']['backbone.bn1.running_var'] *= 1e6
    torch.save(state, tiny_teacher['checkpoint'])
    build(dict(dtype='bfloat16'))
    with pytest.raises(ValueError, match="dtype='float16'; accepted: 'float32'"):
        build(dict(dtype='float16'))


def test_a_change_beyond_rounding_is_refused(build):
    """Where something reads what folding changes, and it is not observed."""
    teacher = build(AS_BUILT).teacher
    teacher.model.backbone.layer1[0].register_forward_hook(
        lambda module, inputs, output: output * module.conv1.weight.std())
    teacher.model.backbone.layer1[0].bn1.running_var *= 4
    with pytest.raises(ValueError, match='teacher: fold=True; accepted: False'):
        Execution().prepare(teacher.adapter, levels=True, head=False)


def train(model, batch, kind='OptimWrapper', steps=3):
    """What a few steps log, and the student's state."""
    model.train()
    optimizer = build_optim_wrapper(model, dict(
        type=kind, optimizer=dict(type='SGD', lr=1e-3)))
    model.schedule.set(Phase('run', 1.0), 0, 0.0)
    for _ in range(steps):
        log = model.train_step(copy.deepcopy(batch), optimizer)
    assert torch.isfinite(log['loss']) and log['skipped_updates'] == 0
    return model.state_dict()


@pytest.mark.parametrize(('options', 'tolerance'), [
    ({}, 1e-5), (dict(channels_last=True), 1e-5),
    (dict(dtype='bfloat16', channels_last=True), 1e-2)], ids=str)
def test_students_differ_by_rounding(
        build, detection_batch, options, tolerance):
    plain = train(build(AS_BUILT), detection_batch)
    own = train(build(options), detection_batch)
    for key, value in plain.items():
        torch.testing.assert_close(
            own[key], value, rtol=tolerance, atol=tolerance)


def test_the_head_runs_as_the_levels_do(build, detection_batch):
    """For descriptors of the teacher's detections."""
    def detections(options):
        model = build(options, selector=dict(
            type='mmrlkd.PolicySelector', context=['teacher_confidence']))
        pyramid = model.teacher.extract(IMAGES)
        return pyramid.score_maps()
    for own, plain in zip(detections(dict(dtype='bfloat16', channels_last=True)),
                          detections(AS_BUILT), strict=True):
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, plain, atol=0.02, rtol=0.05)


# -- compiling -------------------------------------------------------------------


def test_a_compiled_backbone_is_used(build, monkeypatch):
    compiled = []

    def compile(function, options):
        assert options == dict(freezing=True)
        return lambda *args: (compiled.append(args), function(*args))[1]

    monkeypatch.setattr(torch, 'compile', compile)
    model = build(dict(compile=True))
    assert not compiled  # when it is built, the weights may still move
    for own, plain in zip(maps(model), maps(build({})), strict=True):
        assert torch.equal(own, plain)
    assert len(compiled) == 1


def test_without_a_compiler_the_teacher_runs_and_says_so(
        build, monkeypatch):
    tries, said = [], []

    def broken(*args):
        tries.append(args)
        raise RuntimeError('No C++ compiler\nTraceback …')

    monkeypatch.setattr(torch, 'compile', lambda function, options: broken)
    monkeypatch.setattr(
        execution, 'print_log', lambda text, **options: said.append(text))
    model = build(dict(compile=True))
    expected = maps(build({}))
    for _ in range(2):
        for own, plain in zip(maps(model), expected, strict=True):
            assert torch.equal(own, plain)
    assert len(tries) == 1
    assert said == [
        'teacher.compile=True has no effect: RuntimeError (No C++ compiler); on a '
        'CPU, torch needs a C++ compiler.']


def test_an_error_of_the_model_stays_its_own(monkeypatch):
    def broken(*args):
        raise ValueError('a map of another size')

    monkeypatch.setattr(torch, 'compile', lambda function, options: function)
    with pytest.raises(ValueError, match='another size'):
        execution._Compiled(broken)(IMAGES)


# -- streams ---------------------------------------------------------------------


class Stream:
    """Writes down who waits for whom."""

    def __init__(self, name, diary):
        self.name, self.diary = name, diary

    def wait_stream(self, other):
        self.diary.append(f'{self.name} waits for {other.name}')


class Maps(torch.Tensor):
    """Says that it is on a GPU, and writes down who uses it."""

    is_cuda = True

    def record_stream(self, stream):
        stream.diary.append(f'{stream.name} uses {self.label}')


def test_streams_wait_for_each_other(monkeypatch):
    diary = []
    main, beside = Stream('main', diary), Stream('beside', diary)
    current = [main]

    @contextmanager
    def stream(other):
        current.append(other)
        yield
        current.pop()

    monkeypatch.setattr(execution, '_stream', lambda device: beside)
    monkeypatch.setattr(torch, 'cuda', SimpleNamespace(
        current_stream=lambda device: current[-1], stream=stream))
    images, output = (torch.zeros(1, 1).as_subclass(Maps) for _ in range(2))
    images.label, output.label = 'images', 'maps'

    def run(given):
        assert given is images
        diary.append(f'the backbone runs on {current[-1].name}')
        return [output]

    wait = Execution(stream=True).start(run, images)
    assert current == [main]
    assert diary == ['beside waits for main', 'the backbone runs on beside',
                     'beside uses images']
    diary.clear()
    assert wait() == [output]
    assert diary == ['main waits for beside', 'main uses maps']


@pytest.mark.gpu
@pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper'])
@pytest.mark.parametrize('options', [
    dict(stream=True), dict(stream=True, channels_last=True),
    dict(stream=True, dtype='bfloat16'), dict(compile=True)], ids=str)
def test_options_on_a_gpu(build, detection_batch, kind, options):
    def trained(options):
        return train(build(options).cuda(), detection_batch, kind)
    plain, own = trained(AS_BUILT), trained(options)
    for key, value in plain.items():
        torch.testing.assert_close(own[key], value, rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
def test_a_stream_changes_no_number(build):
    models = [build(dict(stream=stream)).cuda() for stream in (False, True)]
    images = torch.randn(4, 3, 256, 256, device='cuda')
    for _ in range(20):
        pyramids = [model.teacher.extract(images) for model in models]
        for pyramid in pyramids:
            pyramid.begin()
        images = images.roll(1, 0)
        plain, own = ([pyramid.level(i) for i in range(4)]
                      for pyramid in pyramids)
        assert all(map(torch.equal, plain, own))
